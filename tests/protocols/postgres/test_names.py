"""What a name stands for when SQL, and not the protocol, has changed it: a record that believed the last message
could be made to show a harmless text for what ran. Each conversation is what PostgreSQL 15 answers."""

import gc
import time

import pytest

from proxy.core.records import Outcome
from proxy.protocols.postgres import messages as m
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.names import BACK_MOST, ELSEWHERE
from tests.protocols.postgres.ladder import (
    BOUND,
    CLOSED,
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
    error,
    execute,
    parse,
    query,
    row,
)

CURSOR = "declare c cursor for select * from t"


def text_of(talk: Talk, seq: int) -> bytes:
    """What the record says that ran."""
    started = talk.started[seq - 1]
    return talk.prepared[started.ref - 1].text if started.ref else started.text


def with_portal() -> Talk:
    """In a block, portal c is bound to something harmless."""
    talk = Talk().client(query("begin")).target(complete("BEGIN"), READY_IN_BLOCK)
    return talk.client(parse("", "select 1"), bind("c"), SYNC).target(PARSED, BOUND, READY_IN_BLOCK)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        (f"close c; {CURSOR}", ("CLOSE CURSOR", "DECLARE CURSOR")),
        (f'close"c"; {CURSOR}', ("CLOSE CURSOR", "DECLARE CURSOR")),
        (f"close all; {CURSOR}", ("CLOSE CURSOR ALL", "DECLARE CURSOR")),
        (f"commit; begin; {CURSOR}", ("COMMIT", "BEGIN", "DECLARE CURSOR")),
        (f"end and chain; {CURSOR}", ("COMMIT", "DECLARE CURSOR")),
        (f"abort; begin; {CURSOR}", ("ROLLBACK", "BEGIN", "DECLARE CURSOR")),
        (f"rollback to a; {CURSOR}", ("ROLLBACK", "DECLARE CURSOR")),
    ],
)
def test_a_cursor_of_a_portals_name_is_what_runs(text: str, tags: tuple[str, ...]) -> None:
    talk = with_portal().client(query(text)).target(*map(complete, tags), READY_IN_BLOCK)
    talk.client(execute("c"), SYNC).target(row(b"1"), complete("SELECT 1"), READY_IN_BLOCK)
    assert text_of(talk, len(talk.started)) == CURSOR.encode()
    assert talk.started[-1].portal == b"c" and not talk.notes


def test_a_cursor_declared_by_a_prepared_statement_too() -> None:
    talk = with_portal().client(parse("d", CURSOR), close("P", "c"), bind("", "d"), execute(), SYNC)
    talk.target(PARSED, CLOSED, BOUND, complete("DECLARE CURSOR"), READY_IN_BLOCK).client(execute("c", 1), SYNC)
    assert text_of(talk, 3) == CURSOR.encode()


def test_a_cursor_that_was_not_declared_changes_nothing() -> None:
    talk = with_portal().client(query(CURSOR)).target(error("42P03"), READY_FAILED)
    talk.client(execute("c"), SYNC)
    assert text_of(talk, 3) == b"select 1"


def test_a_cursor_not_known_yet_is_not_guessed() -> None:
    talk = with_portal().client(query(CURSOR), execute("c"), SYNC)
    assert talk.started[-1].ref == 0 and dict(talk.notes[-1].data) == {"statement": 3, "prepared": "2 1"}


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("close c; select f()", ("CLOSE CURSOR",)),
        ("close all; select f()", ("CLOSE CURSOR ALL",)),
        ("commit and chain; select f()", ("COMMIT",)),
        ("rollback; begin; select f()", ("ROLLBACK", "BEGIN")),
    ],
)
def test_a_portal_that_sql_has_closed_is_not_believed_in(text: str, tags: tuple[str, ...]) -> None:
    """A function may have opened another of its name."""
    talk = with_portal().client(query(text)).target(*map(complete, tags), ONE_ROW, READY_IN_BLOCK)
    talk.client(execute("c"), SYNC)
    assert text_of(talk, len(talk.started)) == ELSEWHERE


def test_a_portal_from_before_a_savepoint_lives_on() -> None:
    talk = with_portal().client(query("rollback to a")).target(complete("ROLLBACK"), READY_IN_BLOCK)
    talk.client(execute("c"), SYNC)
    assert text_of(talk, 3) == b"select 1"


def test_deallocate_all_takes_all_but_what_comes_after_it() -> None:
    talk = Talk().client(parse("a", "select 1"), parse("b", "select 2"), SYNC).target(PARSED, PARSED, READY)
    talk.client(query("deallocate all; prepare b as select 3"))
    talk.target(complete("DEALLOCATE ALL"), complete("PREPARE"), READY)
    talk.client(bind("", "a"), execute(), bind("", "b"), execute(), SYNC)
    assert [text_of(talk, seq) for seq in (3, 4)] == [ELSEWHERE, b"prepare b as select 3"]


