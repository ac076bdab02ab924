"""The extended query protocol: what an Execute really ran, with which values, in pipelines and after errors."""

import hashlib

import pytest

from proxy.core.records import Outcome, Via
from proxy.core.states import EndReason
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.names import ELSEWHERE
from tests.protocols.postgres.ladder import (
    BOUND,
    CLOSED,
    COPY_DONE,
    COPY_IN,
    FLUSH,
    NO_DATA,
    ONE_ROW,
    PARSED,
    READY,
    READY_FAILED,
    READY_IN_BLOCK,
    SUSPENDED,
    SYNC,
    Talk,
    bind,
    close,
    complete,
    copy_data,
    describe,
    description,
    error,
    execute,
    parse,
    query,
    row,
)

DONE, FAILED, SKIPPED = Outcome.DONE, Outcome.FAILED, Outcome.SKIPPED


def test_prepared_once_and_executed_often() -> None:
    talk = Talk().client(parse("s", "select $1", 23), SYNC).target(PARSED, READY)
    for number in (b"1", b"2"):
        talk.client(bind("", "s", [number]), describe("P"), execute(), SYNC).target(BOUND, ONE_ROW, READY)
    assert [(each.ref, each.name, each.text, each.types) for each in talk.prepared] == [
        (1, b"s", b"select $1", (23,))
    ]
    assert [(each.ref, each.text, each.parameters) for each in talk.started] == [
        (1, b"", ((23, 0, b"1", 1, ""),)),
        (1, b"", ((23, 0, b"2", 1, ""),)),
    ]
    assert talk.outcomes == [(1, DONE), (2, DONE)] and talk.started[0].via == Via.EXTENDED
    assert talk.started[0].statement_name == b"s"


def test_everything_in_one_chunk() -> None:
    talk = Talk().client(parse("", "select $1"), bind(values=[b"7"]), describe("P"), execute(), SYNC)
    assert [type(step).__name__ for _, step in talk.steps] == ["Observe", "Observe", "Forward"]
    talk.target(PARSED, BOUND, ONE_ROW, READY)
    assert talk.outcomes == [(1, DONE)] and talk.started[0].ref == 1


def test_the_unnamed_statement_is_replaced_by_each_parse() -> None:
    talk = Talk()
    for text in ("select 1", "select 2"):
        talk.client(parse("", text), bind(), execute(), SYNC).target(PARSED, BOUND, ONE_ROW, READY)
    assert [each.ref for each in talk.started] == [1, 2]


def test_types_the_server_found_out_are_used_for_later_values() -> None:
    talk = Talk().client(parse("s", "select $1"), describe("S", "s"), SYNC)
    talk.target(PARSED, b"t\0\0\0\x0a\0\1\0\0\0\x17", description(("x", 23, 0)), READY)
    talk.client(bind("", "s", [b"\0\0\0\7"], [1]), execute(), SYNC)
    assert talk.started[0].parameters == ((23, 1, b"\0\0\0\7", 4, ""),)


def test_null_and_formats() -> None:
    talk = Talk().client(
        parse("", "select $1,$2,$3"), bind(values=[b"a", None, b"b"], formats=[1, 0, 1]), execute(), SYNC
    )
    assert [each[1:4] for each in talk.started[0].parameters] == [(1, b"a", 1), (0, None, 0), (1, b"b", 1)]


def test_an_error_belongs_to_the_statement_that_would_have_run() -> None:
    talk = Talk().client(parse("", "selec"), bind(), describe("P"), execute(), SYNC).target(error("42601"), READY)
    assert talk.outcomes == [(1, FAILED)] and talk.finished[1].sqlstate == b"42601"
    assert not talk.inspector.running()


def test_an_error_of_a_parse_alone_is_noted() -> None:
    talk = Talk().client(parse("s", "selec"), describe("S", "s"), SYNC).target(error("42601", "syntax"), READY)
    assert dict(talk.notes[0].data) == {"sqlstate": "42601", "message": "syntax"}


