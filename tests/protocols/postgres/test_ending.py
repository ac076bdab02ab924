"""When a statement has ended: what an implicit transaction undid is not done, and the transaction's state is the
one it left. Each conversation is what PostgreSQL 15 answers."""

import pytest

from proxy.core.records import Outcome, StatementAnswered
from proxy.protocols.postgres import ending
from tests.protocols.postgres.ladder import (
    BOUND,
    CLOSED,
    FLUSH,
    ONE_ROW,
    PARSED,
    READY,
    READY_FAILED,
    READY_IN_BLOCK,
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

DONE, FAILED, SKIPPED, UNKNOWN = Outcome.DONE, Outcome.FAILED, Outcome.SKIPPED, Outcome.UNKNOWN
INSERT = parse("", "insert") + bind() + execute()
INSERTED = PARSED + BOUND + complete("INSERT 0 1")
SELECTED = PARSED + BOUND + row(b"1") + complete("SELECT 1")
DUPLICATE = error("23505", "duplicate")


def states(talk: Talk) -> list[str]:
    return [chr(each.transaction) for each in talk.finished.values()]


def test_a_failure_leaves_the_state_its_ready_tells() -> None:
    talk = Talk().client(query("begin")).target(complete("BEGIN"), READY_IN_BLOCK)
    talk.client(query("select 1/0")).target(error("22012"))
    assert 2 not in talk.finished
    talk.target(READY_FAILED).client(query("select 1")).target(error("25P02"), READY_FAILED)
    talk.client(query("commit")).target(complete("ROLLBACK"), READY)
    assert states(talk) == ["T", "E", "E", "I"]


def test_statements_of_a_string_leave_the_state_their_tags_tell() -> None:
    talk = Talk().client(query("begin; insert; select 1/0; select 2"))
    talk.target(complete("BEGIN"), complete("INSERT 0 1"), error("22012"), READY_FAILED)
    assert talk.outcomes == [(1, DONE), (2, DONE), (3, FAILED), (4, SKIPPED)] and states(talk) == [
        "T",
        "T",
        "E",
        "E",
    ]
    talk = Talk().client(query("begin; insert; commit; select 1; select 2"))
    talk.target(*map(complete, ("BEGIN", "INSERT 0 1", "COMMIT", "SELECT 1", "SELECT 1")), READY)
    assert states(talk) == ["T", "T", "I", "I", "I"]


@pytest.mark.parametrize("after", [b"", close("P"), close("P") + FLUSH])
def test_a_commit_that_fails_at_the_sync_undoes_the_statement(after: bytes) -> None:
    talk = Talk().client(INSERT, after, SYNC)
    talk.target(INSERTED, CLOSED if after else b"", DUPLICATE, READY)
    assert talk.outcomes == [(1, FAILED)] and talk.finished[1].tag == b"INSERT 0 1" and not talk.notes
    assert talk.finished[1].sqlstate == b"23505"


def test_a_commit_that_fails_undoes_all_of_its_pipeline() -> None:
    talk = Talk().client(INSERT, parse("", "select 1"), bind(), execute(), SYNC)
    talk.target(INSERTED, SELECTED, DUPLICATE, READY)
    assert talk.outcomes == [(1, FAILED), (2, FAILED)]
    assert {each.sqlstate for each in talk.finished.values()} == {b"23505"}


def test_it_does_not_matter_when_the_sync_is_sent() -> None:
    talk = Talk().client(INSERT, FLUSH).target(INSERTED)
    assert not talk.finished
    talk.client(SYNC).target(DUPLICATE, READY)
    assert talk.outcomes == [(1, FAILED)] and not talk.notes


def test_an_error_undoes_what_was_done_before_it_outside_a_block() -> None:
    talk = Talk().client(query("insert; select 1; update; selec"))
    talk.target(complete("INSERT 0 1"), ONE_ROW, complete("UPDATE 3"), error("42601", "no"), READY)
    assert talk.outcomes == [(2, DONE), (1, FAILED), (3, FAILED), (4, FAILED)], "the rows were read"
    undone = talk.finished[1]
    assert (undone.sqlstate, undone.error, undone.tag) == (b"40000", b"rolled back: #4 failed", b"INSERT 0 1")


def test_an_error_of_a_parse_undoes_the_pipeline_too() -> None:
    talk = Talk().client(INSERT, parse("s", "selec"), SYNC).target(INSERTED, error("42601", "no"), READY)
    assert talk.outcomes == [(1, FAILED)] and talk.notes[0].kind == "error"


def test_what_was_committed_before_the_error_is_done() -> None:
    talk = Talk().client(query("insert; begin; insert; commit; insert; selec"))
    talk.target(
        *map(complete, ("INSERT 0 1", "BEGIN", "INSERT 0 1", "COMMIT", "INSERT 0 1")), error("42601"), READY
    )
    assert dict(talk.outcomes) == {1: DONE, 2: DONE, 3: DONE, 4: DONE, 5: FAILED, 6: FAILED}


@pytest.mark.parametrize("tag", ["CALL", "DO", "VACUUM", "CREATE INDEX"])
def test_what_may_have_committed_by_itself_is_not_said_to_be_undone(tag: str) -> None:
    talk = Talk().client(parse("", "x"), bind(), execute(), parse("", "selec"), bind(), execute(), SYNC)
    talk.target(PARSED, BOUND, complete(tag), error("42601"), READY)
    assert talk.outcomes == [(1, DONE), (2, FAILED)]


def test_one_pipelines_error_undoes_nothing_of_the_next() -> None:
    talk = Talk().client(query("selec"), INSERT, SYNC).target(error("42601"), READY, INSERTED, READY)
    assert talk.outcomes == [(1, FAILED), (2, DONE)]


def test_an_error_while_nothing_runs_undoes_nothing_later() -> None:
    talk = Talk().target(error("57P01", "bye")).client(query("insert; select 1"))
    talk.target(complete("INSERT 0 1"), ONE_ROW, READY)
    assert talk.outcomes == [(1, DONE), (2, DONE)]


def test_what_waits_for_its_transaction_says_when_it_was_answered() -> None:
    talk = Talk().client(query("insert; select pg_sleep(600)")).target(complete("INSERT 0 1"))
    assert [each.seq for each in talk.records if isinstance(each, StatementAnswered)] == [1]
    assert talk.inspector.in_flight() == 2 and not talk.finished


def test_a_long_pipeline_is_bounded_and_says_that_it_was_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "WAITING_MOST", 5)
    talk = Talk().client(INSERT * 12, SYNC).target(INSERTED * 11)
    assert dict(talk.outcomes) == dict.fromkeys(range(1, 11), DONE)
    talk.target(PARSED, DUPLICATE, READY)
    assert dict(talk.outcomes[10:]) == {11: FAILED, 12: FAILED}
    assert [(note.kind, dict(note.data)) for note in talk.notes] == [("rolled back", {"first": 1, "last": 10})]


@pytest.mark.parametrize("way", ["execute", "string"])
def test_nobody_knows_what_came_of_it_when_no_ready_came(way: str) -> None:
    talk = Talk().client(INSERT + SYNC if way == "execute" else query("insert; select 1"))
    talk.target(INSERTED if way == "execute" else complete("INSERT 0 1"))
    first, *rest = talk.inspector.finish(Outcome.CUT)
    assert (first.outcome, first.tag) == (UNKNOWN, b"INSERT 0 1")  # type: ignore[union-attr]
    assert [each.outcome for each in rest] == ([] if way == "execute" else [Outcome.CUT])  # type: ignore[union-attr]


def test_a_statement_in_a_block_was_done_whatever_becomes_of_the_block() -> None:
    talk = Talk().client(query("begin")).target(complete("BEGIN"), READY_IN_BLOCK).client(INSERT, SYNC)
    (record,) = talk.target(INSERTED).inspector.finish(Outcome.CUT)
    assert record.outcome == DONE  # type: ignore[union-attr]
