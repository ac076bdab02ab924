"""What of a target's refusal a client may read: its SQLSTATE, its text where that only echoes the client, and never
what only the gateway knows. Against real servers: tests/e2e/test_login_refusals.py."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocols.postgres import messages, refusals
from proxy.protocols.postgres.login_refusal import ECHOES, TEXT_MOST, NotUnderstood, TurnedAway, turned_away

ASKED = messages.startup_packet({"user": "ro", "database": "nosuch"})
PRIVATE = ("db.internal", "5432", "192.0.2.7", "hunter2")
CANARY = "canary"


def refused(state: str, text: str = CANARY, detail: str = "", hint: str = "") -> TurnedAway:
    body = messages.error_response("FATAL", state, text, detail, hint)[5:]
    return turned_away(body, ASKED, PRIVATE)


def told(refusal: TurnedAway) -> dict[bytes, str]:
    """The fields that the client gets."""
    fields = messages.error_fields(refusals.fatal(refusal, "sess-1")[5:])
    return {kind: text.decode() for kind, text in fields.items()}


@pytest.mark.parametrize("state", sorted(ECHOES))
def test_what_echoes_the_client_goes_through_whole(state: str) -> None:
    fields = told(refused(state, 'database "nosuch" does not exist', "a detail", "a hint"))
    assert fields == {
        b"S": "FATAL",
        b"V": "FATAL",
        b"C": state,
        b"M": 'database "nosuch" does not exist',
        b"D": "a detail Reference: sess-1",
        b"H": "a hint",
    }


@pytest.mark.parametrize(
    ("state", "as_told"),
    [
        ("28P01", "28000"),  # the client's own password, the token, was right
        ("28000", "28000"),
        ("42501", "42501"),
        ("55P02", "55P02"),
        ("57P03", "57P03"),
        ("53400", "53400"),
        ("XX000", "XX000"),
        ("08P01", "08P01"),
        ("", "08001"),
        ("00000", "08001"),
        ("01000", "08001"),
        ("02000", "08001"),
        ("3d000", "08001"),
        ("3D0000", "08001"),
        ("3D00\n", "08001"),
    ],
)
def test_of_every_other_refusal_the_state_goes_through_and_no_word(state: str, as_told: str) -> None:
    refusal = refused(state, CANARY, CANARY, CANARY)
    fields = told(refusal)
    assert fields[b"C"] == as_told
    assert CANARY not in "".join(fields.values())
    assert CANARY in refusal.detail  # the operator's log has it
    assert isinstance(refusal, NotUnderstood) == (state == "08P01")


@pytest.mark.parametrize("state", sorted(ECHOES))
@pytest.mark.parametrize("secret", PRIVATE)
@pytest.mark.parametrize("field", ["text", "detail", "hint"])
def test_a_target_that_tells_what_only_the_gateway_knows_is_not_quoted(state: str, secret: str, field: str) -> None:
    fields = told(refused(state, **{"text": "so sorry", field: f"I know {secret}."}))
    assert secret not in "".join(fields.values())
    assert "so sorry" not in fields[b"M"]
    assert fields[b"C"] == state


def test_what_the_client_said_itself_is_no_secret_to_it() -> None:
    body = messages.error_response("FATAL", "3D000", 'database "nosuch" does not exist')[5:]
    assert turned_away(body, ASKED, ("nosuch", "")).public == 'database "nosuch" does not exist'
    assert "has no such database" in turned_away(body, b"", ("nosuch",)).public


@given(
    state=st.sampled_from([*sorted(ECHOES), "28000"]),
    text=st.text(max_size=2 * TEXT_MOST),
    detail=st.text(max_size=2 * TEXT_MOST),
)
def test_no_text_of_a_target_is_long_or_acts_on_a_terminal(state: str, text: str, detail: str) -> None:
    fields = told(refused(state, text, detail, text))
    assert all(text.isprintable() for text in fields.values())
    assert all(len(text) <= TEXT_MOST + len(" Reference: sess-1") for text in fields.values())


@given(st.binary(max_size=200))
def test_any_body_is_a_refusal(body: bytes) -> None:
    assert re.fullmatch(r"[0-9A-Z]{5}", told(turned_away(body, ASKED, PRIVATE))[b"C"])
