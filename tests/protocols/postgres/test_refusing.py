"""What must not pass never passes, and nothing that stood before it in the pipeline is committed by that."""

import pytest

from proxy.core.records import Outcome, Via
from proxy.core.steps import Ask
from proxy.protocols.postgres import messages as m
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.refusing import CALL_STAND_IN, QUERY_STAND_IN, STAND_IN
from tests.protocols.postgres.ladder import (
    ALLOW,
    BOUND,
    DENY,
    FLUSH,
    ONE_ROW,
    PARSED,
    READY,
    READY_FAILED,
    READY_IN_BLOCK,
    SYNC,
    Talk,
    apart,
    bind,
    complete,
    error,
    execute,
    frames,
    function_call,
    parse,
    query,
)

SYNTAX = error("42601", 'syntax error at or near "Tidegate"')
NO_FUNCTION = error("42883", "function with OID 0 does not exist")


def fields(message: bytes) -> dict[bytes, bytes]:
    return m.error_fields(message[5:])


def test_a_function_call_alone_is_refused_in_the_servers_order() -> None:
    talk = Talk().client(query("select 1"), function_call(952))
    assert talk.to_target == query("select 1") + CALL_STAND_IN
    talk.target(ONE_ROW, READY)
    assert talk.to_client == ONE_ROW + READY
    talk.target(SYNTAX, READY)
    kinds = [kind for kind, _ in frames(talk.to_client)]
    assert kinds == [b"T", b"D", b"C", b"Z", b"E", b"Z"]
    answer = m.error_fields(frames(talk.to_client)[4][1])
    assert answer[b"C"] == b"0A000" and answer[b"H"]
    refused = talk.started[1]
    assert refused.via == Via.FASTPATH and b"952" in refused.text
    assert talk.finished[2].outcome == Outcome.DENIED and talk.finished[2].sqlstate == b"0A000"
    assert not talk.inspector.running()


@pytest.mark.parametrize("sync_first", [True, False])
def test_a_function_call_in_a_pipeline_rolls_back_what_stood_before_it(sync_first: bool) -> None:
    """As a server takes one (``1 2 C E Z``, then what comes next), whenever the Sync is sent."""
    one = parse("", "insert") + bind() + execute()
    talk = Talk().client(one, function_call(952), one if sync_first else b"", SYNC if sync_first else b"")
    talk.target(PARSED, BOUND, complete("INSERT 0 1"), NO_FUNCTION, READY)
    if not sync_first:
        talk.client(one, SYNC)
    sent = [kind for kind, _ in frames(talk.to_target)]
    assert sent == [b"P", b"B", b"E", b"F", b"P", b"B", b"E", b"S"]
    assert function_call(952) not in talk.to_target and function_call(0) in talk.to_target
    talk.target(PARSED, BOUND, complete("INSERT 0 1"), READY)
    assert talk.outcomes == [(2, Outcome.DENIED), (1, Outcome.FAILED), (3, Outcome.DONE)]
    assert talk.finished[1].error == b"rolled back: #2 failed"
    assert [kind for kind, _ in frames(talk.to_client)] == [b"1", b"2", b"C", b"E", b"Z", b"1", b"2", b"C", b"Z"]
    assert b"OID" not in talk.to_client
    assert not talk.inspector.running()


def test_a_function_call_and_a_sync_are_two_readies() -> None:
    talk = Talk().client(parse("", "insert"), bind(), execute(), function_call(1), SYNC)
    talk.target(PARSED, BOUND, complete("INSERT 0 1"), NO_FUNCTION, READY)
    assert talk.inspector.running()
    talk.target(READY)
    assert not talk.inspector.running() and talk.to_client.endswith(READY + READY)


def test_an_error_before_the_function_call_is_the_servers_own() -> None:
    own = error("23505", "duplicate")
    talk = Talk().client(parse("", "insert"), bind(), execute(), function_call(1), SYNC)
    talk.target(PARSED, BOUND, own, READY)
    assert talk.to_client == PARSED + BOUND + own + READY
    assert talk.outcomes == [(2, Outcome.DENIED), (1, Outcome.FAILED)]
    assert not talk.inspector.running()