def test_names_of_tens_of_thousands_go_at_once() -> None:
    talk = Talk()
    talk.client(b"".join(parse(f"s{number}", "x") for number in range(5_000)), SYNC).target(PARSED * 5_000, READY)
    talk.client(query("deallocate all;" * 2_000)).target(complete("DEALLOCATE ALL") * 2_000, READY)
    assert talk.outcomes[-1] == (2_000, Outcome.DONE)


# -- what nobody can know beforehand ----------------------------------------------------------------------------


def redefined(prepares: bytes, prepared: bytes, run: bytes) -> Talk:
    """A DO block has given name p another meaning, a DELETE."""
    talk = Talk().client(prepares).target(prepared, READY)
    talk.client(query("do $$ begin execute 'deallocate p; prepare p as delete from t'; end $$"))
    return talk.target(complete("DO"), READY).client(run)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("by", ["sql", "protocol"])
def test_a_command_tag_that_does_not_fit_the_text_says_so(quick: bool, by: str) -> None:
    prepares = query("prepare p as select 1") if by == "sql" else parse("p", "/* x */ select 1") + SYNC
    run = bind("", "p") + execute() + SYNC
    talk = redefined(prepares, complete("PREPARE") if by == "sql" else PARSED, b"")
    answer = BOUND + complete("DELETE 2") + READY
    if quick:
        talk.client(run).target(answer)
    else:
        for byte in run:
            talk.client(bytes((byte,)))
        talk.target(answer[:7]).target(answer[7:])
    last = len(talk.started)
    assert [(note.kind, dict(note.data)) for note in talk.notes] == [
        ("mismatch", {"statement": last, "tag": "DELETE 2"})
    ]
    assert talk.finished[last].tag == b"DELETE 2" and talk.finished[last].outcome == Outcome.DONE
    talk.client(run)
    assert text_of(talk, last + 1) == ELSEWHERE, "the name is not believed in any more"


def test_a_named_portal_of_the_unnamed_statement_is_checked_too() -> None:
    talk = with_portal().client(query("select f()")).target(ONE_ROW, READY_IN_BLOCK)
    talk.client(execute("c"), SYNC).target(row(b"1"), complete("DELETE 1"), READY_IN_BLOCK)
    assert [note.kind for note in talk.notes] == ["mismatch"]


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("with a as (select 1) select * from a", "SELECT 1"),
        ("create temp table t as select 1", "SELECT 1"),
        ("end", "ROLLBACK"),
        ("create user a", "CREATE ROLE"),
        ("copy t to '/x'", "COPY 1"),
        ("execute x", "DELETE 1"),
        ("start transaction", "START TRANSACTION"),
    ],
)
def test_a_command_tag_that_fits_is_not_remarked_on(text: str, tag: str) -> None:
    talk = Talk().client(parse("p", text), bind("", "p"), execute(), SYNC)
    assert not talk.target(PARSED, BOUND, complete(tag), READY).notes


def test_a_statement_prepared_by_sql_and_run_by_the_protocol_is_prepared_once() -> None:
    talk = Talk().client(query("prepare p as delete from t")).target(complete("PREPARE"), READY)
    for _ in range(2):
        talk.client(bind("", "p"), execute(), SYNC).target(BOUND, complete("DELETE 1"), READY)
    assert len(talk.prepared) == 1 and [each.ref for each in talk.started] == [0, 1, 1]


def test_a_prepare_that_failed_leaves_what_the_name_stood_for() -> None:
    talk = Talk().client(parse("p", "delete from t"), SYNC).target(PARSED, READY)
    talk.client(query("prepare p as select 1")).target(error("42P05"), READY).client(bind("", "p"), execute(), SYNC)
    assert text_of(talk, 2) == b"delete from t"


def test_a_prepare_that_is_a_prepared_statement_itself_prepares_what_it_says() -> None:
    talk = Talk().client(parse("", "prepare p as delete from t"), bind(), execute(), SYNC)
    talk.target(PARSED, BOUND, complete("PREPARE"), READY).client(bind("", "p"), execute(), SYNC)
    assert text_of(talk, 2) == b"prepare p as delete from t" and talk.started[1].statement_name == b"p"
    assert not talk.target(BOUND, complete("DELETE 1"), READY).notes


