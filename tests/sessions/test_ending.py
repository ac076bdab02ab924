"""How an end is called and told: each refusal and each item of the feed has the reason that is true of it."""

import pytest

from proxy.access.refusals import refused
from proxy.core.access import Refusal
from proxy.core.errors import Denied, PeerError, Unavailable, Unreachable
from proxy.core.feed import FeedKind, Scope
from proxy.core.states import EndReason
from proxy.sessions.ending import FAREWELLS, NOT_A_CUT, REFUSED, End, farewell_text, reason_of
from proxy.sessions.registry import END_OF

DETAILS = dict.fromkeys(("size", "account", "databases", "protocol", "resource", "source", "by", "identity"), "x")


def test_every_refusal_has_its_reason() -> None:
    assert set(REFUSED) == set(Refusal)


@pytest.mark.parametrize("why", Refusal)
def test_a_refusal_during_a_session_is_called_what_it_is(why: Refusal) -> None:
    reason = reason_of(refused(why, limit=1, **DETAILS))
    assert reason is REFUSED[why]
    assert reason is not EndReason.POLICY_CHANGED
    same_word = {each.value for each in EndReason} & {why.value}
    assert not same_word or reason.value == why.value


def test_what_is_denied_for_another_cause_is_denied() -> None:
    assert reason_of(Denied("this statement is not allowed")) is EndReason.DENIED
    assert reason_of(Denied("a token is needed", code="unauthenticated")) is EndReason.DENIED


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unreachable("x"), EndReason.TARGET_UNREACHABLE),
        (PeerError("x", code="closed"), EndReason.CLIENT_CLOSED),
        (PeerError("x"), EndReason.PROTOCOL_ERROR),
        (Unavailable("x"), EndReason.STORE_LOST),
        (Unavailable("x", code="recorder_failed"), EndReason.RECORDER_FAILED),
        (ValueError("x"), EndReason.RECORDER_FAILED),
    ],
)
def test_other_errors_say_whose_fault_it_is(error: Exception, reason: EndReason) -> None:
    assert reason_of(error) is reason


def test_every_end_that_is_a_cut_has_words() -> None:
    assert set(FAREWELLS) == set(EndReason) - NOT_A_CUT


def test_each_thing_that_is_ended_has_a_word_of_its_own() -> None:
    assert END_OF[FeedKind.REVOKED, Scope.TOKEN] is EndReason.TOKEN_REVOKED
    assert END_OF[FeedKind.REVOKED, Scope.GRANT] is EndReason.GRANT_REVOKED
    assert END_OF[FeedKind.LOCKED, Scope.IDENTITY] is EndReason.USER_LOCKED
    assert END_OF[FeedKind.LOCKED, Scope.RESOURCE] is EndReason.RESOURCE_LOCKED
    told, hint = farewell_text(End(EndReason.TOKEN_REVOKED, "by dave: pasted into a chat", 0.0, 0.0))
    assert told == "the token you connected with was revoked by dave: pasted into a chat"
    assert "your grant still stands" in hint