def test_a_function_call_behind_a_query_in_an_open_pipeline_ends_no_discarding() -> None:
    own = error("42601", "yours")
    talk = Talk().client(parse("", "selec"), query("select 1"), function_call(1), parse("", "insert"), SYNC)
    assert [kind for kind, _ in frames(talk.to_target)] == [b"P", b"Q", b"F", b"P", b"S"]
    talk.target(own, READY)
    assert talk.to_client == own + READY and not talk.inspector.running()


def test_a_target_that_ends_the_session_there_is_heard() -> None:
    fatal = error("57P01", "terminating connection", "FATAL")
    talk = Talk().client(function_call(1)).target(fatal, READY)
    assert talk.to_client == fatal and talk.closed is not None


@pytest.mark.parametrize("cut", range(1, len(SYNTAX)))
def test_the_servers_error_is_replaced_however_it_is_cut(cut: int) -> None:
    stream = ONE_ROW + READY + SYNTAX + READY
    at = len(ONE_ROW + READY) + cut
    talk = Talk().client(query("select 1"), function_call(9)).target(stream[:at]).target(stream[at:])
    whole = Talk().client(query("select 1"), function_call(9)).target(stream)
    assert talk.joined() == whole.joined() and b"syntax" not in talk.to_client


def test_the_stand_in_leaves_the_unnamed_statement_alone() -> None:
    ((kind, body),) = frames(STAND_IN)
    assert kind == b"P" and body[:1] != b"\0"


def test_notices_pass_while_a_refusal_is_awaited() -> None:
    notice = m.notice_response("NOTICE", "00000", "hello")
    talk = Talk().client(function_call(9)).target(notice, SYNTAX, READY)
    assert talk.to_client.startswith(notice)


# -- decisions --------------------------------------------------------------------------------------------------


def test_every_statement_is_asked_about_before_it_leaves() -> None:
    talk = Talk(asks=True, verdicts=[ALLOW, ALLOW])
    talk.client(query("select 1; delete from t"), query("select 3"))
    asked = [step.action.text for _, step in talk.steps if isinstance(step, Ask)]  # type: ignore[union-attr]
    assert asked == ["select 1", "delete from t", "select 3"]
    kinds = [type(step).__name__ for _, step in talk.steps]
    assert kinds == ["Ask", "Ask", "Observe", "Observe", "Forward", "Ask", "Observe", "Forward"]
    assert talk.to_target == query("select 1; delete from t") + query("select 3")


def test_one_denied_statement_denies_its_string() -> None:
    talk = Talk(asks=True, verdicts=[ALLOW, DENY])
    talk.client(query("select 1; delete from t; select 3"))
    assert talk.outcomes == [(1, Outcome.SKIPPED), (2, Outcome.DENIED), (3, Outcome.SKIPPED)]
    assert talk.to_target == QUERY_STAND_IN
    talk.target(SYNTAX, READY)
    answer = fields(talk.to_client)
    assert answer[b"C"] == b"42501" and b"not on production" in answer[b"M"] and b"no-deletes" in answer[b"M"]
    assert talk.to_client.endswith(READY)


def test_a_denied_statement_aborts_its_transaction_like_any_error() -> None:
    talk = Talk(asks=True, verdicts=[ALLOW, DENY])
    talk.client(query("begin")).target(complete("BEGIN"), READY_IN_BLOCK)
    talk.client(query("delete from t")).target(SYNTAX, READY_FAILED)
    assert talk.inspector.transaction == ord("E")