def test_a_statement_prepared_and_executed_by_sql_is_its_own_text() -> None:
    talk = Talk().client(query("prepare p as delete from t; execute p"))
    talk.target(complete("PREPARE"), complete("DELETE 1"), READY)
    assert [text_of(talk, seq) for seq in (1, 2)] == [b"prepare p as delete from t", b"execute p"]


# -- names in other encodings -----------------------------------------------------------------------------------


def test_names_of_messages_are_read_in_the_clients_encoding_as_those_of_texts_are() -> None:
    """Else two names of the server could be one of ours: in LATIN1 é is not the two characters of its UTF-8."""
    talk = Talk(parameters=[m.parameter_status("client_encoding", "LATIN1")])
    talk.client(m.parse(b"\xc3\xa9", "delete from t"), SYNC).target(PARSED, READY)
    talk.client(query(b"prepare \xe9 as select 1")).target(complete("PREPARE"), READY)
    run = m.frame(b"B", b"\0\xc3\xa9\0" + bytes(6)) + execute() + SYNC
    talk.client(run)
    assert text_of(talk, 2) == b"delete from t"
    whole = Talk(parameters=[m.parameter_status("client_encoding", "LATIN1")])
    whole.client(m.parse(b"\xe9", "select 1"), SYNC).target(PARSED, READY)
    whole.client(m.frame(b"B", b"\0\xe9\0" + bytes(6)) + execute() + SYNC)
    assert text_of(whole, 1) == b"select 1"


def test_texts_are_read_anew_when_the_target_reports_another_setting() -> None:
    talk = Talk().client(query("select 'a\\'; select 2 --'"))
    assert len(talk.started) == 2
    talk.target(ONE_ROW, ONE_ROW, m.parameter_status("standard_conforming_strings", "off"), READY)
    talk.client(query("select 'a\\'; select 2 --'")).target(ONE_ROW, READY)
    assert len(talk.started) == 3
    talk.target(m.parameter_status("client_encoding", "LATIN1")).client(query(b"select '\xe9'"))
    assert talk.started[3].text == "select 'é'".encode()
    talk.target(ONE_ROW, m.parameter_status("client_encoding", "UTF8"), READY).client(query("select 'é'"))
    assert talk.started[4].text == "select 'é'".encode()


# -- partial results --------------------------------------------------------------------------------------------


def test_rows_of_a_portal_in_parts_are_each_their_own_records() -> None:
    talk = Talk(Limits(record_rows=2, record_bytes=1000)).client(query("begin"))
    talk.target(complete("BEGIN"), READY_IN_BLOCK)
    talk.client(parse("", "select x"), bind("c"), execute("c", 3), execute("c", 3), SYNC)
    talk.target(PARSED, BOUND, row(b"1"), row(b"2"), row(b"3"), SUSPENDED)
    talk.target(row(b"4"), complete("SELECT 1"), READY_IN_BLOCK)
    ends = [(each.tag, each.rows, each.data_bytes) for each in talk.finished.values()]
    assert ends[1:] == [(b"", 3, 21), (b"SELECT 1", 1, 7)]
    assert [(each.seq, len(each.rows)) for each in talk.rows] == [(2, 2), (3, 1)]


def test_a_name_that_stood_for_much_before_is_not_looked_at_from_the_beginning_each_time() -> None:
    """Closes that are not answered, and then as many uses of the name: one read of each was a minute."""
    little, much = (min(taken(number) for _ in range(3)) for number in (3000, 30_000))
    assert much < 40 * little  # squared would be a hundred times


def taken(number: int) -> float:
    """CPU seconds of so many uses behind so many Closes."""
    talk = Talk(Limits(max_pending=1 << 20)).client(parse("a", "select 1"), SYNC).target(PARSED, READY)
    talk.client(close("S", "a") * number, SYNC)
    gc.disable()
    try:
        began = time.thread_time()
        talk.client(bind("", "a") * number)
        return time.thread_time() - began
    finally:
        gc.enable()


def test_and_what_was_not_looked_at_is_not_believed() -> None:
    talk = Talk().client(parse("a", "select 1"), SYNC).target(PARSED, READY)
    for _ in range(BACK_MOST):
        talk.client(close("S", "a"), SYNC)
    talk.client(bind("", "a"), execute(), SYNC)
    assert talk.started[-1].ref == 0 and b"not known" in talk.started[-1].text
    talk = Talk().client(parse("a", "select 1"), SYNC).target(PARSED, READY)
    talk.client(bind("p", "a"), SYNC)
    for _ in range(BACK_MOST):
        talk.client(close("P", "p"), SYNC)
    talk.client(bind("p", "a"), SYNC, execute("p"), SYNC)
    assert b"prepared elsewhere" in talk.started[-1].text
