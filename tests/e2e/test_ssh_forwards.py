"""Connections through a host: to what an account's list has and nothing else, many at once, each recorded."""

import asyncio
import contextlib
import os
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import pytest

from proxy.cli.demo.postgres import free_port
from tests.e2e.test_ssh_refusals import denied, refused
from tests.peers.openssh import Door
from tests.peers.proof import until
from tests.peers.ssh_gateway import SshGateway, ssh_gateway
from tests.peers.ssh_records import statements
from tests.peers.sshd import Sshd, echo


def says(port: int, words: bytes) -> bytes:
    """What a service answers, until it ends."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.settimeout(20)
        answer = b""
        with contextlib.suppress(OSError):  # it may have gone already
            sock.sendall(words)
            sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(65_536):
                answer += data
        return answer


@contextmanager
def forwarding(door: Door, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = door.line("ssh", "-N", "-v", *options, "box")
    with door.running(command) as process:
        assert process.stderr is not None
        seen = b""
        while b"Entering interactive session" not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        yield process


@contextmanager
def proxied(port: int, place: bytes) -> Iterator[socket.socket]:
    """A connection to a place by way of a SOCKS 5 proxy (RFC 1928), whose answer is still to come."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.settimeout(20)
        sock.sendall(b"\x05\x01\x00")
        assert sock.recv(2) == b"\x05\x00"
        sock.sendall(b"\x05\x01\x00" + place)
        yield sock


class Shout(socketserver.BaseRequestHandler):
    """Says what it hears, louder."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65_536):
                self.request.sendall(data.upper())


class SocketServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@pytest.fixture(scope="module")
def places() -> Iterator[Path]:
    """A folder of unix sockets on the host: ``open`` and ``other``, behind which somebody shouts."""
    folder = Path(tempfile.mkdtemp(prefix="places-", dir="/tmp"))
    folder.chmod(0o755)
    servers = [SocketServer(str(folder / name), Shout) for name in ("open", "other")]
    threads = [threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True) for each in servers]
    for thread in threads:
        thread.start()
    yield folder
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join(5)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def wide(host: Sshd, places: Path) -> Iterator[SshGateway]:
    """A gateway whose hosts may be led to ranges of ports, to every port of a name, and to a socket."""
    forward = ["127.0.0.1:1024-65535", "localhost:*", "[::1]:8000-8999", f"unix:{places}/open"]
    with ssh_gateway(host, forward=forward) as running:
        yield running


# -- one place -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", ["box", "forwards"])
def test_a_forward_to_what_is_allowed(box: SshGateway, echo_port: int, resource: str) -> None:
    port = free_port()
    with forwarding(box.door(resource), "-L", f"{port}:127.0.0.1:{echo_port}"):
        data = os.urandom(500_000)
        assert says(port, data) == data
        assert says(port, b"again") == b"again"


def test_a_forward_to_what_is_not_allowed(box: SshGateway) -> None:
    assert box.target is not None
    grant, port = box.ssh_grant(), free_port()
    with forwarding(box.door(grant=grant), "-L", f"{port}:127.0.0.1:{box.target.port}") as process:
        assert says(port, b"hello") == b""
        assert process.poll() is None
    until(lambda: bool(refused(box, grant)))
    assert refused(box, grant)[0][:2] == ("tunnel", f"127.0.0.1:{box.target.port}")


def test_the_name_of_an_allowed_place_is_not_another_name_for_it(box: SshGateway, echo_port: int) -> None:
    door = box.door()
    for place in (f"localhost:{echo_port}", f"127.1:{echo_port}", f"[::ffff:127.0.0.1]:{echo_port}"):
        done = door.run(door.line("ssh", "-W", place, "box"), data=b"hello")
        assert (done.returncode != 0, done.stdout) == (True, b"")
    done = door.run(door.line("ssh", "-W", f"127.0.0.1:{echo_port}", "box"), data=b"hello")
    assert (done.returncode, done.stdout) == (0, b"hello")


# -- ranges, names and sockets -------------------------------------------------------------------------------------


def test_whatever_port_a_server_chooses(wide: SshGateway) -> None:
    """As an editor's does: on the host, and told to the editor."""
    door = wide.door()
    with echo() as first, echo() as second:
        for place in (f"127.0.0.1:{first}", f"localhost:{first}", f"127.0.0.1:{second}", f"LocalHost:{second}"):
            done = door.run(door.line("ssh", "-W", place, "box"), data=b"hello")
            assert (done.returncode, done.stdout) == (0, b"hello"), done
    for place in ("127.0.0.1:1023", "[::1]:9000", "ip6-localhost:8080"):
        done = door.run(door.line("ssh", "-W", place, "box"), data=b"hello")
        assert done.returncode != 0
        places = b"127.0.0.1:1024-65535, localhost:*, [::1]:8000-8999, unix:"
        assert b"may not be forwarded to" in done.stderr and places in done.stderr


