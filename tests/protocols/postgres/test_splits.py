"""However the bytes of a conversation are cut, the same is passed on and recorded; and whatever is sent, an
inspector answers: it never raises, and never passes on a statement that was not recorded first."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.records import StatementStarted
from proxy.core.steps import Close, Forward, Observe, Side
from proxy.protocols.postgres.inspector import PostgresInspector
from proxy.protocols.postgres.limits import Limits
from tests.protocols.postgres.ladder import (
    BOUND,
    CLIENT,
    COPY_DONE,
    COPY_IN,
    DENY,
    FLUSH,
    ONE_ROW,
    PARSED,
    READY,
    READY_IN_BLOCK,
    SUSPENDED,
    SYNC,
    TARGET,
    TERMINATE,
    Talk,
    Turn,
    bind,
    captured,
    close,
    complete,
    copy_data,
    describe,
    description,
    error,
    execute,
    function_call,
    parse,
    query,
    row,
)

SMALL = Limits(hold_bind=200, max_value=8, max_values=40, max_text=40, record_rows=2, record_bytes=100)
KEY = b"K\0\0\0\x0c\0\0\0\1\0\0\0\2"
STATUS = b"S\0\0\0\x19client_encoding\0UTF8\0"

MADE: dict[str, list[Turn]] = {
    "refusals": [
        (
            CLIENT,
            query("select 1") + function_call(3) + parse("", "insert") + bind() + execute() + function_call(4),
        ),
        (
            TARGET,
            ONE_ROW + READY + error("42883") + READY + PARSED + BOUND + complete("INSERT 0 1") + error("42883"),
        ),
        (TARGET, READY),
        (CLIENT, query("select 2") + TERMINATE),
    ],
    "copy": [
        (CLIENT, parse("", "copy t from stdin") + bind() + execute() + SYNC),
        (TARGET, PARSED + BOUND + COPY_IN),
        (CLIENT, copy_data(b"x" * 300) + copy_data(b"") + COPY_DONE + SYNC),
        (TARGET, complete("COPY 1") + READY),
        (CLIENT, query("copy t to stdout; select 'password=x'")),
        (TARGET, b"H\0\0\0\7\0\0\0" + copy_data(b"y" * 50) * 5 + COPY_DONE + complete("COPY 5") + ONE_ROW + READY),
    ],
    "portals": [
        (
            CLIENT,
            query("begin")
            + parse("s", "select $1", 25)
            + describe("S", "s")
            + bind("p", "s", [b"v" * 500], [1], [1]),
        ),
        (
            TARGET,
            complete("BEGIN") + READY_IN_BLOCK + PARSED + b"t\0\0\0\x0a\0\1\0\0\0\x19" + description(("x", 25, 0)),
        ),
        (CLIENT, execute("p", 2) + FLUSH + execute("p") + close("P", "p") + SYNC),
        (TARGET, BOUND + row(b"1") + row(b"2") + SUSPENDED + row(b"3" * 90) + complete("SELECT 1") + b"3\0\0\0\4"),
        (TARGET, KEY + STATUS + b"~\0\0\0\6ab" + READY_IN_BLOCK),
    ],
    "broken client": [(CLIENT, query("select 1") + b"?\0\0\0\4" + query("select 2"))],
    "broken target": [(CLIENT, query("select 1")), (TARGET, ONE_ROW + b"R\0\0\0\x08\0\0\0\3" + READY)],
}
CONVERSATIONS = {**captured(), **MADE}


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(edges) if stop > start]


def played(turns: list[Turn], cuts: list[int] | None, limits: Limits, asks: bool) -> Talk:
    talk = Talk(limits, asks=asks, verdicts=[])
    for side, data in turns:
        for piece in pieces(data, cuts) if cuts is not None else [data[at : at + 1] for at in range(len(data))]:
            talk.feed(side, piece)
    return talk


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("limits", [Limits(), SMALL], ids=["limits", "small limits"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_byte_by_byte_is_the_same(name: str, limits: Limits, asks: bool) -> None:
    turns = CONVERSATIONS[name]
    assert played(turns, None, limits, asks).joined() == played(turns, [], limits, asks).joined()


@given(st.sampled_from(sorted(CONVERSATIONS)), st.lists(st.integers(0, 5000), max_size=30), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_split_is_the_same(name: str, cuts: list[int], small: bool) -> None:
    turns, limits = CONVERSATIONS[name], SMALL if small else Limits()
    whole, split = played(turns, [], limits, False), played(turns, cuts, limits, False)
    assert split.joined() == whole.joined()


@pytest.mark.parametrize("name", captured())
def test_what_a_real_client_and_server_said_passes_unchanged(name: str) -> None:
    turns = captured()[name]
    talk = played(turns, [], Limits(), False)
    assert talk.to_target == b"".join(data for side, data in turns if side is CLIENT)
    assert talk.to_client == b"".join(data for side, data in turns if side is TARGET)
    assert set(talk.finished) == {each.seq for each in talk.started}, "a statement without an end"
    assert not talk.inspector.running() and talk.inspector.in_flight() == 0


def later(turns: list[Turn], swaps: list[int]) -> list[Turn]:
    """The same conversation with a client that waits less: what it said after an answer, it says before that
    comes."""
    turns = list(turns)
    for swap in swaps:
        at = swap % (len(turns) - 1)
        if turns[at][0] is TARGET and turns[at + 1][0] is CLIENT:
            turns[at], turns[at + 1] = turns[at + 1], turns[at]
    return turns


def ends(talk: Talk) -> dict[int, tuple[object, ...]]:
    """What came of each statement, but for when that was known."""
    return {seq: (each.outcome, each.tag, each.rows, each.data_bytes) for seq, each in talk.finished.items()}


@given(st.sampled_from(sorted(captured())), st.lists(st.integers(0, 200), min_size=1, max_size=60))
@settings(max_examples=150, deadline=None)
def test_when_an_answer_comes_changes_nothing_of_what_ran(name: str, swaps: list[int]) -> None:
    turns = captured()[name]
    waited, hurried = played(turns, [], Limits(), False), played(later(turns, swaps), [], Limits(), False)
    assert hurried.to_target == waited.to_target and hurried.to_client == waited.to_client
    assert ends(hurried) == ends(waited)
    assert not hurried.inspector.running() and hurried.closed == waited.closed


@given(
    st.lists(st.sampled_from(["select 1", "select 22; select 23", "", "copy t from stdin"]), max_size=6), st.data()
)
@settings(max_examples=80, deadline=None)
def test_a_statement_is_recorded_before_its_last_byte_leaves(texts: list[str], data: st.DataObject) -> None:
    inspector, recorded, passed = PostgresInspector(), 0, 0
    stream = b"".join(query(text) for text in texts)
    ends, at = [], 0
    for text in texts:
        at += len(query(text))
        ends += [at] * max(1, len([part for part in text.split(";") if part.strip()]))
    for piece in pieces(stream, data.draw(st.lists(st.integers(0, 400), max_size=12))):
        for step in inspector.feed(Side.CLIENT, piece):
            if isinstance(step, Observe) and isinstance(step.record, StatementStarted):
                recorded += 1
            elif isinstance(step, Forward):
                passed += len(step.data)
                assert recorded >= len([end for end in ends if end <= passed])


MESSAGES = st.sampled_from(
    [
        query("select 1"),
        query("a;b"),
        query("prepare s as select 1"),
        query("deallocate all"),
        parse("", "x"),
        parse("s", "y"),
        bind(),
        bind("p", "s", [b"1"]),
        execute(),
        execute("p", 1),
        describe("S", "s"),
        describe("P"),
        close("S", "s"),
        close("P", "p"),
        SYNC,
        FLUSH,
        function_call(1),
        copy_data(b"x"),
        COPY_DONE,
        ONE_ROW,
        READY,
        READY_IN_BLOCK,
        PARSED,
        BOUND,
        SUSPENDED,
        COPY_IN,
        error("42601"),
        error("57P01", "bye", "FATAL"),
        complete("INSERT 0 1"),
        row(b"1"),
        description(("x", 23, 0)),
        KEY,
        STATUS,
    ]
)


@given(
    st.lists(st.tuples(st.sampled_from([CLIENT, TARGET]), st.one_of(MESSAGES, st.binary(max_size=30))), max_size=40)
)
@settings(max_examples=400, deadline=None)
def test_any_two_peers_are_survived(turns: list[Turn]) -> None:
    for options in ({}, {"limits": SMALL, "asks": True, "verdicts": [DENY] * 50}):
        talk = Talk(**options)  # type: ignore[arg-type]
        for side, chunk in turns:
            talk.feed(side, chunk)
            talk.inspector.target_boundary()
            talk.inspector.in_flight()
            talk.inspector.inject("soon")
        for record in talk.inspector.finish(0):  # type: ignore[arg-type]
            talk.steps.append((TARGET, Observe(record)))
        started = {each.seq for each in talk.started}
        assert set(talk.finished) == started, "every statement ends once"


@given(st.binary(max_size=200), st.sampled_from([CLIENT, TARGET]))
@settings(max_examples=300, deadline=None)
def test_garbage_closes_or_waits(garbage: bytes, side: Side) -> None:
    talk = Talk().feed(side, garbage).feed(side, garbage)
    closes = [step for _, step in talk.steps if isinstance(step, Close)]
    assert len(closes) <= 1
    if closes:
        assert talk.steps[-1][1] is closes[0]
        assert talk.feed(side, query("select 1")).steps[-1][1] is closes[0]


def test_long_random_conversations_leave_nothing_behind() -> None:
    chance = random.Random(5)
    talk = Talk()
    for _ in range(300):
        statements = chance.randint(1, 4)
        talk.client(b"".join(parse("", "x") + bind() + execute() for _ in range(statements)), SYNC)
        fails = chance.randrange(statements + 1)
        talk.target((PARSED + BOUND + complete("INSERT 0 1")) * min(fails, statements))
        if fails < statements:
            talk.target(PARSED + error("23505"))
        talk.target(READY)
    assert not talk.inspector.running() and len(talk.finished) == len(talk.started)
