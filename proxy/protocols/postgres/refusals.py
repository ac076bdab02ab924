"""What the client is told, in PostgreSQL's words: errors and endings as ErrorResponses. Pure; called by ``engine``
(log-in) and ``inspector`` (farewells).

Source: PostgreSQL manual, appendix "PostgreSQL Error Codes". Only an error's public text and hint are told, never
its detail. 57P03 is never used: it makes libpq try the next host; 57P01 is what pools take for the end of a
connection.
"""

from collections.abc import Mapping

from proxy.core.access import Refusal
from proxy.core.errors import Denied, Ended, TidegateError, Unavailable, Unreachable
from proxy.core.states import EndReason
from proxy.protocols.postgres import messages

INVALID_AUTHORIZATION = "28000"
INVALID_PASSWORD = "28P01"
PROTOCOL_VIOLATION = "08P01"
CONNECTION_FAILURE = "08006"
CANNOT_CONNECT = "08001"
TOO_MANY_CONNECTIONS = "53300"
ADMIN_SHUTDOWN = "57P01"
IDLE_SESSION_TIMEOUT = "57P05"
INSUFFICIENT_PRIVILEGE = "42501"

_DENIED: Mapping[str, str] = {
    Refusal.BAD_TOKEN: INVALID_PASSWORD,
    Refusal.TOKEN_CUT_SHORT: INVALID_PASSWORD,
    Refusal.TOKEN_EXPIRED: INVALID_PASSWORD,
    Refusal.TOO_MANY_SESSIONS: TOO_MANY_CONNECTIONS,
    Refusal.PLAINTEXT: PROTOCOL_VIOLATION,
    "unauthenticated": INVALID_PASSWORD,
}
_DETAILS: Mapping[str, str] = {
    Refusal.BAD_TOKEN: "The password must be a token of this gateway, whole and unchanged.",
    Refusal.TOKEN_CUT_SHORT: "Terminals and some clients keep only the beginning of a long password; "
    "PGPASSWORD passes all of it.",
    Refusal.TOKEN_EXPIRED: "A token lives for minutes; the grant it names may live on.",
    Refusal.NO_TLS: "A token sent without TLS can be read on the way.",
    Refusal.WRONG_ACCOUNT: "The user you connect as must be the account of your grant.",
    Refusal.WRONG_DATABASE: "Your grant names the databases it is for.",
    Refusal.WRONG_NETWORK: "Your grant is bound to the networks it may be used from.",
    Refusal.GRANT_NOT_STARTED: "A grant can be used from its start to its end.",
    Refusal.GRANT_EXPIRED: "A grant can be used from its start to its end.",
    Refusal.GRANT_REVOKED: "A revoked grant cannot be used again.",
}
_ENDED: Mapping[str, str] = {
    EndReason.IDLE: IDLE_SESSION_TIMEOUT,
    EndReason.PROTOCOL_ERROR: PROTOCOL_VIOLATION,
    EndReason.TARGET_CLOSED: CONNECTION_FAILURE,
    EndReason.TARGET_UNREACHABLE: CANNOT_CONNECT,
}
TERMINATING = "terminating connection due to administrator command"


def sqlstate(error: TidegateError) -> str:
    """The SQLSTATE of an error, by its type and code."""
    given = getattr(error, "sqlstate", "")
    if isinstance(given, str) and given:
        return given
    if isinstance(error, Denied):
        return _DENIED.get(error.code, INVALID_AUTHORIZATION)
    if isinstance(error, Ended):
        return _ENDED.get(error.code, ADMIN_SHUTDOWN)
    if isinstance(error, Unreachable):
        return CANNOT_CONNECT
    if isinstance(error, Unavailable):
        return TOO_MANY_CONNECTIONS if error.code == "too_busy" else CONNECTION_FAILURE
    return PROTOCOL_VIOLATION


def fatal(error: TidegateError, reference: str = "") -> bytes:
    """FATAL ErrorResponse for a connection that ends with ``error``. ``reference`` is an id a person can quote to
    the gateway's operator."""
    if isinstance(error, Ended):
        text, hint = ending(error.code, error.public, error.hint)
    else:
        text, hint = error.public, error.hint
    detail = getattr(error, "explanation", "") or _DETAILS.get(error.code, "")
    if reference:
        detail = f"{detail} Reference: {reference}".strip()
    return messages.error_response("FATAL", sqlstate(error), text, detail, hint)


def farewell(reason: EndReason, text: str, hint: str = "") -> bytes:
    """FATAL ErrorResponse for a session that is cut: ``text`` says why, for a person."""
    words, hint = ending(reason, text, hint)
    return messages.error_response(
        "FATAL", _ENDED.get(reason, ADMIN_SHUTDOWN), words, f"End reason: {reason.value}.", hint
    )


def ending(reason: str, text: str, hint: str = "") -> tuple[str, str]:
    """Message and hint: in the server's own words where it is the gateway that terminates."""
    if _ENDED.get(reason, ADMIN_SHUTDOWN) == ADMIN_SHUTDOWN:
        return (f"{TERMINATING}: {text}" if text else TERMINATING), hint or _HINTS.get(reason, "")
    return text or f"the session has ended: {reason}", hint


_HINTS: Mapping[str, str] = {
    EndReason.GRANT_REVOKED: "ask again with: tidegate request",
    EndReason.GRANT_EXPIRED: "ask again with: tidegate request",
    EndReason.TOKEN_REVOKED: "get a fresh token with: tidegate token",
    EndReason.POLICY_CHANGED: "ask again with: tidegate request",
    EndReason.SHUTDOWN: "connect again in a moment",
}
