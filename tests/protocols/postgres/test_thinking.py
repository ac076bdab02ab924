"""Texts that take long to be searched for secrets: the search is done off the loop, once, and finds the same."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.core.records import Outcome
from proxy.core.steps import Forward, Recorded, Side, Step, Think
from proxy.protocols.postgres.inspector import PostgresInspector
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.redact import PIECE, sensitive
from tests.protocols.postgres.ladder import ONE_ROW, SYNC, Talk, bind, execute, parse, query
from tests.protocols.postgres.ladder import complete as completed

SECRET = "insert into users (name, password) values " + ", ".join(["('bob', 'hunter2')"] * 1000)
PLAIN = "insert into things values " + ", ".join(["('some', 'things')"] * 1000)
NEVER = Limits(think_text=1 << 30, brief_text=1 << 30)


def only(steps: object) -> Step:
    (step,) = steps  # type: ignore[misc]
    return step  # type: ignore[no-any-return]


def thinks(inspector: PostgresInspector, message: bytes) -> Callable[[], None]:
    step = only(inspector.feed(Side.CLIENT, message))
    assert isinstance(step, Think)
    return lambda: step.done(step.work(step.data))


@pytest.mark.parametrize("text", [SECRET, f"select 1; {SECRET}; select 2", "select 'password'; " * 2000, PLAIN])
def test_what_is_recorded_is_the_same_as_if_it_had_been_done_at_once(text: str) -> None:
    for messages in (
        [query(text)],
        [parse("p", text), SYNC],
        [parse("", f"prepare x as {text}"), bind(), execute()],
    ):
        slow, fast = Talk().client(*messages), Talk(NEVER).client(*messages)
        assert slow.records == fast.records
        assert b"hunter2" not in b"".join(each.text for each in [*slow.started, *slow.prepared])


def test_whether_a_long_text_calls_for_a_search_is_found_out_there_too() -> None:
    """Looking takes a second for what a message may hold."""
    thinks(PostgresInspector(), query(PLAIN))()
    talk = Talk().client(query(PLAIN))
    assert talk.started[0].text == PLAIN.encode()


def test_nothing_passes_before_the_search_is_done() -> None:
    inspector = PostgresInspector()
    work = thinks(inspector, query(SECRET))
    assert not inspector.running()
    assert list(inspector.feed(Side.CLIENT, query("select 1"))) == [], "what comes meanwhile waits"
    work()
    steps = list(inspector.resume(None))
    passed = b"".join(step.data for step in steps if isinstance(step, Forward | Recorded))
    assert passed == query(SECRET) + query("select 1")
    assert list(inspector.resume(None)) == []


def test_what_came_before_it_passes_at_once() -> None:
    first, second = PostgresInspector().feed(Side.CLIENT, parse("a", "select 1") + query(SECRET))[-2:]
    assert isinstance(first, Forward) and bytes(first.data) == parse("a", "select 1")
    assert isinstance(second, Think)


def test_where_the_answer_changed_how_it_is_read_it_is_searched_again() -> None:
    """What was unanswered is answered meanwhile: the text has one reading less."""
    inspector = PostgresInspector()
    inspector.feed(Side.CLIENT, query("select 1"))
    first = thinks(inspector, query(SECRET))
    first()
    inspector.feed(Side.TARGET, ONE_ROW + b"Z\0\0\0\5I")
    again = only(inspector.resume(None))
    assert isinstance(again, Think)
    again.done(again.work(again.data))
    assert not [step for step in inspector.resume(None) if isinstance(step, Think)]


def test_what_was_found_is_not_kept() -> None:
    talk = Talk().client(query(SECRET)).target(completed("INSERT 0 1000"), b"Z\0\0\0\5I")
    assert talk.inspector._pending.texts._searched is None
    assert isinstance(talk.inspector.feed(Side.CLIENT, query(SECRET))[-1], Think)


@pytest.mark.parametrize("many", [SECRET + " ", "select 'password';" * 1500])
def test_what_one_message_holds_of_such_is_bounded_and_little_is_kept_of_the_rest(many: str) -> None:
    limits = replace(Limits(), max_text=16 * 1024, think_text=2 * 1024, brief_text=1024)
    talk = Talk(limits).client(query(many * 2))
    (started,) = talk.started
    assert len(started.text) <= limits.brief_text
    assert started.text_length == len(many * 2)
    assert talk.outcomes == [(1, Outcome.DENIED)]


@pytest.mark.parametrize(
    "text", ['prepare "{}" as select 1', 'deallocate "{}"', "close {}", 'declare "{}" cursor for select 1']
)
def test_a_name_that_would_take_long_to_read_is_refused(text: str) -> None:
    """It is looked at again and again, on the loop: 15 MiB of quotes were three seconds."""
    long = '""' * 20_000 if '"' in text else "a" * 40_000
    for message in (query, lambda text: parse("p", text)):
        talk = Talk().client(message(text.format(long)))
        assert talk.outcomes == [] or talk.outcomes[0][1] is not Outcome.DONE
        assert text.format(long).encode() not in talk.to_target
        shown = Talk().client(message(text.format("a" * 2000)))
        assert text.format("a" * 2000).encode() in shown.to_target


def test_a_long_text_is_searched_in_pieces_and_nothing_is_lost_between_them() -> None:
    for word in (b"password", b"scram-sha-256", b"authorization:", b" program ", b"private_key"):
        for at in (*range(PIECE - len(word) - 2, PIECE + 2), 3 * PIECE - 5):
            text = bytearray(b"select x, " + b"y" * 4 * PIECE + b" from cr")
            text[at : at + len(word)] = word
            assert sensitive(bytes(text)), (word, at)
    assert not sensitive(b"select x, " + b"y" * 4 * PIECE + b" from cr")
