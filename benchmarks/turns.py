"""What one session can do to another: ``python -m benchmarks.turns``. A victim's ``SELECT 1`` and a revocation
beside each of several floods, and beside 50 ordinary pipelines; the same loads through pgbouncer."""

import argparse
import asyncio
import multiprocessing
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

import psycopg

from benchmarks.cuts import Line, cut_one, ms, open_line
from benchmarks.world import World, quantile, world
from tests.peers.postgres import SUPERUSER

SUBJECTS = ("pgbouncer", "tidegate")
PIPELINES = 50


def frame(kind: bytes, body: bytes) -> bytes:
    """One message."""
    return kind + struct.pack("!I", len(body) + 4) + body


def query(text: str) -> bytes:
    return frame(b"Q", text.encode() + b"\0")


def values(count: int) -> bytes:
    """A statement with so many parameters that reads none, bound and executed."""
    value = struct.pack("!I", 4) + b"1234"
    types = struct.pack("!H", count) + struct.pack("!I", 25) * count
    bound = b"\0\0" + struct.pack("!HH", 0, count) + value * count + struct.pack("!H", 0)
    return (
        frame(b"P", b"\0select 1\0" + types) + frame(b"B", bound) + frame(b"E", b"\0" + bytes(4)) + frame(b"S", b"")
    )


LOOP = "do $$ begin for i in 1..1000000 loop raise notice 'x'; end loop; end $$"
FLOODS: Mapping[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "select 1": lambda: query("select 1") * 2000,
    "8 KiB of select;": lambda: query("select;" * 1160),
    "8 KiB of password='x',": lambda: query("select " + "password='x'," * 600),
    "1 KiB of password='x',": lambda: query("select " + "password='x'," * 75) * 20,
    "15 MiB of comments": lambda: query("-- nothing at all\n" * 850_000 + "prepare x as select 1"),
    "15 MiB of a string": lambda: query("select length('" + "x" * 15_000_000 + "')"),
    "65 535 values": lambda: values(65_535),
    "tiny errors": lambda: query("x") * 2000,
    "notices": lambda: query(LOOP),
    "tiny rows": lambda: query("select from generate_series(1, 1000000)"),
    "Describe, Close": lambda: (frame(b"D", b"Sa\0") + frame(b"C", b"Sb\0")) * 2000 + frame(b"S", b""),
    "Flush": lambda: frame(b"H", b"") * 20_000 + query("select 1"),
}


def flood(dsn: str, payload: str, reads: bool) -> None:
    """Send one thing over and over, for ever; in a process of its own."""
    with psycopg.connect(dsn, autocommit=True) as connection, socket.socket(fileno=connection.fileno()) as line:
        line.setblocking(True)
        if reads:
            threading.Thread(target=swallow, args=(line,), daemon=True).start()
        said = FLOODS[payload]()
        while said:
            line.sendall(said)
        time.sleep(3600)


def swallow(line: socket.socket) -> None:
    while line.recv(1 << 20):
        pass


def pipelines(dsn: str) -> None:
    """Ordinary pipelines, each of 20 statements, one after the other on each of many sessions."""
    lines = [psycopg.connect(dsn, autocommit=True) for _ in range(PIPELINES)]
    while True:
        for line in lines:
            with line.pipeline():
                for number in range(20):
                    line.execute("select %s::int", (number,))


@contextmanager
def beside(target: Callable[..., None], *arguments: object) -> Iterator[BaseProcess]:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        time.sleep(2.0)
        yield process
    finally:
        process.kill()
        process.join()


def victim(dsn: str, seconds: float) -> list[float]:
    """Seconds that each ``SELECT 1`` took, 200 a second at most."""
    took: list[float] = []
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            try:
                connection.execute("select 1")
            except psycopg.OperationalError:  # pgbouncer gives up on who waits too long for a server
                return [*took, float("inf")]
            took.append(time.monotonic() - began)
            time.sleep(0.005)
    return took


def main() -> None:
    """All loads, both subjects in turn."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=4)
    options.add_argument("--only", default="", help="loads whose name holds this")
    chosen = options.parse_args()
    with world(limits={"sessions_per_grant": "0"}) as made:
        print(f"{'':34}{'SELECT 1 beside it: pgbouncer':>32}{'tidegate':>20}{'a cut':>10}")
        for name in FLOODS:
            for reads in (False, True):
                if chosen.only in name and not (reads and name == "nothing"):
                    report(made, f"{name}{', answers read' if reads else ''}", chosen.seconds, flood, name, reads)
        if chosen.only in "pipelines":
            report(made, f"{PIPELINES} pipelines", chosen.seconds, pipelines)


def report(made: World, name: str, seconds: float, load: Callable[..., None], *arguments: object) -> None:
    """One row: median and 99th percentile of each subject, and what is tidegate's alone."""
    shown: list[str] = []
    for subject in SUBJECTS:
        with beside(load, dsn_of(made, subject), *arguments):
            took = victim(dsn_of(made, subject), seconds)
            shown.append(f"{ms(quantile(took, 0.5))} / {ms(quantile(took, 0.99))}")
            if subject == "tidegate":
                shown.append(ms(asyncio.run(cut(made))))
    print(f"{name:34}{shown[0]:>32}{shown[1]:>20}{shown[2]:>10}", flush=True)


async def cut(made: World) -> float:
    """Seconds from a revocation to the end of a session."""
    line: Line = open_line(made, made.gateway.grant(SUPERUSER))
    took = await cut_one(made, line)
    line.connection.close()
    return took


def dsn_of(made: World, subject: str) -> str:
    """Where a client connects, without TLS: how long that takes is not asked here."""
    if subject == "tidegate":
        token = made.gateway.token(grant=made.gateway.grant(SUPERUSER))
        return (
            f"host=127.0.0.1 port={made.gateway.plain_port} user={SUPERUSER} dbname=shop password={token} "
            "sslmode=disable"
        )
    password = made.target.passwords[SUPERUSER]
    return (
        f"host=127.0.0.1 port={made.bouncer.port} user={SUPERUSER} dbname=shop password={password} sslmode=disable"
    )


if __name__ == "__main__":
    main()
