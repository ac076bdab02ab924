"""One of each thing a store holds, with every field filled; change what a test is about with keywords."""

from dataclasses import fields
from typing import Any

from proxy.core.access import Approval, Considered, Decision, Grant, Outcome, Request
from proxy.core.events import Event
from proxy.core.sessions import CutReceipt, ServedBy, SessionRecord, Totals
from proxy.core.states import EndReason, RequestStatus, SessionStatus

T0 = 1_800_000_000.0


def a_decision(**changes: Any) -> Decision:
    values: dict[str, Any] = {
        "outcome": Outcome.NEEDS_APPROVAL,
        "rule": "owners",
        "reason": "owner accounts need a second pair of eyes",
        "approvals": 1,
        "approvers": "approvers",
        "max_duration": 3600.0,
        "networks": ("10.0.0.0/8", "fd00::/8"),
        "databases": ("shop",),
        "conditions": {"record_rows": 20},
        "trace": (
            Considered("readers", matched=False, why="other account"),
            Considered("owners", True, "all match"),
        ),
    }
    return Decision(**values | changes)


def a_request(id: str = "request-000001", **changes: Any) -> Request:
    values: dict[str, Any] = {
        "identity": "alice",
        "groups": frozenset({"engineers", "on-call"}),
        "resource": "shop",
        "account": "owner",
        "duration": 1800.0,
        "reason": "ticket 7: naïve “quotes” and a \\ backslash",
        "status": RequestStatus.PENDING,
        "created": T0,
        "expires": T0 + 3600,
        "decision": a_decision(),
        "approvals": (Approval("bob", True, T0 + 1.25, "fine"), Approval("carol", False, T0 + 2.5)),
        "decided": None,
        "grant": None,
        "extends": None,
        "source": "10.1.2.3",
    }
    return Request(id, **values | changes)


def a_grant(id: str = "grant-000001", **changes: Any) -> Grant:
    values: dict[str, Any] = {
        "request": "request-000001",
        "identity": "alice",
        "resource": "shop",
        "account": "readonly",
        "starts": T0,
        "ends": T0 + 1800.5,
        "networks": ("10.0.0.0/8",),
        "databases": ("shop", "stock"),
        "conditions": {"record_rows": 20},
        "rule": "readers",
        "mac": "c2VhbGVk",
    }
    return Grant(id, **values | changes)


def a_session(id: str = "session-000001", **changes: Any) -> SessionRecord:
    values: dict[str, Any] = {
        "node": "node-1",
        "protocol": "postgres",
        "grant": "grant-000001",
        "identity": "alice",
        "resource": "shop",
        "account": "readonly",
        "database": "shop",
        "source": "10.1.2.3",
        "client": "psql",
        "started": T0 + 1,
        "status": SessionStatus.LIVE,
        "recording": "2027/01/15/session-000001",
    }
    return SessionRecord(id, **values | changes)


ENDED: dict[str, Any] = {
    "status": SessionStatus.ENDED,
    "ended": T0 + 9.75,
    "end_reason": EndReason.GRANT_REVOKED,
    "detail": "revoked by dave: lunch",
    "totals": Totals(10, 2_000_000_000_000, 3, 1),
    "receipt": CutReceipt(T0 + 9, T0 + 9.001, T0 + 9.002, None, "pg_stat_activity"),
    "recording_digest": "ab" * 32,
}
"""What ``a_session`` changes into when it has ended."""


SERVED: dict[str, Any] = {"served_by": ServedBy(4_194_304, T0 + 0.123456)}
"""What ``a_session`` changes into where the target's process is known."""


def an_event(kind: type[Event], **values: Any) -> Event:
    """An event of that kind; fields not given are texts."""
    filled: dict[str, Any] = {each.name: each.name for each in fields(kind)} | {"actor": "alice"}
    return kind(**filled | values)
