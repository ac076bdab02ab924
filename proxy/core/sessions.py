"""A session as the store and the API know it: one client connection under one admission.

Written by ``sessions``; read by ``api`` and ``audit``. The live object is ``sessions.session.Session``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.states import EndReason, SessionStatus
from proxy.core.words import newer_keys


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
class SessionRecord:
    """One row of the sessions table. ``recording`` is the key of its recording in the recordings' folder.

    ``detail`` is the last word for a person, for example who revoked and why.
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