def test_a_pipeline_is_discarded_from_its_error_to_its_sync() -> None:
    one = parse("", "insert") + bind() + execute()
    talk = Talk().client(one, one, one, SYNC, one, SYNC)
    talk.target(PARSED, BOUND, complete("INSERT 0 1"), PARSED, BOUND, error("23505"), READY)
    assert talk.outcomes == [(1, FAILED), (2, FAILED), (3, SKIPPED)]
    assert talk.inspector.in_flight() == 4
    talk.target(PARSED, BOUND, complete("INSERT 0 1"), READY)
    assert talk.outcomes[3] == (4, DONE) and not talk.inspector.running()


def test_what_is_sent_after_the_error_came_is_skipped_too() -> None:
    talk = Talk().client(parse("", "a"), bind(), execute(), FLUSH).target(error("42601"))
    talk.client(parse("", "b"), bind(), execute(), query("select 3"), SYNC).target(READY)
    assert talk.outcomes == [(1, FAILED), (2, SKIPPED), (3, SKIPPED)]
    assert not talk.inspector.running()


def test_a_failing_commit_undoes_the_last_statement() -> None:
    talk = Talk().client(parse("", "insert"), bind(), execute(), SYNC)
    talk.target(PARSED, BOUND, complete("INSERT 0 1"), error("23505", "deferred"), READY)
    assert talk.outcomes == [(1, FAILED)] and talk.finished[1].tag == b"INSERT 0 1"


def test_partial_executes_are_records_of_their_own() -> None:
    talk = Talk().client(query("begin")).target(complete("BEGIN"), READY_IN_BLOCK)
    talk.client(parse("", "select $1"), bind("c", "", [b"x"]), execute("c", 2), SYNC)
    talk.target(PARSED, BOUND, row(b"1"), row(b"2"), SUSPENDED, READY_IN_BLOCK)
    talk.client(execute("c", 2), SYNC).target(row(b"3"), complete("SELECT 1"), READY_IN_BLOCK)
    assert [(each.ref, each.portal, each.parameters) for each in talk.started[1:]] == [
        (1, b"c", ((0, 0, b"x", 1, ""),))
    ] * 2
    assert [talk.finished[seq].rows for seq in (2, 3)] == [2, 1]


def test_portals_end_with_the_transaction() -> None:
    talk = Talk().client(parse("", "select 1"), bind("c"), execute("c", 1), SYNC)
    talk.target(PARSED, BOUND, row(b"1"), SUSPENDED, READY)
    talk.client(execute("c", 1), SYNC)
    assert (talk.started[1].ref, talk.started[1].text, talk.started[1].portal) == (0, ELSEWHERE, b"c")


def test_a_statement_prepared_by_sql_is_known_by_its_name() -> None:
    talk = Talk().client(query("PREPARE foo AS delete from t where a = $1")).target(complete("PREPARE"), READY)
    talk.client(bind("", "foo", [b"1"]), execute(), SYNC)
    assert talk.started[1].ref == talk.prepared[0].ref == 1 and talk.prepared[0].name == b"foo"


def test_a_name_nobody_told_us_is_given_as_it_is() -> None:
    talk = Talk().client(bind("", "made_in_a_function"), execute(), SYNC)
    assert (talk.started[0].ref, talk.started[0].text, talk.started[0].statement_name) == (
        0,
        ELSEWHERE,
        b"made_in_a_function",
    )


@pytest.mark.parametrize(
    "text", ["deallocate s", "DEALLOCATE PREPARE s", "deallocate all", "discard all", 'deallocate "s"']
)
def test_sql_takes_names_away(text: str) -> None:
    talk = Talk().client(parse("s", "select 1"), SYNC).target(PARSED, READY)
    talk.client(query(text)).target(complete("DEALLOCATE"), READY).client(bind("", "s"), execute(), SYNC)
    assert talk.started[-1].ref == 0


def test_sql_that_failed_takes_no_name_away() -> None:
    talk = Talk().client(parse("s", "select 1"), SYNC).target(PARSED, READY)
    talk.client(query("deallocate s")).target(error("25P02"), READY).client(bind("", "s"), execute(), SYNC)
    assert talk.started[-1].ref == 1


