"""350 MB each way, and small questions and answers, through TCP by CONNECT beside haproxy: ``python -m
benchmarks.tcp_relay``.

haproxy: ``mode tcp``, one thread, TLS to the client, plain to the target, recording nothing. The gateway: one
worker, TLS to the client, plain to the target, counting; and, as ``taped``, keeping every byte. CPU is that of
whole process trees. The target is one process for all.
"""

import contextlib
import multiprocessing
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.series import Series, options, spread
from benchmarks.world import cpu_of, median, quantile
from proxy.cli.demo.certificates import Authority
from proxy.cli.demo.postgres import free_port
from tests.peers.tcp_gateway import TcpGateway, tcp_gateway

BULK = 350_000_000
CHUNK = 256 * 1024
QUESTION = b"q" * 64
QUESTIONS = 5000
SUBJECTS = ("direct", "haproxy", "tidegate", "taped")

Connect = Callable[[], socket.socket]


def main() -> None:
    """CPU and speed each way, and how long small answers take."""
    chosen = options(__doc__).parse_args()
    series = Series(f"{BULK // 1_000_000} MB over TLS (direct: plain)", chosen.runs, once=chosen.once)
    with target() as port, haproxy(port) as (door, authority, process), tcp_gateway({"bulk": port}) as gate:
        ways: dict[str, tuple[Connect, Callable[[], list[int]]]] = {
            "direct": (lambda: socket.create_connection(("127.0.0.1", port)), list),
            "haproxy": (lambda: tls("127.0.0.1", door, authority), lambda: [process.pid]),
            "tidegate": (lambda: tunnel(gate, "alice"), gate.processes),
            "taped": (lambda: tunnel(gate, "eve"), gate.processes),
        }
        for each in series.rounds():
            for subject in SUBJECTS:
                connect, pids = ways[subject]
                for way in (down, up):
                    with connect() as sock:
                        cost, wall, _ = cpu_of(pids, lambda: way(sock))  # noqa: B023
                    each.note(f"{way.__name__} {subject}", cost=cost, wall=wall, speed=1 / wall)
                with connect() as sock:
                    waits = ping(sock)
                each.note(f"ping {subject}", middle=median(waits) * 1e6, worst=quantile(waits, 0.99) * 1e6)
    report(series)
    series.finish()


def report(series: Series) -> None:
    for way in ("down", "up"):
        for subject in SUBJECTS:
            name, theirs = f"{way} {subject}", f"{way} haproxy"
            cost, wall = (spread(series.values(name, what)) for what in ("cost", "wall"))
            speed, share = (spread(series.ratios(name, theirs, what)) for what in ("speed", "cost"))
            print(
                f"{way:5} {subject:9} CPU {cost} s   wall {wall} s   {speed} of haproxy's speed, {share} of its CPU"
            )
    for subject in SUBJECTS:
        middle, worst = (spread(series.values(f"ping {subject}", what), "{:.0f}") for what in ("middle", "worst"))
        print(f"ping  {subject:9} p50 {middle} us   p99 {worst} us")


# -- what is measured --------------------------------------------------------------------------------------------


def down(sock: socket.socket) -> None:
    """Read from the target."""
    sock.sendall(b"down\n")
    view, left = memoryview(bytearray(CHUNK)), BULK
    while left:
        got = sock.recv_into(view)
        assert got
        left -= got


def up(sock: socket.socket) -> None:
    """Write to the target until it says that it has it all."""
    sock.sendall(b"up\n")
    data, left = bytes(CHUNK), BULK
    while left:
        sock.sendall(data[:left])
        left -= min(left, CHUNK)
    assert sock.recv(1) == b"k"


def ping(sock: socket.socket) -> list[float]:
    """Seconds from each question to its answer."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(b"ping\n")
    waits = []
    for _ in range(QUESTIONS):
        began = time.perf_counter()
        sock.sendall(QUESTION)
        left = len(QUESTION)
        while left:
            left -= len(sock.recv(left))
        waits.append(time.perf_counter() - began)
    return waits


def tls(host: str, port: int, authority: Path) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(authority))
    return context.wrap_socket(socket.create_connection((host, port)), server_hostname="localhost")


def tunnel(gate: TcpGateway, user: str) -> ssl.SSLSocket:
    return gate.tunnel("bulk", gate.tcp_token("bulk", user))


# -- the peers ---------------------------------------------------------------------------------------------------


@contextmanager
def target() -> Iterator[int]:
    """A service that sends, takes or echoes, in a process of its own; its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        serving = multiprocessing.get_context("fork").Process(target=serve, args=(listening,), daemon=True)
        serving.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            serving.terminate()
            serving.join(10)


def serve(listening: socket.socket) -> None:
    while True:
        sock, _ = listening.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=answer, args=(sock,), daemon=True).start()


def answer(sock: socket.socket) -> None:
    """One connection: its first line says what it is for."""
    word = b""
    while not word.endswith(b"\n"):
        word += sock.recv(1)
    view, left = memoryview(bytearray(CHUNK)), BULK
    if word == b"down\n":
        while left:
            left -= sock.send(view[: min(left, CHUNK)])
    elif word == b"up\n":
        while left:
            left -= sock.recv_into(view)
        sock.sendall(b"k")
    else:
        with contextlib.suppress(ConnectionResetError):
            while got := sock.recv_into(view):
                sock.sendall(view[:got])
    sock.close()


@contextmanager
def haproxy(port: int) -> Iterator[tuple[int, Path, "subprocess.Popen[bytes]"]]:
    """haproxy in front of ``port``: its own port, who signed its certificate, its process."""
    program = shutil.which("haproxy", path="/usr/sbin:" + os.environ.get("PATH", ""))
    if program is None:
        raise SystemExit("haproxy is not installed: apt-get install haproxy")
    folder = Path(tempfile.mkdtemp(prefix="tidegate-haproxy-"))
    authority = Authority.create()
    authority.server().write(folder, "haproxy")
    ca = authority.write(folder)
    (folder / "both.pem").write_text((folder / "haproxy.crt").read_text() + (folder / "haproxy.key").read_text())
    door = free_port()
    (folder / "haproxy.cfg").write_text(
        f"""global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen bulk
  bind 127.0.0.1:{door} ssl crt {folder}/both.pem
  server target 127.0.0.1:{port}
"""
    )
    process = subprocess.Popen([program, "-db", "-f", str(folder / "haproxy.cfg")], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        yield door, ca, process
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
