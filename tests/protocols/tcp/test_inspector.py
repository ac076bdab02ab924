"""What is known of bytes of which nothing is known: how many, when, and where the grant says so which."""

import hashlib
from collections.abc import Sequence
from itertools import count

import pytest

from proxy.core.records import (
    Content,
    Flow,
    Note,
    Outcome,
    Passed,
    Record,
    StatementFinished,
    StatementStarted,
    Via,
)
from proxy.core.states import EndReason
from proxy.core.steps import Forward, Observe, Recorded, Side, Step
from proxy.protocols.tcp.inspector import PIECE, TcpInspector

CLIENT, TARGET = Side.CLIENT, Side.TARGET


def an_inspector(keeps: bool = False) -> TcpInspector:
    clock = count(1000)
    return TcpInspector("echo:7000", lambda: float(next(clock)), keeps=keeps)


def passed_on(steps: Sequence[Step]) -> bytes:
    return b"".join(bytes(step.data) for step in steps if isinstance(step, Forward | Recorded))


def records(steps: Sequence[Step]) -> list[Record]:
    return [step.record for step in steps if isinstance(step, Observe | Recorded)]


@pytest.mark.parametrize("first", [CLIENT, TARGET])
@pytest.mark.parametrize("keeps", [False, True])
def test_the_statement_starts_before_the_first_byte_of_either_side_and_once(first: Side, keeps: bool) -> None:
    inspector = an_inspector(keeps)
    steps = [*inspector.feed(first, b"a"), *inspector.feed(TARGET, b"b"), *inspector.feed(CLIENT, b"c")]
    assert steps[0] == Observe(StatementStarted(1, Via.TUNNEL, 0, 0, b"echo:7000", 0, "", b"", b"", ()))
    assert sum(isinstance(each, StatementStarted) for each in records(steps)) == 1
    assert passed_on(steps) == b"abc"


def test_bytes_are_kept_only_where_that_is_said() -> None:
    assert records(an_inspector().feed(CLIENT, b"secret"))[1:] == []
    assert records(an_inspector(True).feed(CLIENT, b"secret"))[1:] == [Passed(1, Flow.INPUT, b"secret")]
    assert records(an_inspector(True).feed(TARGET, b"secret"))[1:] == [Passed(1, Flow.OUTPUT, b"secret")]


def test_what_is_kept_comes_in_pieces_each_recorded_before_it_passes() -> None:
    data = bytes(range(256)) * 1000
    steps = an_inspector(True).feed(CLIENT, data)
    pieces = [step for step in steps if isinstance(step, Recorded)]
    assert all(isinstance(each.record, Passed) and each.record.data == each.data for each in pieces)
    assert max(len(each.data) for each in pieces) == PIECE
    assert passed_on(steps) == data
    assert not any(isinstance(step, Forward) for step in steps)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_any_split_comes_to_the_same(size: int) -> None:
    data = bytes(range(256)) * 500
    inspector = an_inspector(True)
    steps = [step for at in range(0, len(data), size) for step in inspector.feed(CLIENT, data[at : at + size])]
    assert passed_on(steps) == data
    assert b"".join(each.data for each in records(steps) if isinstance(each, Passed)) == data
    inspector.outlives(CLIENT)
    inspector.outlives(TARGET)
    digest = hashlib.sha256(data).hexdigest()
    finished = inspector.finish(Outcome.UNKNOWN)
    assert finished[0] == Content(1, Flow.INPUT, 0, len(data), digest)
    assert finished[-1] == StatementFinished(1, Outcome.DONE, b"closed", -1, len(data), b"", b"", 0)


def test_at_the_end_what_passed_is_told_with_its_times() -> None:
    inspector = an_inspector()
    for side, chunk in ((CLIENT, b"12345"), (TARGET, b"1"), (CLIENT, b"67")):
        inspector.feed(side, chunk)
    times = [dict(each.data) for each in inspector.finish(Outcome.CUT) if isinstance(each, Note)]
    assert times == [
        {"statement": 1, "flow": "input", "first": 1000.0, "last": 1002.0},
        {"statement": 1, "flow": "output", "first": 1001.0, "last": 1001.0},
    ]
    sizes = [each.size for each in inspector.finish(Outcome.CUT) if isinstance(each, Content)]
    assert sizes == [7, 1]


@pytest.mark.parametrize(
    ("over", "outcome", "told"),
    [
        ([], Outcome.CUT, Outcome.CUT),
        ([], Outcome.UNKNOWN, Outcome.UNKNOWN),
        ([CLIENT], Outcome.UNKNOWN, Outcome.UNKNOWN),
        ([TARGET], Outcome.UNKNOWN, Outcome.UNKNOWN),
        ([TARGET, CLIENT], Outcome.UNKNOWN, Outcome.DONE),
        ([CLIENT, TARGET], Outcome.CUT, Outcome.CUT),
    ],
)
def test_it_is_done_only_when_both_sides_said_so(over: list[Side], outcome: Outcome, told: Outcome) -> None:
    inspector = an_inspector()
    inspector.feed(CLIENT, b"x")
    for side in over:
        assert inspector.outlives(side)
    (finished,) = (each for each in inspector.finish(outcome) if isinstance(each, StatementFinished))
    assert finished.outcome == told


def test_where_nothing_passed_there_is_no_statement() -> None:
    assert an_inspector().finish(Outcome.CUT) == ()


def test_nothing_is_ever_said_inside_the_bytes() -> None:
    inspector = an_inspector()
    inspector.feed(TARGET, b"half a mess")
    assert inspector.inject("your access ends") == b""
    assert inspector.farewell(EndReason.GRANT_REVOKED, "it ended") == b""
    assert (inspector.target_boundary(), inspector.running(), inspector.stop()) == (0, False, b"")