# -- texts that could be made to lie ----------------------------------------------------------------------------


def test_a_parse_of_a_name_in_use_does_not_change_what_the_name_means() -> None:
    talk = Talk().client(parse("s", "drop table t"), SYNC).target(PARSED, READY)
    talk.client(parse("s", "select 'harmless'"), SYNC).target(error("42P05"), READY)
    talk.client(bind("", "s"), execute(), SYNC)
    assert talk.prepared[talk.started[0].ref - 1].text == b"drop table t"


def test_a_text_that_is_not_known_yet_is_not_guessed() -> None:
    talk = Talk().client(parse("s", "drop table t"), SYNC).target(PARSED, READY)
    talk.client(parse("s", "select 'harmless'"), SYNC, bind("", "s"), execute(), SYNC)
    assert dict(talk.notes[0].data) == {"statement": 1, "prepared": "2 1"}
    assert talk.started[0].ref == 0 and b"2 or prepared statement 1" in talk.started[0].text


def test_within_one_group_the_newest_parse_is_the_one_that_runs() -> None:
    talk = Talk().client(parse("", "select 1"), SYNC).target(PARSED, READY)
    talk.client(parse("", "select 2"), bind(), execute(), SYNC)
    assert talk.started[0].ref == 2


def test_a_parse_that_was_skipped_leaves_the_old_statement() -> None:
    talk = Talk().client(parse("", "drop table t"), SYNC).target(PARSED, READY)
    talk.client(bind("", "nothing"), execute(), parse("", "select 'harmless'"), SYNC).target(error("26000"), READY)
    talk.client(bind(), execute(), SYNC)
    assert talk.started[-1].ref == 1


def test_a_failed_parse_destroys_the_unnamed_statement() -> None:
    talk = Talk().client(parse("", "select 1"), SYNC).target(PARSED, READY)
    talk.client(parse("", "selec"), SYNC).target(error("42601"), READY).client(bind(), execute(), SYNC)
    assert talk.started[-1].ref == 0


def test_a_query_destroys_the_unnamed_statement() -> None:
    talk = Talk().client(parse("", "select 1"), SYNC).target(PARSED, READY)
    talk.client(query("select 2")).target(ONE_ROW, READY).client(bind(), execute(), SYNC)
    assert talk.started[-1].ref == 0


def test_a_close_that_was_skipped_closes_nothing() -> None:
    talk = Talk().client(parse("s", "drop table t"), SYNC).target(PARSED, READY)
    talk.client(bind("", "nothing"), close("S", "s"), parse("s", "select 1"), SYNC).target(error("26000"), READY)
    talk.client(bind("", "s"), execute(), SYNC)
    assert talk.started[0].ref == 1


def test_a_closed_name_is_free() -> None:
    talk = Talk().client(parse("s", "select 1"), SYNC).target(PARSED, READY)
    talk.client(close("S", "s"), parse("s", "select 2"), SYNC).target(CLOSED, PARSED, READY)
    talk.client(bind("", "s"), execute(), SYNC)
    assert talk.started[0].ref == 2


def test_names_are_cut_where_the_server_cuts_them() -> None:
    long = "n" * 63
    talk = Talk().client(parse(long + "1", "drop table t"), SYNC).target(PARSED, READY)
    talk.client(bind("", long + "2"), execute(), SYNC)
    assert talk.started[0].ref == 1


def test_a_portal_bound_again_after_a_savepoint_is_not_guessed() -> None:
    talk = Talk().client(query("begin")).target(complete("BEGIN"), READY_IN_BLOCK)
    talk.client(parse("a", "drop table t"), parse("b", "select 1"), bind("p", "a"), SYNC)
    talk.target(PARSED, PARSED, BOUND, READY_IN_BLOCK)
    talk.client(bind("p", "b"), SYNC, query("rollback to s"), execute("p"), SYNC)
    assert talk.started[-1].ref == 0 and b"2 or prepared statement 1" in talk.started[-1].text
    talk.target(error("42P03"), READY_FAILED, complete("ROLLBACK"), READY_IN_BLOCK)
    talk.client(execute("p"), SYNC)
    assert talk.started[-1].ref == 1


