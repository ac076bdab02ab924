"""The simple query protocol: one record per statement, whatever the string holds."""

import pytest

from proxy.core.records import Outcome, Via
from proxy.core.states import EndReason
from proxy.core.steps import Forward
from proxy.protocols.postgres import messages as m
from proxy.protocols.postgres.limits import Limits
from tests.protocols.postgres.ladder import (
    CLIENT,
    COPY_DONE,
    COPY_IN,
    COPY_OUT,
    EMPTY,
    ONE_ROW,
    READY,
    READY_FAILED,
    READY_IN_BLOCK,
    SYNC,
    TARGET,
    Talk,
    bind,
    complete,
    copy_data,
    description,
    error,
    execute,
    parse,
    query,
    row,
)


def test_a_statement_is_recorded_before_it_leaves_and_finished_when_it_is_done() -> None:
    talk = Talk().client(query("select 1"))
    kinds = [type(step).__name__ for _, step in talk.steps]
    assert kinds == ["Observe", "Forward"]
    assert talk.started[0].text == b"select 1" and talk.started[0].seq == 1 and talk.started[0].via == Via.SIMPLE
    assert talk.inspector.running() and talk.inspector.in_flight() == 1
    talk.target(ONE_ROW, READY)
    done = talk.finished[1]
    assert (done.outcome, done.tag, done.rows, done.data_bytes) == (Outcome.DONE, b"SELECT 1", 1, 7)
    assert done.transaction == ord("I")
    assert not talk.inspector.running() and talk.inspector.in_flight() == 0
    assert talk.to_target == query("select 1") and talk.to_client == ONE_ROW + READY


def test_a_chunk_goes_on_as_the_object_it_came_in() -> None:
    talk = Talk()
    sent, answer = query("select 1"), ONE_ROW + READY
    talk.feed(CLIENT, sent).feed(TARGET, answer)
    forwarded = [step.data for _, step in talk.steps if isinstance(step, Forward)]
    assert forwarded[0] is sent and forwarded[1] is answer


def test_many_statements_in_one_string_are_many_records() -> None:
    talk = Talk().client(query("select 1; select ';' ; /* b; */ select 3;"))
    assert [each.text for each in talk.started] == [b"select 1", b"select ';'", b"/* b; */ select 3"]
    talk.target(ONE_ROW, ONE_ROW)
    assert talk.outcomes == [(1, Outcome.DONE), (2, Outcome.DONE)]
    assert talk.inspector.in_flight() == 3
    talk.target(ONE_ROW, READY)
    assert talk.outcomes[-1] == (3, Outcome.DONE)


def test_what_comes_after_an_error_in_the_string_was_skipped() -> None:
    talk = Talk().client(query("begin; select 1/0; select 3; select 4"))
    talk.target(complete("BEGIN"), error("22012", "division by zero"), READY_FAILED)
    assert talk.outcomes == [(1, Outcome.DONE), (2, Outcome.FAILED), (3, Outcome.SKIPPED), (4, Outcome.SKIPPED)]
    assert talk.finished[2].sqlstate == b"22012" and talk.finished[2].error == b"division by zero"
    assert talk.inspector.transaction == ord("E") and not talk.inspector.running()


def test_queries_sent_without_waiting_are_matched_in_order() -> None:
    talk = Talk().client(query("select 1"), query("select 2"), query("select 3"))
    talk.target(ONE_ROW, READY, error("42601"), READY, ONE_ROW, READY)
    assert talk.outcomes == [(1, Outcome.DONE), (2, Outcome.FAILED), (3, Outcome.DONE)]


@pytest.mark.parametrize("text", ["", " ", ";", ";;", "-- nothing", "/* nothing; */"])
def test_an_empty_query_is_a_statement_too(text: str) -> None:
    talk = Talk().client(query(text)).target(EMPTY, READY)
    assert talk.outcomes == [(1, Outcome.DONE)] and talk.started[0].text == text.encode()


def test_a_cancelled_statement() -> None:
    talk = Talk().client(query("select pg_sleep(9)")).target(error("57014"), READY)
    assert talk.outcomes == [(1, Outcome.CANCELLED)]


def test_the_transaction_state_is_the_one_known_when_it_was_sent() -> None:
    talk = Talk().client(query("begin")).target(complete("BEGIN"), READY_IN_BLOCK).client(query("select 1"))
    assert [chr(each.transaction) for each in talk.started] == ["I", "T"]


def test_more_results_than_statements_or_fewer_lose_nothing() -> None:
    talk = Talk().client(query("select 1")).target(ONE_ROW, ONE_ROW, READY)
    assert talk.outcomes == [(1, Outcome.DONE)]
    talk.client(query("select 1; select 2")).target(ONE_ROW, READY)
    assert talk.outcomes[1:] == [(2, Outcome.DONE), (3, Outcome.UNKNOWN)]


@pytest.mark.parametrize("hidden", ["/*{}*/ delete from t", "select '{}', f() /*{}*/", "do '{} delete from t'"])
def test_a_text_is_kept_whole_however_long_it_is(hidden: str) -> None:
    text = hidden.replace("{}", "x" * 5000)
    talk = Talk(Limits(max_text=20)).client(query(text)).client(parse("s", text))
    assert talk.started[0].text == talk.prepared[0].text == text.encode() and talk.started[0].text_length == 0


def test_every_statement_of_a_very_long_string_is_a_record() -> None:
    talk = Talk().client(query("select 1; " * 9_000 + "/*" + "x" * 400_000 + "*/ delete from t"))
    assert len(talk.started) == 9_001 and talk.started[-1].text.endswith(b"delete from t")