def test_a_proxy_that_the_client_offers(wide: SshGateway) -> None:
    """``ssh -D``: what is asked of it is judged like anything else."""
    grant, port = wide.ssh_grant(), free_port()
    with echo() as there, forwarding(wide.door(grant=grant), "-D", str(port)):
        with proxied(port, b"\x01\x7f\x00\x00\x01" + there.to_bytes(2, "big")) as sock:
            assert sock.recv(10)[:2] == b"\x05\x00"
            sock.sendall(b"hello")
            assert sock.recv(100) == b"hello"
        with proxied(port, b"\x03\x0bexample.com" + (80).to_bytes(2, "big")) as sock:
            while sock.recv(100):  # ssh says that it has it before it asks
                pass
    until(lambda: bool(refused(wide, grant)))
    assert refused(wide, grant)[0][:2] == ("tunnel", "example.com:80")


def test_a_socket_of_the_host(wide: SshGateway, places: Path) -> None:
    grant, port, other = wide.ssh_grant(), free_port(), free_port()
    to = ("-L", f"{port}:{places}/open", "-L", f"{other}:{places}/other")
    with forwarding(wide.door(grant=grant), *to) as process:
        assert says(port, b"hello" * 10_000) == b"HELLO" * 10_000
        assert says(other, b"hello") == b""
        assert process.poll() is None
    until(lambda: len(statements(wide, grant)) == 2 and bool(refused(wide, grant)))
    listed, refusal = sorted(statements(wide, grant), key=lambda each: str(each["text"]))
    assert (listed["protocol"], listed["text"], listed["outcome"]) == ("tunnel", f"unix:{places}/open", "done")
    assert listed["bytes"] == 100_000
    assert refusal["text"] == f"unix:{places}/other"
    assert f"may not be forwarded to unix:{places}/other; it may be forwarded to 127.0.0.1:" in refusal["error"]


def test_a_socket_where_none_is_listed(box: SshGateway, places: Path) -> None:
    grant, port = box.ssh_grant(), free_port()
    with forwarding(box.door(grant=grant), "-L", f"{port}:{places}/open"):
        assert says(port, b"hello") == b""
    until(lambda: bool(refused(box, grant)))
    assert refused(box, grant)[0][:2] == ("tunnel", f"unix:{places}/open")


# -- many ----------------------------------------------------------------------------------------------------------


def test_forty_at_once_and_a_shell_beside_them(wide: SshGateway) -> None:
    door, port = wide.door(), free_port()
    with echo() as there, forwarding(door, "-L", f"{port}:127.0.0.1:{there}"), contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(40)]
        for number, each in enumerate(opened):
            each.settimeout(20)
            each.sendall(b"hello %d" % number)
        for number, each in enumerate(opened):
            assert each.recv(100) == b"hello %d" % number


async def test_the_limits_are_the_resources(box: SshGateway, echo_port: int) -> None:
    grant = box.ssh_grant("narrow")
    door = box.door("narrow", grant=grant)
    known = asyncssh.import_known_hosts(door.known_hosts)
    async with (
        asyncio.timeout(50),
        asyncssh.connect(
            "127.0.0.1", door.port, username=door.user, password=door.password, known_hosts=known, config=[],
            agent_path=None, client_keys=[],
        ) as client,
    ):  # fmt: skip
        running = [await client.create_process("cat") for _ in range(2)]
        opened = [await client.open_connection("127.0.0.1", echo_port) for _ in range(2)]
        with pytest.raises(asyncssh.ChannelOpenError, match="no more than 2 sessions at once"):
            await client.create_process("cat")
        with pytest.raises(asyncssh.ChannelOpenError, match="no more than 2 forwarded connections at once"):
            await client.open_connection("127.0.0.1", echo_port)
        for reader, writer in opened:
            writer.write(b"hello")
            writer.write_eof()
            assert await reader.read() == b"hello"
            writer.close()
        for each in running:
            each.stdin.write_eof()
            await each.wait()
    assert denied(box, grant) == ["channel", "channel"]