# -- copy, values, limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [True, False])
def test_a_sync_sent_before_the_copy_data_is_ignored_by_the_server(together: bool) -> None:
    talk = Talk().client(parse("s", "copy t from stdin"), SYNC).target(PARSED, READY)
    if together:
        talk.client(bind("", "s"), execute(), SYNC)
    else:
        talk.client(bind("", "s")).client(execute(), SYNC)
    assert talk.started[0].via == Via.COPY
    talk.target(BOUND, COPY_IN).client(copy_data(b"1\n"), COPY_DONE, SYNC)
    talk.target(complete("COPY 1"), READY)
    assert talk.outcomes == [(1, DONE)] and talk.finished[1].data_bytes == 2
    assert not talk.inspector.running()
    talk.client(query("select 1")).target(ONE_ROW, READY)
    assert talk.outcomes[1] == (2, DONE)


def test_a_client_that_does_not_wait_for_the_copy_to_begin() -> None:
    talk = Talk().client(parse("s", "copy t from stdin"), bind("", "s"), execute(), SYNC)
    talk.client(copy_data(b"1\n"), COPY_DONE, SYNC)
    talk.client(parse("", "select 1"), bind(), execute(), SYNC)
    talk.target(PARSED, BOUND, COPY_IN, complete("COPY 1"), READY, PARSED, BOUND, ONE_ROW, READY)
    assert talk.outcomes == [(1, DONE), (2, DONE)] and talk.finished[1].data_bytes == 2
    assert not talk.inspector.running()


def test_syncs_among_the_copy_data_are_ignored_by_the_server() -> None:
    talk = Talk().client(parse("", "copy t from stdin"), bind(), execute(), SYNC).target(PARSED, BOUND, COPY_IN)
    talk.client(copy_data(b"1\n"), SYNC, FLUSH, copy_data(b"2\n"), COPY_DONE, SYNC).target(
        complete("COPY 2"), READY
    )
    assert not talk.inspector.running() and talk.finished[1].data_bytes == 4


@pytest.mark.parametrize("hold", [10, 10_000])
def test_all_values_of_a_bind_together_are_bounded(hold: int) -> None:
    limits = Limits(max_value=8, max_values=10, hold_bind=hold)
    values = [b"a" * 6, b"b" * 6, b"c" * 20, b"d"]
    talk = Talk(limits).client(parse("", "insert"), bind(values=values, formats=[1]), execute(), SYNC)
    assert [each[2] for each in talk.started[0].parameters] == [b"aaaaaa", b"bbbb", b"", b""]
    assert [each[3] for each in talk.started[0].parameters] == [6, 6, 20, 1]
    assert talk.started[0].parameters[3][4] == hashlib.sha256(b"d").hexdigest()


def test_a_value_over_the_limit_is_a_prefix_with_length_and_digest() -> None:
    value = bytes(range(256)) * 10
    talk = Talk(Limits(max_value=16)).client(
        parse("", "select $1"), bind(values=[value], formats=[1]), execute(), SYNC
    )
    assert talk.started[0].parameters == ((0, 1, value[:16], 2560, hashlib.sha256(value).hexdigest()),)


def test_a_long_bind_passes_before_it_is_whole() -> None:
    limits = Limits(hold_bind=1000, max_value=10)
    value = b"v" * 5000
    message = bind("", "s", [value, b"w"], [1])
    talk = Talk(limits).client(parse("s", "insert"), SYNC).target(PARSED, READY)
    before = len(talk.to_target)
    talk.client(message[:2000])
    assert len(talk.to_target) - before == 2000
    talk.client(message[2000:], execute(), SYNC)
    whole = Talk(Limits(max_value=10)).client(parse("s", "insert"), SYNC).target(PARSED, READY)
    whole.client(message, execute(), SYNC)
    assert talk.started == whole.started and talk.started[0].parameters[1][2] == b"w"


