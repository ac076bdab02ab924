"""Messages and refusals."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access.refusals import refused
from proxy.core.access import Refusal
from proxy.core.errors import Denied, Ended, PeerError, TidegateError, Unavailable, Unreachable
from proxy.core.states import EndReason
from proxy.protocols.postgres import messages as m
from proxy.protocols.postgres import refusals
from proxy.protocols.postgres.startup import BadStartup


def fields(message: bytes) -> dict[bytes, bytes]:
    assert message[:1] in b"EN" and struct.unpack("!I", message[1:5])[0] == len(message) - 1
    assert message.endswith(b"\0\0")
    return m.error_fields(message[5:])


def test_messages_as_the_manual_has_them() -> None:
    assert m.authentication_ok() == b"R\0\0\0\x08\0\0\0\0"
    assert m.authentication_cleartext() == b"R\0\0\0\x08\0\0\0\3"
    assert m.authentication_sasl(["A", "B"]) == b"R\0\0\0\x0d\0\0\0\x0aA\0B\0\0"
    assert m.authentication_sasl_continue(b"x") == b"R\0\0\0\x09\0\0\0\x0bx"
    assert m.authentication_sasl_final(b"x") == b"R\0\0\0\x09\0\0\0\x0cx"
    assert m.ready_for_query(73) == m.ready_for_query(b"I") == b"Z\0\0\0\5I"
    assert m.backend_key_data(1, b"abcd") == b"K\0\0\0\x0c\0\0\0\1abcd"
    assert m.parameter_status("a", "b") == b"S\0\0\0\x08a\0b\0"
    assert m.password("pw") == b"p\0\0\0\7pw\0"
    assert m.sasl_initial_response("M", b"ab") == b"p\0\0\0\x0cM\0\0\0\0\2ab"
    assert m.sasl_response(b"ab") == b"p\0\0\0\6ab"
    assert m.cancel_request(1, b"abcd") == b"\0\0\0\x10\4\xd2\x16.\0\0\0\1abcd"
    assert m.startup_packet({"user": "a"}) == b"\0\0\0\x10\0\3\0\0user\0a\0\0"
    assert m.parse(b"s", "q", (23,)) == b"P\0\0\0\x0es\0q\0\0\1\0\0\0\x17"
    assert m.copy_fail("no") == b"f\0\0\0\7no\0"
    assert m.SSL_REQUEST == b"\0\0\0\x08\4\xd2\x16/" and m.GSS_REQUEST == b"\0\0\0\x08\4\xd2\x160"


def test_a_nul_in_a_text_cannot_end_a_field() -> None:
    assert fields(m.error_response("ERROR", "42501", "a\0CXX000\0b"))[b"C"] == b"42501"


def test_texts_are_bounded_for_clients_that_take_30_000_bytes() -> None:
    assert len(m.error_response("FATAL", "28000", "x" * 10**6, "y" * 10**6, "z" * 10**6)) < 30_000


@given(st.binary(max_size=200))
def test_fields_of_anything(body: bytes) -> None:
    m.error_fields(body)
    try:
        m.parameter(body)
    except PeerError as error:
        assert error.code == "protocol"


# -- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", list(Refusal))
def test_every_refusal_has_a_state_and_a_detail_or_says_enough(refusal: Refusal) -> None:
    told = fields(refusals.fatal(Denied("no", hint="do this", detail="inner secret", code=refusal), "sess-1"))
    assert told[b"C"] in (b"28000", b"28P01", b"53300", b"08P01") and told[b"V"] == b"FATAL"
    assert told[b"M"] == b"no" and told[b"H"] == b"do this" and b"sess-1" in told[b"D"]
    assert b"inner secret" not in b"".join(told.values())


def test_a_token_cut_short_is_told_how_to_pass_all_of_it() -> None:
    assert b"PGPASSWORD" in fields(refusals.fatal(refused(Refusal.TOKEN_CUT_SHORT, size=100)))[b"D"]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Denied("x", code=Refusal.BAD_TOKEN), "28P01"),
        (Denied("x", code=Refusal.TOKEN_EXPIRED), "28P01"),
        (Denied("x", code=Refusal.WRONG_ACCOUNT), "28000"),
        (Denied("x", code=Refusal.TOO_MANY_SESSIONS), "53300"),
        (Unreachable("x"), "08001"),
        (Unavailable("x"), "08006"),
        (Unavailable("x", code="too_busy"), "53300"),
        (PeerError("x"), "08P01"),
        (BadStartup("x", "0A000"), "0A000"),
        (Ended("x", code=EndReason.GRANT_REVOKED), "57P01"),
        (Ended("x", code=EndReason.IDLE), "57P05"),
    ],
)
def test_states(error: TidegateError, state: str) -> None:
    assert refusals.sqlstate(error) == state
    assert fields(refusals.fatal(error))[b"C"] == state.encode()


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_end_has_words(reason: EndReason) -> None:
    told = fields(refusals.farewell(reason, "because of this"))
    assert b"because of this" in told[b"M"] and reason.value.encode() in told[b"D"]
    assert told[b"C"] != b"57P03", "libpq would try the next host"
    assert fields(refusals.farewell(reason, ""))[b"M"]