def test_an_execute_is_decided_by_the_text_of_its_statement() -> None:
    talk = Talk(asks=True, verdicts=[ALLOW, DENY])
    talk.client(
        parse("a", "insert"), parse("b", "delete from t"), bind("", "a"), execute(), bind("", "b"), execute(), SYNC
    )
    asked = [step.action.text for _, step in talk.steps if isinstance(step, Ask)]  # type: ignore[union-attr]
    assert asked == ["insert", "delete from t"]
    assert [kind for kind, _ in frames(talk.to_target)] == [b"P", b"P", b"B", b"E", b"B", b"P", b"S"]
    talk.target(PARSED, PARSED, BOUND, complete("INSERT 0 1"), BOUND, SYNTAX, READY)
    assert talk.outcomes == [(2, Outcome.DENIED), (1, Outcome.FAILED)]
    assert fields(talk.to_client[len(PARSED * 2 + BOUND + complete("INSERT 0 1") + BOUND) :])[b"C"] == b"42501"


def test_a_denied_execute_leaves_the_clients_statements_alone() -> None:
    talk = Talk(asks=True, verdicts=[DENY, ALLOW])
    talk.client(parse("", "select 1"), bind(), execute(), SYNC).target(PARSED, BOUND, SYNTAX, READY)
    talk.client(bind(), execute(), SYNC)
    assert talk.started[1].ref == 1


def test_nothing_passes_while_a_decision_is_awaited() -> None:
    talk = Talk(asks=True)
    inspector = talk.inspector
    steps = list(inspector.feed(0, query("select 1") + query("select 2")[:9]))  # type: ignore[arg-type]
    assert [type(step).__name__ for step in steps] == ["Ask"]
    assert list(inspector.feed(0, query("select 2")[9:])) == []  # type: ignore[arg-type]
    assert [type(step).__name__ for step in apart(inspector.resume(ALLOW))] == ["Observe", "Forward", "Ask"]
    assert [type(step).__name__ for step in apart(inspector.resume(ALLOW))] == ["Observe", "Forward"]
    assert list(inspector.resume(ALLOW)) == []


def test_what_does_not_run_is_not_asked_about() -> None:
    talk = Talk(asks=True).client(parse("s", "select 1"), SYNC, FLUSH)
    assert not [step for _, step in talk.steps if isinstance(step, Ask)]
    assert talk.to_target == parse("s", "select 1") + SYNC + FLUSH


# -- what cannot be recorded as it would run --------------------------------------------------------------------


def test_a_string_of_more_statements_than_are_told_apart_is_refused() -> None:
    talk = Talk(Limits(max_statements=3)).client(query("select 1;select 2;select 3;delete from t"))
    assert talk.to_target == QUERY_STAND_IN
    talk.target(SYNTAX, READY)
    answer = fields(talk.to_client)
    assert answer[b"C"] == b"54000" and answer[b"S"] == b"ERROR" and answer[b"H"]
    assert talk.outcomes == [(1, Outcome.DENIED)] and talk.finished[1].sqlstate == b"54000"
    assert talk.client(query("select 1")).to_target.endswith(query("select 1"))


@pytest.mark.parametrize("way", ["simple", "extended"])
def test_a_text_too_long_to_be_searched_for_its_secrets_is_refused(way: str) -> None:
    text = "/*" + "x" * 100 + "*/ alter role a password 'hunter2'"
    said = query(text) if way == "simple" else parse("", text) + bind() + execute() + SYNC
    talk = Talk(Limits(max_text=100)).client(said).target(SYNTAX, READY)
    assert b"hunter2" not in talk.to_target and b"hunter2" not in repr(talk.records).encode()
    assert fields(talk.to_client)[b"C"] == b"54000" and talk.outcomes[0] == (1, Outcome.DENIED)
    assert talk.started[0].text_length == len(text) and talk.started[0].text_digest == ""
    assert not talk.inspector.running()


def test_a_refusal_comes_before_any_question() -> None:
    talk = Talk(Limits(max_statements=1), asks=True).client(query("select 1; select 2"))
    assert not [step for _, step in talk.steps if isinstance(step, Ask)] and talk.to_target == QUERY_STAND_IN
