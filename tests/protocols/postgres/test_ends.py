"""Ends and interruptions: last words, warnings, what makes a copy stop, and what is left open when the line
breaks."""

import pytest

from proxy.core.records import Outcome, StatementFinished
from proxy.core.states import EndReason
from proxy.core.steps import Close, Forward, Reply
from proxy.protocols.postgres import messages as m
from proxy.protocols.postgres.limits import Limits
from tests.protocols.postgres.ladder import (
    BOUND,
    COPY_IN,
    COPY_OUT,
    ONE_ROW,
    PARSED,
    READY,
    READY_FAILED,
    SYNC,
    TERMINATE,
    Talk,
    bind,
    complete,
    copy_data,
    error,
    execute,
    frames,
    parse,
    query,
    row,
)


def told(words: bytes) -> dict[bytes, bytes]:
    return m.error_fields(words[5:])


def test_last_words_are_fatal_and_say_why() -> None:
    words = Talk().inspector.farewell(
        EndReason.GRANT_REVOKED, "your grant was revoked by dave: leaked laptop", "ask again"
    )
    kind, _ = frames(words)[0]
    fields = told(words)
    assert kind == b"E" and fields[b"S"] == fields[b"V"] == b"FATAL" and fields[b"C"] == b"57P01"
    assert fields[b"M"] == (
        b"terminating connection due to administrator command: your grant was revoked by dave: leaked laptop"
    )
    assert fields[b"H"] == b"ask again" and b"grant_revoked" in fields[b"D"]


@pytest.mark.parametrize("cut", [6, 12, 20])
def test_nothing_is_said_inside_a_message(cut: int) -> None:
    message = row(b"x" * 40)
    talk = Talk().client(query("select 1")).target(message[:cut])
    assert talk.inspector.target_boundary() == len(message) - cut
    assert talk.inspector.farewell(EndReason.IDLE, "idle") == b"" == talk.inspector.inject("soon")
    talk.target(message[cut:])
    assert talk.inspector.target_boundary() == 0
    assert talk.inspector.farewell(EndReason.IDLE, "idle") and talk.inspector.inject("soon")


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_a_header_that_is_not_whole_has_not_begun_for_the_client(cut: int) -> None:
    talk = Talk().client(query("select 1")).target(row(b"1") + row(b"2")[:cut])
    assert talk.to_client == row(b"1") and talk.inspector.target_boundary() == 0
    talk.target(row(b"2")[cut:])
    assert talk.to_client == row(b"1") + row(b"2")


def test_a_warning_is_a_notice() -> None:
    words = Talk().inspector.inject("your access ends in 5 minutes", "tidegate extend")
    assert words[:1] == b"N" and told(words)[b"V"] == b"WARNING" and told(words)[b"H"] == b"tidegate extend"


def test_a_copy_from_the_client_is_stopped_by_copy_fail() -> None:
    talk = Talk().client(query("copy t from stdin")).target(COPY_IN).client(copy_data(b"1\n"))
    assert [kind for kind, _ in frames(talk.inspector.stop())] == [b"f"]
    talk.target(error("57014"), READY)
    assert talk.outcomes == [(1, Outcome.CANCELLED)] and not talk.inspector.running()


def test_in_the_extended_protocol_with_a_sync() -> None:
    talk = Talk().client(parse("", "copy t from stdin"), bind(), execute(), SYNC).target(PARSED, BOUND, COPY_IN)
    assert [kind for kind, _ in frames(talk.inspector.stop())] == [b"f", b"S"]
    talk.target(error("57014"), READY)
    assert not talk.inspector.running()


def test_copy_data_that_was_begun_is_filled_up_before_the_copy_fail() -> None:
    data = copy_data(b"x" * 100)
    talk = Talk().client(query("copy t from stdin")).target(COPY_IN).client(data[:40])
    stream = talk.to_target + talk.inspector.stop()
    assert [kind for kind, _ in frames(stream)] == [b"Q", b"d", b"f"]


@pytest.mark.parametrize("answer", [b"", ONE_ROW, COPY_OUT])
def test_nothing_else_needs_to_be_stopped_by_words(answer: bytes) -> None:
    assert Talk().client(query("copy t to stdout")).target(answer).inspector.stop() == b""


@pytest.mark.parametrize("outcome", [Outcome.CUT, Outcome.UNKNOWN])
def test_what_is_open_is_closed_with_the_outcome_given(outcome: Outcome) -> None:
    talk = Talk(Limits(record_rows=5)).client(query("select 1; select 2"), parse("", "x"), bind(), execute())
    talk.target(ONE_ROW, row(b"2"))
    records = talk.inspector.finish(outcome)
    kinds = [type(record).__name__ for record in records]
    assert kinds == ["ResultRows", "StatementFinished", "StatementFinished"]
    ends = [(record.seq, record.outcome) for record in records if hasattr(record, "outcome")]
    assert ends == [(2, outcome), (3, outcome)] and records[1].rows == 1  # type: ignore[union-attr]
    assert not talk.inspector.finish(outcome) and not talk.inspector.running()


