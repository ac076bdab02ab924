"""A conversation as a test writes it: who says what in turn, and what became of it; and the messages of both
sides."""

import base64
import functools
import json
import pickle
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from proxy.core.access import Decision
from proxy.core.access import Outcome as Verdict
from proxy.core.records import (
    Note,
    Outcome,
    Record,
    ResultRows,
    StatementFinished,
    StatementPrepared,
    StatementStarted,
)
from proxy.core.steps import Ask, Close, Forward, Observe, Pause, Recorded, Reply, Side, Step, Tell, Think, Wait
from proxy.protocols.postgres import messages as m
from proxy.protocols.postgres.inspector import PostgresInspector
from proxy.protocols.postgres.limits import Limits

CLIENT, TARGET = Side.CLIENT, Side.TARGET
ALLOW = Decision(Verdict.ALLOW)
DENY = Decision(Verdict.DENY, rule="no-deletes", reason="not on production")
Turn = tuple[Side, bytes]

# -- what a client says -----------------------------------------------------------------------------------------


def query(text: str | bytes) -> bytes:
    return m.query(text)


def parse(name: str, text: str, *types: int) -> bytes:
    return m.parse(name.encode(), text, types)


def bind(
    portal: str = "",
    statement: str = "",
    values: Sequence[bytes | None] = (),
    formats: Sequence[int] = (),
    results: Sequence[int] = (),
) -> bytes:
    body = portal.encode() + b"\0" + statement.encode() + b"\0"
    body += struct.pack(f"!H{len(formats)}h", len(formats), *formats) + struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return m.frame(b"B", body + struct.pack(f"!H{len(results)}h", len(results), *results))


def describe(kind: str, name: str = "") -> bytes:
    return m.frame(b"D", kind.encode() + name.encode() + b"\0")


def execute(portal: str = "", most: int = 0) -> bytes:
    return m.frame(b"E", portal.encode() + b"\0" + struct.pack("!I", most))


def close(kind: str, name: str = "") -> bytes:
    return m.frame(b"C", kind.encode() + name.encode() + b"\0")


def function_call(oid: int) -> bytes:
    return m.frame(b"F", struct.pack("!IHHH", oid, 0, 0, 0))


def copy_data(data: bytes) -> bytes:
    return m.frame(b"d", data)


SYNC, FLUSH, TERMINATE, COPY_DONE = m.SYNC, m.FLUSH, m.TERMINATE, m.COPY_DONE

# -- what a server says -----------------------------------------------------------------------------------------

PARSED, BOUND, CLOSED = m.frame(b"1", b""), m.frame(b"2", b""), m.frame(b"3", b"")
NO_DATA, SUSPENDED, EMPTY = m.frame(b"n", b""), m.frame(b"s", b""), m.frame(b"I", b"")
COPY_IN, COPY_OUT = m.frame(b"G", b"\0\0\0"), m.frame(b"H", b"\0\0\0")
READY, READY_IN_BLOCK, READY_FAILED = (m.ready_for_query(status) for status in (b"I", b"T", b"E"))


def description(*columns: tuple[str, int, int]) -> bytes:
    """(name, type oid, format) each."""
    body = struct.pack("!H", len(columns))
    for name, oid, form in columns:
        body += name.encode() + b"\0" + struct.pack("!IhIhih", 0, 0, oid, -1, -1, form)
    return m.frame(b"T", body)


def row(*values: bytes | None) -> bytes:
    body = struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return m.frame(b"D", body)


def complete(tag: str) -> bytes:
    return m.frame(b"C", tag.encode() + b"\0")


def error(sqlstate: str, message: str = "no", severity: str = "ERROR") -> bytes:
    return m.error_response(severity, sqlstate, message)


ONE_ROW = description(("x", 23, 0)) + row(b"1") + complete("SELECT 1")


# -- what becomes of it -----------------------------------------------------------------------------------------


