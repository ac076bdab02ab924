"""Pieces become one record a statement, and a replay that cannot harm a terminal."""

import unicodedata
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.records import (
    Note,
    Outcome,
    Record,
    ResultRows,
    StatementAnswered,
    StatementFinished,
    StatementPrepared,
    StatementStarted,
    Via,
)
from proxy.recording.reader import Timed
from proxy.recording.replay import as_text, ending, pauses, safe
from proxy.recording.statements import Joiner, joined


class PlainRows:
    """Decodes everything as text."""

    def parameter(self, oid: int, format: int, value: bytes) -> object:
        return int(value) if oid == 23 else value.decode()

    def rows(self, description: bytes, rows: Iterable[bytes]) -> list[dict[str, object]]:
        return [{"column": row.decode()} for row in rows]


def timed(*records: Record) -> list[Timed]:
    return [Timed(1_800_000_000 + index, float(index), record) for index, record in enumerate(records)]


def started(seq: int, text: bytes = b"select 1", ref: int = 0, parameters: Any = ()) -> StatementStarted:
    return StatementStarted(seq, Via.SIMPLE, ord("I"), ref, text, 0, "", b"", b"", parameters)


def finished(seq: int, outcome: Outcome = Outcome.DONE, **fields: Any) -> StatementFinished:
    values = {
        "tag": b"SELECT 1",
        "rows": 1,
        "data_bytes": 9,
        "sqlstate": b"",
        "error": b"",
        "transaction": ord("T"),
    }
    return StatementFinished(seq, outcome, **(values | fields))


def test_start_and_end_become_one_record() -> None:
    (record,) = joined("s1", timed(started(1), finished(1)), PlainRows())
    assert record == {
        "session": "s1",
        "seq": 1,
        "started": "2027-01-15T08:00:00.000Z",
        "duration_ms": 1000.0,
        "protocol": "simple",
        "text": "select 1",
        "parameters": [],
        "statement_name": "",
        "portal": "",
        "tag": "SELECT 1",
        "rows": 1,
        "bytes": 9,
        "sqlstate": None,
        "error": None,
        "transaction": "T",
        "outcome": "done",
    }


def test_a_prepared_text_is_told_at_every_execution_with_its_values() -> None:
    records = timed(
        StatementPrepared(1, b"s", b"select $1", (23,)),
        started(1, b"", 1, ((23, 0, b"7", 1, ""),)),
        finished(1),
        started(2, b"", 1, ((23, 0, None, 0, ""),)),
        finished(2),
        started(3, b"", 1, ((25, 0, b"long", 9000, "ab" * 32),)),
        finished(3),
    )
    found = list(joined("s1", records, PlainRows()))
    assert [each["text"] for each in found] == ["select $1"] * 3
    assert [each["parameters"] for each in found] == [
        [7],
        [None],
        [{"prefix": "long", "length": 9000, "sha256": "ab" * 32}],
    ]


def test_pipelined_statements_keep_apart_and_open_ones_come_last() -> None:
    records = timed(started(1), started(2), started(3), finished(2), finished(1))
    found = [(each["seq"], each["outcome"]) for each in joined("s1", records, PlainRows())]
    assert found == [(2, "done"), (1, "done"), (3, None)]


def test_kept_rows_are_shown() -> None:
    records = timed(started(1), ResultRows(1, b"", (b"a", b"b")), finished(1))
    (record,) = joined("s1", records, PlainRows())
    assert record["results"] == [[{"column": "a"}, {"column": "b"}]]
    assert '| {"column": "a"}' in as_text(record)


def test_endings_in_words() -> None:
    records = timed(
        started(1),
        finished(1, Outcome.FAILED, sqlstate=b"42P01", error=b"no such table"),
        started(2),
        finished(2, Outcome.CUT, tag=b""),
        started(3),
    )
    failed, cut, running = joined("s1", records, PlainRows())
    assert ending(failed) == "failed after 1000 ms: 42P01 no such table"
    assert ending(cut) == "cut after 1000 ms"
    assert "running" in ending(running)


def test_a_replay_cannot_drive_the_terminal() -> None:
    nasty = "select '\x1b]52;c;aGk=\x07\x9b31m\u202e'"
    (record,) = joined("s1", timed(started(1, nasty.encode()), finished(1)), PlainRows())
    shown = as_text(record)
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
    assert "\\x1b]52" in shown
    assert safe("tab\tand\nline") == "tab\tand\nline"


