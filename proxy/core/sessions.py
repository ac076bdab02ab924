"""A session as the store and the API know it: one client connection under one admission.

Written by ``sessions``; read by ``api`` and ``audit``. The live object is ``sessions.session.Session``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.identity import Who
from proxy.core.states import EndReason, SessionStatus
from proxy.core.words import newer_keys

OWN_PIDS = 1 << 30
"""The gateway's own pids begin here: no system that a target runs on gives such high ones."""


@dataclass(frozen=True, slots=True)
class CutReceipt:
    """The measured times of a cut: instants in epoch seconds, None where it did not come to that.

    ``requested`` when the revocation was committed (or the deadline passed), ``seen`` when this node acted,
    ``client_closed`` when the client's socket was closed, ``target_stopped`` when the target was verified to run
    nothing for this session; ``verified`` says how ("pg_stat_activity", "connection closed", "").
    """

    requested: float
    seen: float
    client_closed: float | None = None
    target_stopped: float | None = None
    verified: str = ""
    newer: Mapping[str, Any] = newer_keys()


@dataclass(frozen=True, slots=True)
class Totals:
    """What went through: bytes each way, statements (or commands), and of those failed."""

    bytes_in: int = 0
    bytes_out: int = 0
    statements: int = 0
    failed: int = 0
    newer: Mapping[str, Any] = newer_keys()


@dataclass(frozen=True, slots=True)
class ServedBy:
    """Which process of the target serves a session. ``pid`` is what the client was told, 0 where the protocol tells
    none; it is the target's own where ``since`` is known, which is when that process was started (epoch seconds),
    by the target's clock. Else it is the gateway's: nobody knows who serves behind a pooler."""

    pid: int = 0
    since: float | None = None

    @property
    def target_pid(self) -> int | None:
        """The pid on the target, where it is known."""
        return None if self.since is None else self.pid


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One row of the sessions table. ``recording`` is the key of its recording in the recordings' folder.

    ``detail`` is the last word for a person, for example who revoked and why. ``identity`` is an id,
    ``identity_name`` the name that went with it then.
    """

    id: str
    node: str
    protocol: str
    grant: str
    identity: str
    resource: str
    account: str
    database: str
    source: str
    client: str
    started: float
    status: SessionStatus
    recording: str
    ended: float | None = None
    end_reason: EndReason | None = None
    detail: str = ""
    totals: Totals = Totals()
    receipt: CutReceipt | None = None
    recording_digest: str = ""
    identity_name: str = ""
    served_by: ServedBy = ServedBy()

    @property
    def target_pid(self) -> int | None:
        """The pid of the target's process that serves it, where it is known."""
        return self.served_by.target_pid

    @property
    def backend_start(self) -> float | None:
        """When that process was started, in epoch seconds by the target's clock."""
        return self.served_by.since

    @property
    def who(self) -> Who:
        return self.identity, self.identity_name