def test_bind_values_where_a_password_stands_are_not_kept() -> None:
    talk = Talk().client(
        parse("", "update u set password = $2 where id = $1"), bind(values=[b"7", b"hunter2"]), execute(), SYNC
    )
    assert [each[2] for each in talk.started[0].parameters] == [b"7", b"***"]
    assert b"hunter2" not in repr(talk.records).encode()


def test_too_many_names_end_the_session() -> None:
    talk = Talk(Limits(max_names=3))
    for number in range(4):
        talk.client(parse(f"s{number}", "select 1"), SYNC)
    assert talk.closed is not None and talk.closed.reason is EndReason.PROTOCOL_ERROR


def test_statement_descriptions_take_the_formats_of_the_bind() -> None:
    talk = Talk(Limits(record_rows=5)).client(parse("s", "select x"), describe("S", "s"), SYNC)
    talk.target(PARSED, b"t\0\0\0\6\0\0", description(("x", 23, 0)), READY)
    talk.client(bind("", "s", results=[1]), execute(), SYNC).target(
        BOUND, row(b"\0\0\0\1"), complete("SELECT 1"), READY
    )
    assert talk.rows[0].description == description(("x", 23, 1))[5:]


def test_no_data_takes_its_place_in_the_queue() -> None:
    talk = Talk().client(parse("", "insert"), describe("S"), bind(), execute(), SYNC)
    talk.target(PARSED, b"t\0\0\0\6\0\0", NO_DATA, BOUND, complete("INSERT 0 1"), READY)
    assert talk.outcomes == [(1, DONE)] and not talk.inspector.running()


QUICK_ANSWERS = [
    PARSED + BOUND + ONE_ROW + READY,
    PARSED + BOUND + NO_DATA + complete("INSERT 0 1") + READY_IN_BLOCK,
    PARSED + BOUND + ONE_ROW + READY_IN_BLOCK,
    PARSED + BOUND + description(("x", 23, 0)) + row(b"1") + error("22012") + READY,
    PARSED + BOUND + ONE_ROW + error("23505") + READY,
    PARSED + error("22P02") + READY,
    error("42601") + READY_FAILED,
    PARSED + BOUND + COPY_IN,
    PARSED + BOUND + row(b"1") + SUSPENDED + READY,
]


@pytest.mark.parametrize("answer", QUICK_ANSWERS)
@pytest.mark.parametrize("named", [True, False])
def test_the_fast_way_and_the_general_way_are_one(answer: bytes, named: bool) -> None:
    fast, slow = Talk(), Talk()
    for talk in (fast, slow):
        talk.client(parse("s", "select $1", 23), parse("", "select 0"), SYNC).target(PARSED, PARSED, READY)
    name = "s" if named else ""
    chunk = b"" if named else parse("", "select $1", 25)
    chunk += bind("", name, [b"1"]) + describe("P") + execute() + SYNC
    answer = answer.removeprefix(PARSED) if named else answer
    fast.client(chunk).target(answer)
    for byte in chunk:
        slow.client(bytes((byte,)))
    for byte in answer:
        slow.target(bytes((byte,)))
    after = execute() + bind() + execute() + SYNC
    assert fast.client(after).joined() == slow.client(after).joined()
    assert fast.inspector.in_flight() == slow.inspector.in_flight()


def test_what_follows_before_the_answer_is_matched_in_order() -> None:
    cycle = bind("", "s", [b"1"]) + execute() + SYNC
    talk = Talk().client(parse("s", "select $1"), SYNC).target(PARSED, READY)
    talk.client(cycle).client(cycle).client(query("select 2"))
    talk.target(BOUND, ONE_ROW, READY).target(BOUND, error("22012"), READY).target(ONE_ROW, READY)
    assert talk.outcomes == [(1, DONE), (2, FAILED), (3, DONE)] and not talk.inspector.running()