def test_pauses_follow_the_clock_at_a_speed() -> None:
    records = timed(started(1), finished(1), started(2), finished(2))
    found = list(joined("s1", records, PlainRows()))
    assert [wait for wait, _ in pauses(found, 2)] == [0.0, 1.0]
    assert [wait for wait, _ in pauses(found, 0)] == [0.0, 0.0]


class Failing(PlainRows):
    """Fails at every value, as a decoder does at bytes that are not what their type says."""

    def parameter(self, oid: int, format: int, value: bytes) -> object:
        raise ValueError(oid)

    def rows(self, description: bytes, rows: Iterable[bytes]) -> list[dict[str, object]]:
        raise IndexError


def test_values_that_cannot_be_decoded_are_shown_as_they_are() -> None:
    parameters = ((23, 1, b"\xff", 1, ""), (23, 0, b"x", 1, ""), (23, 0, None, 0, ""))
    records = timed(started(1, parameters=parameters), ResultRows(1, b"", (b"\xff",)), finished(1))
    (record,) = joined("s1", records, Failing())
    assert record["parameters"] == [
        {"base64": "/w==", "format": "binary"},
        {"base64": "eA==", "format": "text"},
        None,
    ]
    assert record["results"] == [[{"base64": "/w=="}]]


def test_what_came_of_a_statement_that_a_crash_cut_off_is_unknown() -> None:
    records = timed(started(1), finished(1), started(2))
    found = list(joined("s1", records, PlainRows(), lambda: True))
    assert [each["outcome"] for each in found] == ["done", "unknown"]
    assert found[1]["duration_ms"] is None
    assert ending(found[1]) == "unknown: its end was never recorded"


def test_a_statement_cannot_fake_the_end_of_another() -> None:
    nasty = b"select 1 --\n    -> SELECT 1 in 0.1 ms\n[2027-01-15T08:00:00.000Z] #7 drop table x"
    (record,) = joined("s1", timed(started(1, nasty), finished(1, error=b"a\n    -> b")), PlainRows())
    lines = as_text(record).split("\n")
    assert [line for line in lines if line.startswith("    -> ")] == ["    -> SELECT 1 in 1000 ms"]
    assert [line for line in lines if line.startswith("[")] == [lines[0]]


@given(st.text())
def test_nothing_hidden_is_left(text: str) -> None:
    assert not {unicodedata.category(each) for each in safe(text)} & {"Cs", "Zl", "Zp"}
    assert all(each in "\t\n" or unicodedata.category(each) != "Cc" for each in safe(text))


def test_a_statement_whose_transaction_goes_on_took_as_long_as_its_answer() -> None:
    records = timed(started(1), started(2), StatementAnswered(1), finished(2), finished(1))
    joiner = Joiner("s1", PlainRows())
    found = [joiner.feed(each) for each in records[:3]]
    assert found == [None] * 3
    runs = joiner.first()
    assert runs is not None and runs.joined["seq"] == 2, "the first is answered: it does not run any more"
    took = {each["seq"]: each["duration_ms"] for each in joined("s1", records, PlainRows())}
    assert took == {1: 2000.0, 2: 2000.0}


def test_a_text_that_is_not_certain_is_shown_with_what_it_may_be() -> None:
    records = timed(
        StatementPrepared(1, b"s", b"drop table t", ()),
        started(7, b"/* not known */"),
        Note("perhaps", (("statement", 7), ("prepared", "1 0"))),
        finished(7),
    )
    (record,) = joined("s1", records, PlainRows())
    assert record["perhaps"] == ["drop table t", "prepared elsewhere"]
    assert "    perhaps drop table t\n" in as_text(record)


def test_a_text_that_is_not_what_ran_says_so() -> None:
    mismatch = Note("mismatch", (("statement", 1), ("tag", "DELETE 2\x1b[1m")))
    (record,) = joined("s1", timed(started(1), mismatch, finished(1, tag=b"DELETE 2")), PlainRows())
    assert record["mismatch"] == "the target answered DELETE 2\x1b[1m: this text is not what ran"
    assert "    !! the target answered DELETE 2\\x1b[1m" in as_text(record)
    assert list(joined("s1", timed(mismatch), PlainRows())) == [], "of a statement that is not there"
