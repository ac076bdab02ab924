"""The fast lane remembers texts by what they are but for their numbers: that must never let one through that would
be looked at closely. And it remembers how a statement was bound last: that must give what reading it anew gives."""

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.records import StatementStarted
from proxy.protocols.postgres.express import Express
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.pending import Pending
from tests.protocols.postgres.ladder import (
    BOUND,
    CLIENT,
    ONE_ROW,
    PARSED,
    READY,
    READY_IN_BLOCK,
    SYNC,
    TARGET,
    Talk,
    Turn,
    bind,
    complete,
    describe,
    execute,
    parse,
)

WORDS = st.sampled_from(
    [
        "select ",
        "md5",
        "MD4",
        "'md5",
        "password = ",
        "pass",
        "pw1",
        "eyJ",
        "'",
        "0",
        "12",
        "x9",
        ";",
        " ",
        "(",
        "\0",
        "://",
        "a",
    ]
)


def plain(lane: Express, text: str) -> bool:
    return lane._plain(text.encode())


@given(st.lists(WORDS, max_size=8).map("".join), st.lists(st.sampled_from("0123456789"), min_size=20, max_size=20))
@example("select md4('hunter')", list("5" * 20))
def test_other_numbers_in_a_text_that_is_known_change_nothing(text: str, digits: list[str]) -> None:
    lane = Express(Pending(Limits()))
    plain(lane, text)
    numbers = iter(digits)
    other = "".join(next(numbers, each) if each.isdigit() else each for each in text)
    assert plain(lane, other) == plain(Express(Pending(Limits())), other)


def test_what_is_remembered_is_bounded() -> None:
    lane = Express(Pending(Limits()))
    for number in range(1000):
        assert plain(lane, "select " + "a" * (number % 200) + "b" * (number // 200))
    assert len(lane._shapes) <= 64
    assert plain(lane, "select " + "a" * 5000)
    assert not any(len(each) > 512 for each in lane._shapes)


def test_a_setting_that_changes_counts_for_known_texts_too() -> None:
    pending = Pending(Limits())
    lane = Express(pending)
    assert plain(lane, "select 1")
    pending.texts.encoding.parameter("standard_conforming_strings", "off")
    assert not plain(lane, "select 1")


PREPARED: list[Turn] = [(CLIENT, parse("s", "select $1, $2") + SYNC), (TARGET, PARSED + READY)]
DESCRIBED: list[Turn] = [
    (CLIENT, describe("S", "s") + SYNC),
    (TARGET, b"t" + struct.pack("!IHII", 14, 2, 25, 23) + b"n\0\0\0\4" + READY),
]
VALUES = st.one_of(
    st.none(), st.binary(max_size=14), st.just(b"postgres://me:secret@db/shop"), st.just(b"x" * 5000)
)
BINDS = st.tuples(
    st.lists(VALUES, min_size=1, max_size=3),
    st.sampled_from([(), (0,), (1,), (0, 1), (1, 0)]),
    st.sampled_from([(), (0,), (1,)]),
    st.booleans(),
)
SMALL = Limits(max_value=8, max_values=20)


def ran(values: list[bytes | None], formats: tuple[int, ...], results: tuple[int, ...], told: bool) -> list[Turn]:
    """``s`` runs once, described or not."""
    rest = describe("P") + execute() + SYNC if told else execute() + SYNC
    return [(CLIENT, bind("", "s", values, formats, results) + rest), (TARGET, BOUND + ONE_ROW + READY)]


def conversation(turns: list[Turn], limits: Limits, slow: bool) -> Talk:
    """Each turn as one chunk, which is what the fast lane takes, or (``slow``) in two, which it never does."""
    talk = Talk(limits)
    for side, chunk in turns:
        for piece in (chunk[:1], chunk[1:]) if slow else (chunk,):
            talk.feed(side, piece)
    return talk


@given(st.lists(st.one_of(st.just(None), BINDS), max_size=8), st.booleans())
@settings(deadline=None)
def test_a_statement_that_is_bound_again_is_read_as_it_was_the_first_time(
    binds: list[tuple[list[bytes | None], tuple[int, ...], tuple[int, ...], bool] | None], small: bool
) -> None:
    turns = PREPARED + [turn for each in binds for turn in (DESCRIBED if each is None else ran(*each))]
    limits = SMALL if small else Limits()
    quick, slow = conversation(turns, limits, False), conversation(turns, limits, True)
    assert quick.joined() == slow.joined()
    assert len(quick.finished) == len(quick.started)


@example(b"x", 5, 6)
@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 60))
@settings(deadline=None)
def test_a_bind_that_is_almost_as_the_last_one_is_read_as_if_there_was_none(
    garbage: bytes, start: int, stop: int
) -> None:
    [(_, usual), answer] = ran([b"1", b"2"], (), (), True)
    broken = usual[:start] + garbage + usual[stop:]
    before = [*PREPARED, (CLIENT, usual), answer]
    if broken:
        turns = [*before, (CLIENT, broken)]
        assert conversation(turns, Limits(), False).joined() == conversation(turns, Limits(), True).joined()


def test_the_end_of_a_portals_name_is_no_statements() -> None:
    """A Bind of portal ``xs`` has ``s`` where a Bind of the unnamed one has the statement's name."""
    [(_, usual), answer] = ran([b"1", b"2"], (), (), True)
    talk = conversation([*PREPARED, (CLIENT, usual), answer], Limits(), False)
    crafted = usual[:5] + b"x" + usual[6:]
    fed = talk.inspector.feeder(CLIENT)(crafted)
    assert not isinstance(fed, StatementStarted)


def test_how_it_was_bound_last_is_kept_and_used() -> None:
    talk = conversation(PREPARED + ran([b"1"], (), (), True) + ran([b"2"], (), (), True), Limits(), False)
    usual = talk.inspector._pending.statements.things[b"s"].usual
    assert usual is not None
    assert usual.kinds == ((0, 0),)
    assert [each.parameters[0][2] for each in talk.started] == [b"1", b"2"]
    conversation_goes_on = ran([b"3"], (), (), True)[0][1]
    started = talk.inspector._pending
    assert talk.inspector.feeder(CLIENT)(conversation_goes_on) == talk.started[0]._replace(
        seq=3, transaction=started.status, parameters=((0, 0, b"3", 1, ""),)
    )


@pytest.mark.parametrize(("values", "results"), [(100, 1), (1, 1500)], ids=["values", "results"])
def test_what_would_take_much_is_not_kept(values: int, results: int) -> None:
    """There may be 20,000 names, and each would keep it."""
    turns = PREPARED + ran([b"1"] * values, (), (0,) * results, True)
    assert conversation(turns, Limits(), False).inspector._pending.statements.things[b"s"].usual is None


LENGTHS = st.one_of(st.integers(0, 40), st.sampled_from([2**31 - 1, 2**31, 2**32 - 1]))


@pytest.mark.parametrize("at", [1, 6, 11, 30])
@given(LENGTHS, st.sampled_from([READY, READY_IN_BLOCK]))
@settings(deadline=None)
def test_an_answer_with_any_length_is_read_as_if_it_came_in_pieces(at: int, length: int, ready: bytes) -> None:
    answer = BOUND + ONE_ROW + complete("SELECT 17") + ready
    answer = answer[:at] + struct.pack("!I", length) + answer[at + 4 :]
    turns = [*PREPARED, ran([b"1", b"2"], (), (), True)[0], (TARGET, answer)]
    quick, slow = conversation(turns, Limits(), False), conversation(turns, Limits(), True)
    assert quick.joined() == slow.joined()
