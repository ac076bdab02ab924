"""Status words and the tables of their transitions. "Rule 1: everything that changes a status is listed here."

The words are a contract with users (API, CLI, UI, trail). A transition that is not listed is refused with
``PeerError(code="conflict")``: see ``step``.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from proxy.core.errors import PeerError
from proxy.core.words import StoredWord


class RequestStatus(StoredWord):
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class GrantStatus(StrEnum):
    SCHEDULED = "scheduled"
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class SessionStatus(StoredWord):
    LIVE = "live"
    ENDED = "ended"


class EndReason(StoredWord):
    """Why a session ended. The same word is in the client's message, the record, the trail and the metric."""

    CLIENT_CLOSED = "client_closed"
    TARGET_CLOSED = "target_closed"
    TARGET_UNREACHABLE = "target_unreachable"
    GRANT_EXPIRED = "grant_expired"
    GRANT_REVOKED = "grant_revoked"
    TOKEN_REVOKED = "token_revoked"
    USER_LOCKED = "user_locked"
    RESOURCE_LOCKED = "resource_locked"
    POLICY_CHANGED = "policy_changed"
    IDLE = "idle"
    STALLED = "stalled"
    CUT_BY_ADMIN = "cut_by_admin"
    DENIED = "denied"
    TOO_MANY_SESSIONS = "too_many_sessions"
    RECORDER_FAILED = "recorder_failed"
    STORE_LOST = "store_lost"
    NODE_LOST = "node_lost"
    SHUTDOWN = "shutdown"
    PROTOCOL_ERROR = "protocol_error"
    UNKNOWN_ORDER = "unknown_order"
    """The feed ended it by a word of a later version."""


REQUEST_TRANSITIONS: Mapping[RequestStatus, frozenset[RequestStatus]] = {
    RequestStatus.PENDING: frozenset(
        {RequestStatus.APPROVED, RequestStatus.DENIED, RequestStatus.EXPIRED, RequestStatus.WITHDRAWN}
    ),
    RequestStatus.APPROVED: frozenset(),
    RequestStatus.DENIED: frozenset(),
    RequestStatus.EXPIRED: frozenset(),
    RequestStatus.WITHDRAWN: frozenset(),
}

GRANT_TRANSITIONS: Mapping[GrantStatus, frozenset[GrantStatus]] = {
    GrantStatus.SCHEDULED: frozenset({GrantStatus.ACTIVE, GrantStatus.REVOKED, GrantStatus.EXPIRED}),
    GrantStatus.ACTIVE: frozenset({GrantStatus.EXPIRED, GrantStatus.REVOKED}),
    GrantStatus.EXPIRED: frozenset(),
    GrantStatus.REVOKED: frozenset(),
}

SESSION_TRANSITIONS: Mapping[SessionStatus, frozenset[SessionStatus]] = {
    SessionStatus.LIVE: frozenset({SessionStatus.ENDED}),
    SessionStatus.ENDED: frozenset(),
}

ENDINGS: frozenset[StrEnum] = frozenset({RequestStatus.WITHDRAWN, RequestStatus.EXPIRED, SessionStatus.ENDED})
"""What a status that a later version wrote can become: that gives nobody anything."""

Status = TypeVar("Status", bound=StrEnum)


def step(table: Mapping[Status, frozenset[Status]], current: Status, new: Status) -> Status:
    """``new``, if the table lists current -> new; else ``PeerError`` with code ``conflict``. A current status that
    this version does not know can only be ended."""
    if new not in table.get(current, ENDINGS):
        raise PeerError(f"it is already {current}", code="conflict")
    return new
