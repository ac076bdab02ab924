"""Any TCP service by CONNECT: programs as they are, through a real gateway, with its own ways to end."""

import contextlib
import hashlib
import json
import os
import random
import select
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from proxy.cli.demo.postgres import free_port
from tests.peers.gateway import PASSWORD
from tests.peers.line import line_apart
from tests.peers.proof import until
from tests.peers.services import Service, service, web
from tests.peers.tcp_gateway import TcpGateway, read_head, request, tcp_gateway

MEGABYTES = 50
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lines() -> Iterator[Service]:
    with service() as running:
        yield running


@pytest.fixture(scope="module")
def redis() -> Iterator[int]:
    """A real Redis that keeps nothing."""
    program, port = needed("redis-server"), free_port()
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/tmp")
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def gate(lines: Service, redis: int) -> Iterator[TcpGateway]:
    services = {"lines": lines.port, "cache": redis}
    with web() as port, tcp_gateway({**services, "web": port}, settings={"startup_timeout": "2"}) as running:
        yield running


def needed(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def wait_for(port: int) -> None:
    until = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < until, "nobody listens"
        time.sleep(0.02)


def run(*command: str, given: bytes = b"", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=given, capture_output=True, timeout=30, env=env)


@contextlib.contextmanager
def process(*command: str, **options: object) -> Iterator["subprocess.Popen[bytes]"]:
    started = subprocess.Popen(command, **options)  # type: ignore[call-overload]
    try:
        yield started
    finally:
        started.terminate()
        started.wait(10)
        for each in (started.stdout, started.stderr):
            if each is not None:
                each.close()


# -- programs as they are


def curl(gate: TcpGateway, *options: str) -> Sequence[str]:
    proxy = ("-x", f"https://localhost:{gate.port}", "--proxy-cacert", str(gate.ca))
    return (needed("curl"), "-sS", "--proxytunnel", *proxy, *options)


def test_curl_by_bearer_and_by_basic(gate: TcpGateway) -> None:
    token = gate.tcp_token("web")
    for shown in (
        ("--proxy-header", f"Proxy-Authorization: Bearer {token}"),
        ("-U", f"any:{token}"),
        ("-U", f":{token}"),
        ("-U", f":{token}", "--proxy-anyauth"),
    ):
        for port in (0, gate.services["web"]):
            done = run(*curl(gate, *shown, f"http://web:{port}/page"))
            assert (done.returncode, done.stdout) == (0, b"you asked for /page\n"), done.stderr


@pytest.mark.parametrize(
    ("shown", "url", "status"),
    [
        ((), "http://web:0/", "407"),
        (("-U", ":bad"), "http://web:0/", "407"),
        (("-U", "somebody:TOKEN"), "http://web:0/", "403"),
        (("-U", ":TOKEN"), "http://web:1/", "403"),
        (("-U", ":TOKEN"), "http://lines:0/", "403"),
        (("-U", ":TOKEN"), "http://no-such-thing:0/", "403"),
    ],
)
def test_curl_is_told_why_not(gate: TcpGateway, shown: Sequence[str], url: str, status: str) -> None:
    token = gate.tcp_token("web")
    done = run(*curl(gate, *(each.replace("TOKEN", token) for each in shown), url))
    assert done.returncode == 56
    assert f"response {status}".encode() in done.stderr


def test_a_resource_that_is_not_there_and_one_that_is_not_granted_look_alike(gate: TcpGateway) -> None:
    answers = set()
    for name, port in (("lines", 0), ("no-such-thing", 0), ("web", 1)):
        with gate.tls() as sock:
            sock.sendall(request(name, gate.tcp_token("web"), port=port))
            body = b"".join(iter(lambda: sock.recv(4096), b"")).partition(b"\r\n\r\n")[2]
        problem = json.loads(body)
        answers.add((problem["status"], problem["code"], problem["detail"], problem["hint"]))
    assert answers == {(403, "wrong_resource", "this token is for resource web", "connect to web:0")}


@pytest.fixture
def leg(gate: TcpGateway) -> Iterator[int]:
    """TLS for programs that have none on their way to a proxy: socat as the first leg."""
    port = free_port()
    listening = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"
    with process(needed("socat"), listening, f"OPENSSL:localhost:{gate.port},cafile={gate.ca}"):
        wait_for(port)
        yield port


@pytest.mark.parametrize("over", ["tls", "loopback"])
def test_socat_with_half_close(gate: TcpGateway, leg: int, over: str) -> None:
    port = leg if over == "tls" else gate.plain_port
    tunnel = f"PROXY:127.0.0.1:lines:0,proxyport={port},proxyauth=any:{gate.tcp_token('lines')}"
    done = run(needed("socat"), "-t10", "-", tunnel, given=b"collect\nx")
    assert (done.returncode, done.stdout) == (0, b"got x"), done.stderr


@pytest.mark.parametrize("over", ["tls", "loopback"])
def test_ncat_with_half_close(gate: TcpGateway, leg: int, over: str) -> None:
    proxy = ("--proxy", f"127.0.0.1:{leg if over == 'tls' else gate.plain_port}", "--proxy-type", "http")
    auth = ("--proxy-auth", f"any:{gate.tcp_token('lines')}", "--proxy-dns", "remote")
    where = ("lines", str(gate.services["lines"]))
    done = run(needed("ncat"), *proxy, *auth, *where, given=b"collect\nx")
    assert (done.returncode, done.stdout) == (0, b"got x"), done.stderr


def test_openssl_by_hand(gate: TcpGateway) -> None:
    options = ("s_client", "-quiet", "-connect", f"localhost:{gate.port}", "-CAfile", str(gate.ca))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with process(needed("openssl"), *options, **pipes) as typed:
        assert typed.stdin is not None
        assert typed.stdout is not None
        typed.stdin.write(request("lines", gate.tcp_token("lines")))
        typed.stdin.flush()
        assert typed.stdout.readline() == b"HTTP/1.1 200 Connection established\r\n"
        assert typed.stdout.readline() == b"\r\n"
        typed.stdin.write(b"echo\nhello\n")
        typed.stdin.flush()
        assert typed.stdout.readline() == b"hello\n"
        typed.stdin.close()


# -- tidegate connect


@pytest.fixture(scope="module")
def home(gate: TcpGateway, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of alice, logged in."""
    environment = {
        **os.environ,
        "TIDEGATE_API": gate.url,
        "TIDEGATE_CA": str(gate.ca),
        "TIDEGATE_HOME": str(tmp_path_factory.mktemp("home")),
    }
    command = (sys.executable, "-m", "proxy.cli", "login", "--user", "alice", "--password-stdin")
    done = run(*command, given=PASSWORD.encode(), env=environment)
    assert done.returncode == 0, done.stderr
    return environment


@contextlib.contextmanager
def connected(home: dict[str, str], *options: str) -> Iterator[tuple[dict[str, object], "subprocess.Popen[bytes]"]]:
    """``tidegate connect``, and what it says of where it listens."""
    command = (sys.executable, "-m", "proxy.cli", "connect", *options, "--json")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with process(*command, env=home, cwd=ROOT, **pipes) as running:
        assert running.stdout is not None
        yield json.loads(running.stdout.readline()), running


def test_redis_through_a_local_port(gate: TcpGateway, home: dict[str, str]) -> None:
    gate.tcp_grant("cache")
    with connected(home, "cache", "--listen", "0") as (where, _):
        client = (needed("redis-cli"), "-p", str(where["port"]))
        assert run(*client, "set", "tide", "high").stdout == b"OK\n"
        assert run(*client, "get", "tide").stdout == b"high\n"
        piped = "".join(f"SET key:{number} {number}\r\n" for number in range(1000)).encode()
        assert b"errors: 0, replies: 1000" in run(*client, "--pipe", given=piped).stdout
        assert run(*client, "get", "key:999").stdout == b"999\n"


def test_a_local_socket_is_its_owners_alone_and_carries_half_close(
    gate: TcpGateway, home: dict[str, str], tmp_path: Path
) -> None:
    gate.tcp_grant("lines")
    path = tmp_path / "lines.sock"
    with connected(home, "lines", "--socket", str(path)):
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(b"collect\nx")
            sock.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda: sock.recv(4096), b"")) == b"got x"
    assert not path.exists()


# -- bytes


def both_ways(sock: ssl.SSLSocket, data: bytes, wanted: int) -> Iterator[bytes]:
    """Sends ``data`` and gives what comes meanwhile, until it is so much. In one thread: OpenSSL's connections are
    not made for two."""
    view = memoryview(data)
    sock.setblocking(False)
    while wanted:
        select.select([sock], [sock] if view else [], [], 20)
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if view:
                view = view[sock.send(view[: 1 << 14]) :]
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while chunk := sock.recv(1 << 18):
                wanted -= len(chunk)
                yield chunk
            assert not wanted
    sock.setblocking(True)


@pytest.mark.parametrize("user", ["alice", "eve"], ids=["counted", "recorded"])
def test_binary_both_ways_is_the_same(gate: TcpGateway, user: str) -> None:
    data = random.Random(1).randbytes(MEGABYTES * 1_000_000)
    grant = gate.tcp_grant("lines", user)
    digest = hashlib.sha256()
    with gate.tunnel("lines", gate.tcp_token("lines", user, grant)) as sock:
        for chunk in both_ways(sock, b"echo\n" + data, len(data)):
            digest.update(chunk)
        sock.unwrap()
    assert digest.digest() == hashlib.sha256(data).digest()
    session = gate.ended(grant)
    (statement,) = gate.statements(session["id"])
    assert statement["bytes"] == 2 * len(data) + len(b"echo\n")
    assert (statement["protocol"], statement["text"]) == ("tunnel", f"lines:{gate.services['lines']}")
    assert (session["end_reason"], statement["outcome"]) == ("client_closed", "done")


def test_a_line_that_passes_single_bytes_changes_nothing(gate: TcpGateway) -> None:
    data = random.Random(2).randbytes(5000)
    with line_apart("127.0.0.1", gate.port) as hostile:
        hostile.line.up.slice = hostile.line.down.slice = 1
        with gate.tunnel("lines", gate.tcp_token("lines"), port=hostile.port) as sock:
            sock.sendall(b"collect\n" + data)
            with contextlib.suppress(OSError):
                sock.unwrap()
            with gate.tunnel("lines", gate.tcp_token("lines"), port=hostile.port) as again:
                again.sendall(b"echo\n" + data)
                got = b""
                while len(got) < len(data):
                    got += again.recv(4096)
    assert got == data


def test_what_is_sent_before_the_answer_waits_for_it(gate: TcpGateway) -> None:
    early = random.Random(3).randbytes(100_000)
    with gate.tls() as sock:
        sock.sendall(request("lines", gate.tcp_token("lines")) + b"echo\n" + early)
        assert read_head(sock).startswith(b"HTTP/1.1 200 ")
        got = b""
        while len(got) < len(early):
            got += sock.recv(65_536)
    assert got == early


def test_the_end_of_the_target_is_passed_on_after_its_last_byte(gate: TcpGateway) -> None:
    grant = gate.tcp_grant("cache")
    with gate.tunnel("cache", gate.tcp_token("cache", grant=grant)) as sock:
        sock.sendall(b"PING\r\nQUIT\r\n")
        assert b"".join(iter(lambda: sock.recv(4096), b"")) == b"+PONG\r\n+OK\r\n"
        sock.unwrap()
    assert gate.ended(grant)["end_reason"] == "target_closed"


# -- ends


def until_ended(lines: Service) -> None:
    """The target's connection is over."""
    until(lambda: bool(lines.ends))


def test_revoked_in_full_stream(gate: TcpGateway, lines: Service) -> None:
    grant = gate.tcp_grant("lines")
    lines.ends.clear()
    with gate.tunnel("lines", gate.tcp_token("lines", grant=grant)) as sock:
        sock.sendall(b"flood\n")
        assert sock.recv(65_536)
        gate.revoke(grant)
        sock.settimeout(5)
        sock.suppress_ragged_eofs = False
        # What Python calls a reset before 3.12.3 is the second. An end, with close_notify even, would look whole.
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            while sock.recv(65_536):
                pass
    session = gate.ended(grant)
    assert session["end_reason"] == "grant_revoked"
    assert session["receipt"]["verified"] == "connection closed"
    until_ended(lines)
    assert lines.ends[0] in ("ConnectionResetError", "BrokenPipeError")
    (statement,) = gate.statements(session["id"])
    assert statement["outcome"] == "cut"


def test_a_cut_upload_does_not_look_whole_to_the_target(gate: TcpGateway, lines: Service) -> None:
    grant = gate.tcp_grant("lines")
    lines.ends.clear()
    with gate.tunnel("lines", gate.tcp_token("lines", grant=grant)) as sock:
        sock.sendall(b"collect\nhalf of it")
        until(lambda: bool(lines.open))
        gate.revoke(grant)
        gate.ended(grant)
        until_ended(lines)
    assert lines.ends == ["ConnectionResetError"]


def test_a_client_that_breaks_off_breaks_off_to_the_target(gate: TcpGateway, lines: Service) -> None:
    grant = gate.tcp_grant("lines")
    lines.ends.clear()
    with gate.tunnel("lines", gate.tcp_token("lines", grant=grant)) as sock:
        sock.sendall(b"collect\nhalf of it")
        until(lambda: bool(lines.open))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.socket(fileno=sock.detach()).close()  # not TLS's: that would say its end first
        assert gate.ended(grant)["end_reason"] == "client_closed"
    until_ended(lines)
    assert lines.ends == ["ConnectionResetError"]


def test_a_target_that_breaks_off_ends_the_session(gate: TcpGateway) -> None:
    grant = gate.tcp_grant("lines")
    with gate.tunnel("lines", gate.tcp_token("lines", grant=grant)) as sock:
        sock.sendall(b"half\n")
        sock.settimeout(5)
        with contextlib.suppress(ConnectionError):
            while sock.recv(65_536):
                pass
    session = gate.ended(grant)
    assert session["end_reason"] == "target_closed"
    (statement,) = gate.statements(session["id"])
    assert statement["outcome"] == "unknown"


def test_a_slow_head_is_not_waited_for(gate: TcpGateway) -> None:
    with gate.tls() as sock:
        sock.sendall(b"CONNECT lines:0 HTTP/1.1\r\nX: ")
        sock.settimeout(10)
        assert read_head(sock).startswith(b"HTTP/1.1 408 no CONNECT came in time\r\n")


def test_a_long_head_is_not_kept(gate: TcpGateway) -> None:
    with gate.tls() as sock:
        sock.sendall(b"CONNECT lines:0 HTTP/1.1\r\nX: " + b"y" * 20_000)
        assert read_head(sock).startswith(b"HTTP/1.1 431 ")


def test_a_token_without_tls_is_refused(gate: TcpGateway) -> None:
    with socket.create_connection(("127.0.0.1", gate.strict_port), 5) as sock:
        sock.sendall(request("lines", gate.tcp_token("lines")))
        assert read_head(sock).startswith(b"HTTP/1.1 403 a token is only taken over TLS\r\n")


def test_a_target_that_is_not_there(lines: Service) -> None:
    with tcp_gateway({"gone": free_port()}) as alone, alone.tls() as sock:
        sock.sendall(request("gone", alone.tcp_token("gone")))
        assert read_head(sock).startswith(b"HTTP/1.1 502 the target does not answer\r\n")


def test_no_connection_is_left_open(gate: TcpGateway, lines: Service) -> None:
    """After all that was done to it."""
    until = time.monotonic() + 10
    while lines.open or gate.sessions(live="true"):
        assert time.monotonic() < until, (lines.open, gate.sessions(live="true"))
        time.sleep(0.05)
