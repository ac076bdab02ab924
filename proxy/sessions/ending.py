"""What is said and what is stored when a session begins and ends. Pure; used by ``session``, ``ledger``, ``lost``
and the kernel."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.access.refusals import refused
from proxy.core.access import Admission, Refusal
from proxy.core.errors import Denied, PeerError, Unavailable, Unreachable
from proxy.core.events import AdmissionGranted, SessionEnded, SessionStarted
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


def farewell_text(end: End) -> tuple[str, str]:
    """What the person is told, and what to do next."""
    again = "ask again with: tidegate request"
    texts = {
        EndReason.GRANT_REVOKED: ("your grant was revoked", again),
        EndReason.GRANT_EXPIRED: ("your grant has ended", again),
        EndReason.USER_LOCKED: ("your user is locked", "talk to an administrator"),
        EndReason.RESOURCE_LOCKED: ("this resource is locked", "talk to an administrator"),
        EndReason.POLICY_CHANGED: ("the policy changed and no longer allows this session", again),
        EndReason.CUT_BY_ADMIN: ("an administrator cut this session", "your grant still stands; connect again"),
        EndReason.IDLE: ("the session was idle", "connect again"),
        EndReason.STALLED: ("the session stood still", "connect again"),
        EndReason.TARGET_UNREACHABLE: ("the target cannot be reached", "tell the gateway's operator"),
        EndReason.RECORDER_FAILED: ("the session can no longer be recorded", "tell the gateway's operator"),
        EndReason.STORE_LOST: ("the gateway cannot verify grants now", "try again in a moment"),
        EndReason.SHUTDOWN: ("the gateway is shutting down", "connect again in a moment"),
        EndReason.UNKNOWN_ORDER: ("a newer version of the gateway ended this session", "connect again"),
    }
    text, hint = texts.get(end.reason, ("the session was ended", ""))
    return (
        f"{text} {end.detail}" if end.detail.startswith("by ") else f"{text}: {end.detail}" if end.detail else text
    ), hint


def reason_of(error: Exception) -> EndReason:
    """Why a session ends that an error ended, by whose fault that is. What is nobody's but ours is called as in the
    relay: what we cannot look after we cannot record."""
    match error:
        case Unreachable():
            return EndReason.TARGET_UNREACHABLE
        case PeerError(code="closed"):
            return EndReason.CLIENT_CLOSED
        case PeerError():
            return EndReason.PROTOCOL_ERROR
        case Denied():
            return EndReason.POLICY_CHANGED
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
    common = {
        "actor": record.identity,
        "session": record.id,
        "grant": record.grant,
        "identity": record.identity,
        "resource": record.resource,
        "account": record.account,
        "database": record.database,
        "source": record.source,
    }
    writer.append(AdmissionGranted(jti=admission.jti, **common))
    writer.append(
        SessionStarted(
            node=record.node,
            protocol=record.protocol,
            client=record.client,
            recording=record.recording,
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
        )
    )
    return True
