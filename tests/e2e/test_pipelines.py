"""Pipelines of any length go through as they do without the gateway, and what is too long is refused alone."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from proxy.protocols.postgres import messages as m
from tests.peers.gateway import Gateway

COUNT = 90_000


class Wire:
    """The bytes of a session that psycopg has logged in."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self.pid = connection.info.backend_pid
        self._connection = connection
        self.line = socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        self.line.setblocking(True)
        self.line.settimeout(120)
        self._rest = b""

    def say(self, data: bytes) -> threading.Thread:
        """Send it while answers are read."""
        sending = threading.Thread(target=self.line.sendall, args=(data,))
        sending.start()
        return sending

    def hear(self) -> tuple[bytes, bytes]:
        """The next message: type and body; (b"", b"") at the end."""
        while len(self._rest) < 5 or len(self._rest) < 1 + int.from_bytes(self._rest[1:5], "big"):
            came = self.line.recv(1 << 20)
            if not came:
                return b"", b""
            self._rest += came
        size = 1 + int.from_bytes(self._rest[1:5], "big")
        message, self._rest = self._rest[:size], self._rest[size:]
        return message[:1], message[5:]

    def until_ready(self) -> tuple[dict[bytes, int], list[bytes], bytes]:
        """How many messages of each type came, the SQLSTATEs among them, and the transaction's status."""
        counts: dict[bytes, int] = {}
        states: list[bytes] = []
        while True:
            kind, body = self.hear()
            assert kind, "the session has ended"
            counts[kind] = counts.get(kind, 0) + 1
            if kind == b"E":
                states.append(m.error_fields(body)[b"C"])
            if kind == b"Z":
                return counts, states, body

    def close(self) -> None:
        self.line.close()
        self._connection.close()


@contextmanager
def wire(gateway: Gateway, way: str) -> Iterator[Wire]:
    """A session through the gateway, or around it."""
    if way == "direct":
        connection = psycopg.connect(gateway.cluster.uri("postgres", sslmode="disable"), autocommit=True)
    else:
        connection = psycopg.connect(
            host="127.0.0.1",
            port=gateway.plain_port,
            user="postgres",
            dbname="shop",
            password=gateway.token("postgres"),
            sslmode="disable",
            autocommit=True,
        )
    line = Wire(connection)
    try:
        yield line
    finally:
        line.close()


@pytest.fixture
def table(gateway16: Gateway) -> Iterator["psycopg.Connection[Any]"]:
    """An empty table ``t``, and a session of the target's own that may lock it."""
    with psycopg.connect(gateway16.cluster.uri("postgres", sslmode="disable"), autocommit=True) as admin:
        admin.execute("drop table if exists piped")
        admin.execute("create table piped (n int)")
        yield admin
        admin.execute("drop table if exists piped")


def parse(text: str, name: bytes = b"") -> bytes:
    return m.parse(name, text.encode())


def bind(number: int) -> bytes:
    return m.frame(b"B", b"\0\0" + struct.pack("!HHI", 0, 1, 5) + b"%05d" % number + struct.pack("!H", 0))


DESCRIBE, EXECUTE = m.frame(b"D", b"P\0"), m.frame(b"E", b"\0" + bytes(4))


def thirds(count: int) -> bytes:
    return b"".join(bind(number) + DESCRIBE + EXECUTE for number in range(count))


@pytest.mark.parametrize("way", ["direct", "gateway"])
def test_a_long_pipeline_with_one_sync_waits_for_a_lock_and_goes_through(
    gateway16: Gateway, table: "psycopg.Connection[Any]", way: str
) -> None:
    with wire(gateway16, way) as line:
        with table.transaction():
            table.execute("lock table piped")
            said = line.say(parse("insert into piped values ($1)") + thirds(COUNT) + m.SYNC + m.query("select 1"))
            waits = "select 1 from pg_locks where not granted and relation = 'piped'::regclass"
            while not table.execute(waits).fetchall():
                pass
        counts, states, status = line.until_ready()
        assert (counts[b"2"], counts[b"n"], counts[b"C"], states, status) == (COUNT, COUNT, COUNT, [], b"I")
        assert line.until_ready()[0] == {b"T": 1, b"D": 1, b"C": 1, b"Z": 1}
        said.join()
    assert table.execute("select count(*), max(n) from piped").fetchone() == (COUNT, COUNT - 1)


@pytest.mark.parametrize("way", ["direct", "gateway"])
def test_a_long_pipeline_whose_first_message_fails_is_skipped(
    gateway16: Gateway, table: "psycopg.Connection[Any]", way: str
) -> None:
    with wire(gateway16, way) as line:
        said = line.say(parse("selec") + thirds(COUNT) + m.SYNC + m.query("select 1"))
        assert line.until_ready() == ({b"E": 1, b"Z": 1}, [b"42601"], b"I")
        assert line.until_ready()[0] == {b"T": 1, b"D": 1, b"C": 1, b"Z": 1}
        said.join()


@pytest.mark.parametrize("way", ["direct", "gateway"])
def test_queries_without_waiting_each_have_their_answer(
    gateway16: Gateway, table: "psycopg.Connection[Any]", way: str
) -> None:
    with wire(gateway16, way) as line:
        said = line.say((m.query("select 1") + m.query("selec")) * 6_000)
        for _ in range(6_000):
            assert line.until_ready()[1] == []
            assert line.until_ready()[1] == [b"42601"]
        said.join()


LONG = "select length('" + "x" * (17 * 1024 * 1024) + "')"


def test_a_query_that_is_too_long_is_refused_and_the_session_goes_on(
    gateway16: Gateway, table: "psycopg.Connection[Any]"
) -> None:
    with wire(gateway16, "gateway") as line:
        for said, status in ((m.query("select 1"), b"I"), (m.query("begin"), b"T")):
            line.say(said).join()
            assert line.until_ready()[2] == status
            sending = line.say(m.query(LONG))
            assert line.until_ready() == ({b"E": 1, b"Z": 1}, [b"54000"], b"E" if status == b"T" else b"I")
            sending.join()
        line.say(m.query("rollback")).join()
        assert line.until_ready()[2] == b"I"
        piped = parse("insert into piped values ($1)") + bind(1) + EXECUTE + parse(LONG, b"p") + m.SYNC
        sending = line.say(piped)
        counts, states, status = line.until_ready()
        assert (counts[b"C"], states, status) == (1, [b"54000"], b"I")
        sending.join()
    assert table.execute("select count(*) from piped").fetchone() == (0,), "what came before it is rolled back"


def test_who_breaks_the_protocol_is_told_before_the_line_ends(gateway16: Gateway) -> None:
    with wire(gateway16, "gateway") as line:
        line.line.sendall(m.frame(b"\x07", b"") + b"x" * 200_000)
        kind, body = line.hear()
        assert kind == b"E" and m.error_fields(body)[b"S"] == b"FATAL"
        assert line.hear() == (b"", b"")