def test_a_statement_that_completed_is_done_though_no_ready_came() -> None:
    talk = Talk().client(query("insert")).target(complete("INSERT 0 1"))
    assert talk.inspector.running() and talk.inspector.in_flight() == 0
    (record,) = talk.inspector.finish(Outcome.CUT)
    assert (record.outcome, record.rows) == (Outcome.DONE, 1)  # type: ignore[union-attr]


def test_a_quick_statement_is_closed_too() -> None:
    talk = Talk().client(query("select 1"))
    (record,) = talk.inspector.finish(Outcome.CUT)
    assert isinstance(record, StatementFinished) and record.outcome == Outcome.CUT


def test_terminate_is_passed_on_and_ends_it() -> None:
    talk = Talk().client(query("select 1"), TERMINATE, query("select 2"))
    assert talk.to_target == query("select 1") + TERMINATE and len(talk.started) == 1
    assert talk.closed == Close(EndReason.CLIENT_CLOSED)
    assert talk.client(query("select 3")).to_target.endswith(TERMINATE)


@pytest.mark.parametrize(
    ("message", "state"),
    [
        (b"?\0\0\0\4", b"08P01"),
        (b"Q\0\0\0\3", b"08P01"),
        (b"Q\0\0\0\x06ab", b"08P01"),
        (b"Q\xff\xff\xff\xff", b"08P01"),
        (b"S\0\0\0\5x", b"08P01"),
        (b"H\0\0\x27\x20", b"54000"),
        (b"E\0\0\0\5\0", b"08P01"),
        (b"D\0\0\0\6X\0", b"08P01"),
        (b"C\0\0\0\5S", b"08P01"),
        (b"P\0\0\0\x08a\0b\0", b"08P01"),
        (b"P\0\0\0\x0aa\0b\0\0\1", b"08P01"),
        (b"B\0\0\0\x06\0\0", b"08P01"),
        (bind(formats=[1, 1], values=[b"a", b"b", b"c"]), b"08P01"),
        (bind(formats=[2], values=[b"a"]), b"08P01"),
        (m.frame(b"B", b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0"), b"08P01"),
        (m.frame(b"B", b"\0\0\0\0\0\1\x7f\xff\xff\xff\0\0"), b"08P01"),
        (bind() + b"B\0\0\0\x0d\0\0\0\0\0\0\0\0\0", b"08P01"),
        (m.frame(b"F", b"ab"), b"08P01"),
        (m.password("late"), b"08P01"),
    ],
)
def test_a_client_that_breaks_the_protocol_is_told_and_closed(message: bytes, state: bytes) -> None:
    talk = Talk().client(query("select 1")).client(message)
    assert talk.closed is not None and talk.closed.reason is EndReason.PROTOCOL_ERROR
    replies = [step.data for _, step in talk.steps if isinstance(step, Reply)]
    assert told(replies[0])[b"C"] == state and told(replies[0])[b"V"] == b"FATAL"


def test_what_stood_before_the_broken_message_passed() -> None:
    talk = Talk().client(query("select 1") + b"?\0\0\0\4")
    assert talk.to_target == query("select 1") and len(talk.started) == 1


def test_a_broken_client_is_told_nothing_inside_a_message() -> None:
    talk = Talk().client(query("select 1")).target(row(b"12345")[:8]).client(b"?\0\0\0\4")
    assert not [step for _, step in talk.steps if isinstance(step, Reply)] and talk.closed is not None


@pytest.mark.parametrize(
    "message",
    [
        b"R\0\0\0\x08\0\0\0\0",
        b"Z\0\0\0\5X",
        b"Z\0\0\0\6II",
        b"D\0\0\0\3",
        b"D\xff\xff\xff\xff",
        b"C\0\1\0\0",
        b"t\0\0\0\6\0\1",
        b"S\0\0\0\6ab",
        b"~\0\0\0\0",
    ],
)
def test_a_target_that_breaks_the_protocol_is_closed(message: bytes) -> None:
    talk = Talk().client(query("select 1")).target(row(b"1"), message, READY)
    assert talk.closed is not None and talk.closed.reason is EndReason.PROTOCOL_ERROR
    assert talk.to_client == row(b"1")
    assert talk.target(READY).to_client == row(b"1")


def test_the_targets_own_cancel_key_never_reaches_the_client() -> None:
    key = b"K\0\0\0\x0c\0\0\0\1\0\0\0\2"
    talk = Talk().target(key, READY, key[:7]).target(key[7:], READY)
    assert talk.to_client == READY + READY


def test_messages_of_any_time_and_unknown_ones_pass() -> None:
    stream = b"A\0\0\0\x0a\0\0\0\1x\0"[:11] + b"" + b"~\0\0\0\x06ab" + m.notice_response("NOTICE", "00000", "hi")
    stream += m.parameter_status("TimeZone", "UTC") + READY
    talk = Talk().target(stream)
    assert talk.to_client == stream and talk.closed is None
    assert dict(talk.notes[0].data) == {"name": "TimeZone", "value": "UTC"}


def test_texts_are_read_in_the_encoding_the_target_reported() -> None:
    talk = Talk().target(m.parameter_status("client_encoding", "LATIN1"))
    talk.client(query("select 'é'".encode("latin-1")))
    assert talk.started[0].text == "select 'é'".encode()
    talk = Talk(parameters=[m.parameter_status("client_encoding", "SJIS")])
    talk.client(query("select '表'; select 2".encode("cp932")))
    assert talk.started[0].text == "select '表'".encode() and len(talk.started) == 2


def test_an_encoding_nobody_knows_leaves_ascii() -> None:
    talk = Talk(parameters=[m.parameter_status("client_encoding", "MULE_INTERNAL")]).client(query(b"select '\x81'"))
    assert talk.started[0].text == b"select '\\x81'"


def test_old_strings_are_cut_as_the_server_cuts_them() -> None:
    text = b"select 'a\\'; drop table t --'"
    assert len(Talk().client(query(text)).started) == 2
    old = Talk(parameters=[m.parameter_status("standard_conforming_strings", "off")]).client(query(text))
    assert len(old.started) == 1


def test_an_error_while_nothing_runs_is_noted_and_passed() -> None:
    fatal = error("57P01", "the database shuts down", "FATAL")
    talk = Talk().target(fatal)
    assert talk.to_client == fatal and talk.notes[0].kind == "error"


@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
@pytest.mark.parametrize("query_first", [False, True])
def test_nothing_passes_behind_what_ends_the_session_on_the_target(severity: str, query_first: bool) -> None:
    last, behind = error("57P01", "gone", severity), ONE_ROW + READY
    whole = Talk()
    if query_first:
        whole.client(query("select 1"))
    whole.target(last + behind)
    assert whole.to_client == last
    assert whole.closed == Close(EndReason.TARGET_CLOSED, "it said FATAL, SQLSTATE 57P01")
    whole.target(behind)
    assert whole.to_client == last
    for cut in range(1, len(last)):
        talk = Talk()
        if query_first:
            talk.client(query("select 1"))
        talk.target(last[:cut]).target(last[cut:] + behind)
        assert talk.joined() == whole.joined()


def test_the_statement_that_a_fatal_error_ended_is_recorded_as_failed() -> None:
    talk = Talk().client(query("select 1")).target(error("57P01", "gone", "FATAL"))
    (ended,) = (each for each in talk.inspector.finish(Outcome.UNKNOWN) if isinstance(each, StatementFinished))
    assert (ended.outcome, ended.sqlstate, ended.error) == (Outcome.FAILED, b"57P01", b"gone")


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        (b"SFATAL\0VFATAL\0", True),
        ("SKÖNIGLICH\0VFATAL\0".encode(), True),  # S is in the server's language
        (b"SFATAL\0", True),  # before 9.6 there is no other
        (b"SERROR\0VERROR\0MFATAL\0", False),
        (b"SERROR\0MVFATAL\0", False),
    ],
)
def test_what_ends_a_session_is_told_by_its_severity(fields: bytes, ends: bool) -> None:
    talk = Talk().client(query("select 1")).target(m.frame(b"E", fields + b"C57P01\0\0"), READY)
    assert (talk.closed is not None) == ends


