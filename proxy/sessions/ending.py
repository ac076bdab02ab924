"""What is said and what is stored when a session begins and ends. Pure; used by ``session``, ``ledger``, ``lost``
and the kernel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.access.refusals import refused
from proxy.core.access import Admission, Refusal
from proxy.core.errors import Denied, PeerError, Unavailable, Unreachable
from proxy.core.events import AdmissionGranted, SessionEnded, SessionStarted
from proxy.core.identity import names
from proxy.core.ports import Page, Writer
from proxy.core.sessions import SessionRecord
from proxy.core.states import EndReason, SessionStatus

NOT_A_CUT = frozenset({EndReason.CLIENT_CLOSED, EndReason.TARGET_CLOSED, EndReason.PROTOCOL_ERROR})

LATE: Mapping[EndReason, str] = {
    EndReason.PROTOCOL_ERROR: "the log-in took too long",
    EndReason.STORE_LOST: "the store took too long to answer",
    EndReason.TARGET_UNREACHABLE: "it took too long to let the gateway in",
    EndReason.STALLED: "the client did not take the answer to its log-in",
}
"""What is said of a log-in that was not done in time, by whom it waited for."""


@dataclass(frozen=True, slots=True)
class End:
    """Why and when: ``requested``: when the cause was committed, ``seen``: when this node acted (epoch seconds)."""

    reason: EndReason
    detail: str
    requested: float
    seen: float


_AGAIN = "ask again with: tidegate request"
_FRESH = "your grant still stands; get a fresh token with: tidegate token"
_ADMIN = "talk to an administrator"
_OPERATOR = "tell the gateway's operator"

FAREWELLS: Mapping[EndReason, tuple[str, str]] = {
    EndReason.GRANT_REVOKED: ("your grant was revoked", _AGAIN),
    EndReason.TOKEN_REVOKED: ("the token you connected with was revoked", _FRESH),
    EndReason.GRANT_EXPIRED: ("your grant has ended", _AGAIN),
    EndReason.USER_LOCKED: ("your user is locked", _ADMIN),
    EndReason.RESOURCE_LOCKED: ("this resource is locked", _ADMIN),
    EndReason.POLICY_CHANGED: ("the policy changed and no longer allows this session", _AGAIN),
    EndReason.CUT_BY_ADMIN: ("an administrator cut this session", "your grant still stands; connect again"),
    EndReason.DENIED: ("this session was refused", _ADMIN),
    EndReason.TOO_MANY_SESSIONS: ("there are too many sessions under your grant", "close one of them"),
    EndReason.IDLE: ("the session was idle", "connect again"),
    EndReason.STALLED: ("the session stood still", "connect again"),
    EndReason.TARGET_UNREACHABLE: ("the target cannot be reached", _OPERATOR),
    EndReason.RECORDER_FAILED: ("the session can no longer be recorded", _OPERATOR),
    EndReason.STORE_LOST: ("the gateway cannot verify grants now", "try again in a moment"),
    EndReason.NODE_LOST: ("the gateway's process was lost", "connect again"),
    EndReason.SHUTDOWN: ("the gateway is shutting down", "connect again in a moment"),
    EndReason.UNKNOWN_ORDER: ("a newer version of the gateway ended this session", "connect again"),
}
"""What the person is told, and what to do next, for every end that is a cut."""

REFUSED: Mapping[str, EndReason] = {
    Refusal.BAD_TOKEN: EndReason.DENIED,
    Refusal.TOKEN_CUT_SHORT: EndReason.DENIED,
    Refusal.TOKEN_EXPIRED: EndReason.DENIED,
    Refusal.NO_TLS: EndReason.DENIED,
    Refusal.PLAINTEXT: EndReason.DENIED,
    Refusal.WRONG_ACCOUNT: EndReason.DENIED,
    Refusal.WRONG_DATABASE: EndReason.DENIED,
    Refusal.WRONG_PROTOCOL: EndReason.DENIED,
    Refusal.WRONG_RESOURCE: EndReason.DENIED,
    Refusal.WRONG_NETWORK: EndReason.DENIED,
    Refusal.GRANT_NOT_STARTED: EndReason.DENIED,
    Refusal.GRANT_NEWER: EndReason.DENIED,
    Refusal.GRANT_EXPIRED: EndReason.GRANT_EXPIRED,
    Refusal.GRANT_REVOKED: EndReason.GRANT_REVOKED,
    Refusal.USER_LOCKED: EndReason.USER_LOCKED,
    Refusal.RESOURCE_LOCKED: EndReason.RESOURCE_LOCKED,
    Refusal.TOO_MANY_SESSIONS: EndReason.TOO_MANY_SESSIONS,
}
"""How the end of a session is called that a refusal ended, by the refusal's code; ``DENIED`` for any other code."""


def farewell_text(end: End) -> tuple[str, str]:
    """Return what the person is told, and what to do next."""
    text, hint = FAREWELLS.get(end.reason, ("the session was ended", ""))
    if not end.detail:
        return text, hint
    return (f"{text} {end.detail}" if end.detail.startswith("by ") else f"{text}: {end.detail}"), hint


def reason_of(error: Exception) -> EndReason:
    """Return why a session ends that an error ended, by whose fault that is. What is nobody's fault but ours counts
    as the recorder's, as in the relay: what cannot be looked after cannot be recorded."""
    match error:
        case Unreachable():
            return EndReason.TARGET_UNREACHABLE
        case PeerError(code="closed"):
            return EndReason.CLIENT_CLOSED
        case PeerError():
            return EndReason.PROTOCOL_ERROR
        case Denied(code=code):
            return REFUSED.get(code, EndReason.DENIED)
        case Unavailable(code=code) if code != "recorder_failed":
            return EndReason.STORE_LOST
    return EndReason.RECORDER_FAILED


def begin(writer: Writer, record: SessionRecord, admission: Admission, most: int) -> None:
    """The start of a session, in one transaction: its row, and who was let in to what.

    ``Denied`` where the grant has ``most`` live sessions already (0: any number): the gate counted too, but before
    others that came at the same time were there to be counted.
    """
    if most and len(writer.sessions(Page(limit=most), live=True, grant=record.grant)) >= most:
        raise refused(Refusal.TOO_MANY_SESSIONS, limit=most)
    writer.put_session(record)
    common: dict[str, Any] = {
        "actor": record.identity,
        "session": record.id,
        "grant": record.grant,
        "identity": record.identity,
        "resource": record.resource,
        "account": record.account,
        "database": record.database,
        "source": record.source,
        "names": names(record.who),
    }
    writer.append(AdmissionGranted(jti=admission.jti, **common))
    writer.append(
        SessionStarted(
            node=record.node,
            protocol=record.protocol,
            client=record.client,
            recording=record.recording,
            target_pid=record.target_pid,
            backend_start=record.backend_start,
            **common,
        )
    )


def finish(writer: Writer, record: SessionRecord) -> bool:
    """The end of a session, in one transaction; whether its start was kept, without which it has none. Told twice,
    it is stored once: whoever was not answered cannot know whether he was heard."""
    stored = writer.session(record.id)
    if stored is None:
        return False
    if stored.status is SessionStatus.ENDED:
        return True
    writer.put_session(record)
    writer.append(
        SessionEnded(
            actor="gateway",
            session=record.id,
            grant=record.grant,
            identity=record.identity,
            resource=record.resource,
            end_reason=record.end_reason.value if record.end_reason else "",
            detail=record.detail,
            totals=record.totals,
            receipt=record.receipt,
            recording_digest=record.recording_digest,
            names=names(record.who),
        )
    )
    return True