class Talk:
    """Feeds an inspector and keeps what it answers. An ``Ask`` is answered at once by ``verdicts`` in turn, else
    allowed; a ``Think`` is thought at once."""

    def __init__(self, limits: Limits | None = None, verdicts: Iterable[Decision] = (), **options: Any) -> None:
        self.inspector = PostgresInspector(limits, **options)
        self.steps: list[tuple[Side, Step]] = []
        self._verdicts = iter(verdicts)

    def client(self, *parts: bytes) -> "Talk":
        return self.feed(CLIENT, b"".join(parts))

    def target(self, *parts: bytes) -> "Talk":
        return self.feed(TARGET, b"".join(parts))

    def feed(self, side: Side, chunk: bytes) -> "Talk":
        steps = apart(self.inspector.feed(side, chunk))
        while steps:
            self.steps.extend((side, step) for step in steps)
            held = next((step for step in steps if isinstance(step, Ask | Think)), None)
            if isinstance(held, Think):
                held.done(pickle.loads(pickle.dumps(held.work(held.data))))  # it comes from another process
            decision = next(self._verdicts, ALLOW) if isinstance(held, Ask) else None
            steps = apart(self.inspector.resume(decision)) if held is not None else []
        return self

    @property
    def records(self) -> list[Record]:
        return [step.record for _, step in self.steps if isinstance(step, Observe)]

    @property
    def started(self) -> list[StatementStarted]:
        return [each for each in self.records if isinstance(each, StatementStarted)]

    @property
    def prepared(self) -> list[StatementPrepared]:
        return [each for each in self.records if isinstance(each, StatementPrepared)]

    @property
    def finished(self) -> dict[int, StatementFinished]:
        found = [each for each in self.records if isinstance(each, StatementFinished)]
        numbers = [each.seq for each in found]
        assert len(set(numbers)) == len(numbers), "a statement finished twice"
        return {each.seq: each for each in found}

    @property
    def outcomes(self) -> list[tuple[int, Outcome]]:
        return [(each.seq, Outcome(each.outcome)) for each in self.finished.values()]

    @property
    def notes(self) -> list[Note]:
        return [each for each in self.records if isinstance(each, Note)]

    @property
    def rows(self) -> list[ResultRows]:
        return [each for each in self.records if isinstance(each, ResultRows)]

    @property
    def to_target(self) -> bytes:
        return b"".join(
            bytes(step.data)
            for side, step in self.steps
            if (isinstance(step, Forward) and side is CLIENT) or isinstance(step, Tell)
        )

    @property
    def to_client(self) -> bytes:
        return b"".join(
            bytes(step.data)
            for side, step in self.steps
            if (isinstance(step, Forward) and side is TARGET) or isinstance(step, Reply)
        )

    @property
    def closed(self) -> Close | None:
        return next((step for _, step in self.steps if isinstance(step, Close)), None)

    def joined(self) -> tuple[list[Record], list[tuple[Any, ...]]]:
        """What must not depend on how the bytes were cut: the records, and all other steps with adjacent Forwards
        joined."""
        others: list[tuple[Any, ...]] = []
        for side, step in self.steps:
            if isinstance(step, Observe | Think):  # whether something is thought about depends on the way it goes
                continue
            if isinstance(step, Forward) and others and others[-1][:2] == (side, "Forward"):
                others[-1] = (side, "Forward", others[-1][2] + bytes(step.data))
            else:
                others.append((side, type(step).__name__, *step))
        return self.records, others


def apart(steps: Iterable[Step]) -> list[Step]:
    """``Recorded`` as the two steps it stands for."""
    found: list[Step] = []
    for step in steps:
        if isinstance(step, Pause | Wait):
            continue
        found += [Observe(step.record), Forward(step.data)] if isinstance(step, Recorded) else [step]
    return found


def frames(data: bytes) -> list[tuple[bytes, bytes]]:
    """(type, body) of each whole message."""
    found, position = [], 0
    while position < len(data):
        (length,) = struct.unpack_from("!I", data, position + 1)
        found.append((data[position : position + 1], data[position + 5 : position + 1 + length]))
        position += 1 + length
    return found


@functools.cache
def captured() -> dict[str, list[Turn]]:
    """Conversations after the log-in: of psycopg 3 and asyncpg with PostgreSQL 15, and of asyncpg and psql with
    PostgreSQL 18."""
    raw = json.loads(Path(__file__).with_name("transcripts.json").read_text())
    return {
        name: [(CLIENT if who == "client" else TARGET, base64.b64decode(chunk)) for who, chunk in turns]
        for name, turns in raw.items()
    }