def test_an_error_without_fields_is_survived() -> None:
    empty = m.frame(b"E", b"\0")
    talk = Talk().client(query("select 1")).target(empty, m.frame(b"E", b""), READY_FAILED)
    assert talk.finished[1].outcome == Outcome.FAILED and talk.finished[1].sqlstate == b""


def test_a_big_row_passes_as_it_comes() -> None:
    big = row(b"x" * 100_000)
    talk = Talk().client(query("select 1"))
    sizes = []
    for at in range(0, len(big), 16_384):
        before = len(talk.to_client)
        talk.target(big[at : at + 16_384])
        sizes.append(len(talk.to_client) - before)
    assert sizes == [len(big[at : at + 16_384]) for at in range(0, len(big), 16_384)]
    assert all(isinstance(step, Forward) for _, step in talk.steps[-len(sizes) :])
    talk.target(complete("SELECT 1"), READY)
    assert talk.finished[1].data_bytes == len(big) - 5


@pytest.mark.parametrize("kind", [b"Q", b"P", b"B", b"d", b"S"])
@pytest.mark.parametrize("length", [-1, 0, 3])
def test_a_length_that_none_can_be_is_called_so(kind: bytes, length: int) -> None:
    closed = Talk().client(kind + length.to_bytes(4, "big", signed=True) + b"12345678").closed
    assert closed is not None
    assert (closed.reason, closed.detail) == (EndReason.PROTOCOL_ERROR, "the client: invalid message length")