def test_passwords_do_not_get_into_the_record() -> None:
    talk = Talk().client(query("select 1; alter role a password 'hunter2'"))
    assert b"hunter2" not in repr(talk.records).encode()
    assert b"hunter2" in talk.to_target


def test_copy_in_counts_its_bytes() -> None:
    talk = Talk().client(query("copy t from stdin"))
    assert talk.started[0].via == Via.COPY
    talk.target(COPY_IN).client(copy_data(b"1\n"), copy_data(b"22\n"))
    assert talk.inspector.inject("soon") == b""
    talk.client(COPY_DONE).target(complete("COPY 2"), READY)
    assert (talk.finished[1].rows, talk.finished[1].data_bytes) == (2, 5)
    assert talk.inspector.inject("soon") != b""


def test_copy_data_after_an_error_is_dropped_by_the_server_and_not_counted() -> None:
    talk = Talk().client(query("copy t from stdin")).target(COPY_IN).client(copy_data(b"bad\n"))
    talk.target(error("22P02"), READY).client(copy_data(b"more\n"), COPY_DONE, query("select 1"))
    talk.target(ONE_ROW, READY)
    assert talk.outcomes == [(1, Outcome.FAILED), (2, Outcome.DONE)]
    assert talk.finished[1].data_bytes == 4 and talk.finished[2].data_bytes == 7


def test_copy_out_counts_its_bytes() -> None:
    talk = Talk().client(query("copy t to stdout"))
    talk.target(COPY_OUT, copy_data(b"1\n") * 3)
    assert talk.inspector.inject("soon") == b""
    assert talk.inspector.farewell(EndReason.IDLE, "idle") != b""
    talk.target(COPY_DONE, complete("COPY 3"), READY)
    assert (talk.finished[1].rows, talk.finished[1].data_bytes) == (3, 6)


def test_the_first_rows_are_kept_where_the_limits_say_so() -> None:
    talk = Talk(Limits(record_rows=2, record_bytes=1000)).client(query("select x; select y"))
    shape = description(("x", 23, 0))
    talk.target(shape, row(b"1"), row(b"2"), row(b"3"), complete("SELECT 3"))
    talk.target(shape, row(b"4"), complete("SELECT 1"), READY)
    assert [(each.seq, each.rows) for each in talk.rows] == [
        (1, (row(b"1")[5:], row(b"2")[5:])),
        (2, (row(b"4")[5:],)),
    ]
    assert talk.rows[0].description == shape[5:]
    assert talk.finished[1].rows == 3 and talk.finished[1].data_bytes == 21


def test_rows_are_kept_up_to_the_limit_of_bytes() -> None:
    talk = Talk(Limits(record_rows=10, record_bytes=40)).client(query("select x"))
    talk.target(description(("x", 25, 0)), row(b"a" * 20), row(b"b" * 20), row(b"c"), complete("SELECT 3"), READY)
    assert len(talk.rows[0].rows) == 1


@pytest.mark.parametrize("text", ["delete from t;", "select $$;$$", "create table t(a int)", "explain select 1"])
def test_the_fast_way_and_the_general_way_record_the_same(text: str) -> None:
    fast, slow = Talk(), Talk()
    fast.client(query(text)).target(ONE_ROW, READY)
    for byte in query(text):
        slow.client(bytes((byte,)))
    for byte in ONE_ROW + READY:
        slow.target(bytes((byte,)))
    assert fast.joined() == slow.joined()


def test_names_behind_a_thousand_comments_are_found() -> None:
    talk = Talk().client(query("prepare s as select 1")).target(complete("PREPARE"), READY)
    talk.client(query("/**/" * 1001 + "deallocate s")).target(complete("DEALLOCATE"), READY)
    talk.client(bind("", "s"), execute(), SYNC)
    assert talk.started[-1].ref == 0
    talk = Talk().client(query("prepare s as select 1")).target(complete("PREPARE"), READY)
    talk.client(query("/**/" * 1001 + "deallocate t")).target(error("26000"), READY)
    talk.client(bind("", "s"), execute(), SYNC)
    assert talk.started[-1].ref == 1


def test_copies_whose_data_come_before_they_are_asked_for_are_told_apart() -> None:
    talk = Talk().client(query("copy t from stdin; copy u from stdin"), copy_data(b"aaaa\n"), COPY_DONE)
    talk.client(copy_data(b"b\n"), COPY_DONE, query("select 1"), copy_data(b"nobody's"))
    talk.client(query("copy v from stdin"), copy_data(b"cc\n"), COPY_DONE)
    talk.target(COPY_IN, complete("COPY 1"), COPY_IN, complete("COPY 1"), READY, ONE_ROW, READY)
    talk.target(COPY_IN, complete("COPY 1"), READY)
    assert [talk.finished[seq].data_bytes for seq in (1, 2, 3, 4)] == [5, 2, 7, 3]
    assert not talk.inspector.running() and talk.inspector.inject("soon")


@pytest.mark.parametrize("early", [True, False])
def test_a_client_that_breaks_its_copy_off_has_not_cancelled_it(early: bool) -> None:
    talk = Talk().client(query("copy t from stdin"))
    if early:
        talk.client(copy_data(b"x\n"), m.copy_fail("no")).target(COPY_IN)
    else:
        talk.target(COPY_IN).client(copy_data(b"x\n"), m.copy_fail("no"))
    talk.target(error("57014", "COPY from stdin failed: no"), READY)
    assert talk.outcomes == [(1, Outcome.FAILED)] and talk.finished[1].data_bytes == 2


def test_a_copy_that_was_cancelled_is_cancelled() -> None:
    talk = Talk().client(query("copy t from stdin")).target(COPY_IN, error("57014"), READY)
    assert talk.outcomes == [(1, Outcome.CANCELLED)]
