"""What happened, in the past tense: the events of the trail.

Each field is ``public``, ``sensitive`` or ``secret``; unclassified means secret and prints as ``***``. All trail
events are *enforced*: they are committed with, or before, what they tell of. ``body`` gives the JSON-able form
that is chained; ``subjects`` the ids a reader searches by.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from proxy.core.access import Decision
from proxy.core.sessions import CutReceipt, Totals
from proxy.core.words import NEWER


def public() -> Any:
    """A field anyone who may read the trail may read."""
    return dataclasses.field(metadata={"class": "public"})


def sensitive() -> Any:
    """A field about a person or a target's content; auditors and admins only."""
    return dataclasses.field(metadata={"class": "sensitive"})


@dataclass(frozen=True, slots=True)
class Event:
    """The root. ``actor`` is the id of who did it, or ``gateway`` / ``anonymous``; ``identity`` of others is an id
    too. ``names`` has the names that went with such ids then, of those whose name was another."""

    SUBJECTS: ClassVar[tuple[str, ...]] = ("request", "grant", "session", "identity", "resource")

    actor: str = public()
    names: Mapping[str, str] = dataclasses.field(default_factory=dict, kw_only=True, metadata={"class": "public"})

    @property
    def kind(self) -> str:
        """The event's word: ``GrantRevoked`` is ``grant_revoked``."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    def body(self) -> dict[str, Any]:
        """All fields but ``actor`` (and ``names``, where there are none) as JSON-able values; what is not
        classified prints as ``***``."""
        return {
            each.name: plain(getattr(self, each.name)) if "class" in each.metadata else "***"
            for each in dataclasses.fields(self)
            if each.name != "actor" and (each.name != "names" or self.names)
        }

    def subjects(self) -> dict[str, str]:
        """The ids and names this event is about, of those in ``SUBJECTS``."""
        return {name: getattr(self, name) for name in self.SUBJECTS if getattr(self, name, "")}


_AS_IT_IS = frozenset({str, int, float, bool, type(None)})


def plain(value: Any) -> Any:
    """``value`` with dataclasses as dicts and sets as sorted lists, so that JSON can hold it. Keys that a later
    version wrote (``words.newer_keys``) are beside the others again."""
    if type(value) in _AS_IT_IS:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        known = {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
        return known.pop(NEWER, {}) | known
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(plain(each) for each in value)
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


@dataclass(frozen=True, slots=True)
class LoggedIn(Event):
    source: str = sensitive()


@dataclass(frozen=True, slots=True)
class LoggedOut(Event):
    source: str = sensitive()


@dataclass(frozen=True, slots=True)
class LoginsThrottled(Event):
    """Log-ins that were not tried, since there had been too many: ``times`` of one source network within 10 s;
    ``name`` and ``source`` are the last one's."""

    name: str = sensitive()
    source: str = sensitive()
    times: int = public()


@dataclass(frozen=True, slots=True)
class LoginRefused(Event):
    """``name`` is what was typed; ``times`` counts equal refusals of one source within 10 s."""

    name: str = sensitive()
    source: str = sensitive()
    times: int = public()


@dataclass(frozen=True, slots=True)
class RequestMade(Event):
    request: str = public()
    identity: str = public()
    resource: str = public()
    account: str = public()
    duration: float = public()
    reason: str = sensitive()
    extends: str = public()


@dataclass(frozen=True, slots=True)
class RequestDecided(Event):
    """By policy (actor ``gateway``), or by the approver whose word completed or ended it."""

    request: str = public()
    identity: str = public()
    resource: str = public()
    status: str = public()
    decision: Decision = public()
    reason: str = sensitive()


@dataclass(frozen=True, slots=True)
class RequestApproved(Event):
    """One approver's word (yes or no); the decision may still be pending."""

    request: str = public()
    identity: str = public()
    resource: str = public()
    approved: bool = public()
    reason: str = sensitive()


@dataclass(frozen=True, slots=True)
class RequestExpired(Event):
    request: str = public()
    identity: str = public()
    resource: str = public()


@dataclass(frozen=True, slots=True)
class RequestWithdrawn(Event):
    request: str = public()
    identity: str = public()
    resource: str = public()


@dataclass(frozen=True, slots=True)
class GrantIssued(Event):
    grant: str = public()
    request: str = public()
    identity: str = public()
    resource: str = public()
    account: str = public()
    starts: float = public()
    ends: float = public()
    networks: tuple[str, ...] = public()
    rule: str = public()


@dataclass(frozen=True, slots=True)
class GrantExtended(Event):
    grant: str = public()
    request: str = public()
    identity: str = public()
    resource: str = public()
    ends: float = public()
    before: float = public()


@dataclass(frozen=True, slots=True)
class GrantRevoked(Event):
    grant: str = public()
    identity: str = public()
    resource: str = public()
    reason: str = sensitive()


@dataclass(frozen=True, slots=True)
class Revoked(Event):
    """A revocation as it was ordered: ``scope`` and ``key`` say what, ``grants`` how many it ended."""

    scope: str = public()
    key: str = public()
    reason: str = sensitive()
    grants: int = public()


@dataclass(frozen=True, slots=True)
class Locked(Event):
    scope: str = public()
    key: str = public()
    reason: str = sensitive()


@dataclass(frozen=True, slots=True)
class Unlocked(Event):
    scope: str = public()
    key: str = public()


@dataclass(frozen=True, slots=True)
class TokenIssued(Event):
    jti: str = public()
    grant: str = public()
    identity: str = public()
    resource: str = public()
    expires: float = public()


@dataclass(frozen=True, slots=True)
class CertificateIssued(Event):
    """A user certificate for SSH; ``key`` is the fingerprint of what it certifies (``SHA256:…``)."""

    jti: str = public()
    grant: str = public()
    identity: str = public()
    resource: str = public()
    account: str = public()
    key: str = public()
    expires: float = public()


@dataclass(frozen=True, slots=True)
class AdmissionGranted(Event):
    session: str = public()
    grant: str = public()
    identity: str = public()
    resource: str = public()
    account: str = public()
    database: str = public()
    source: str = sensitive()
    jti: str = public()


@dataclass(frozen=True, slots=True)
class AdmissionRefused(Event):
    """``times`` counts equal refusals of one source within 10 s, so that a flood cannot fill the disk."""

    why: str = public()
    session: str = public()
    grant: str = public()
    resource: str = public()
    account: str = sensitive()
    source: str = sensitive()
    times: int = public()


@dataclass(frozen=True, slots=True)
class AdmissionUnused(Event):
    """Somebody was admitted, and no session came of it: ``why`` is an end reason or the word of a refusal.
    ``times`` counts those that were alike within 10 s: a target that is down is tried again and again."""

    why: str = public()
    detail: str = sensitive()
    session: str = public()
    grant: str = public()
    identity: str = public()
    resource: str = public()
    account: str = public()
    database: str = public()
    source: str = sensitive()
    jti: str = public()
    times: int = public()


@dataclass(frozen=True, slots=True)
class SessionStarted(Event):
    """``target_pid`` and ``backend_start`` (epoch seconds, the target's clock) say which process of the target
    serves it, as the target's own log does; null where nobody knows."""

    session: str = public()
    node: str = public()
    grant: str = public()
    identity: str = public()
    resource: str = public()
    account: str = public()
    database: str = public()
    protocol: str = public()
    source: str = sensitive()
    client: str = sensitive()
    recording: str = public()
    target_pid: int | None = public()
    backend_start: float | None = public()


@dataclass(frozen=True, slots=True)
class SessionEnded(Event):
    """The end of a session, with its recording's final digest, and the cut receipt where it was cut."""

    session: str = public()
    grant: str = public()
    identity: str = public()
    resource: str = public()
    end_reason: str = public()
    detail: str = sensitive()
    totals: Totals = public()
    receipt: CutReceipt | None = public()
    recording_digest: str = public()


@dataclass(frozen=True, slots=True)
class SessionCutOrdered(Event):
    session: str = public()
    reason: str = sensitive()


@dataclass(frozen=True, slots=True)
class CancelRefused(Event):
    """Somebody sent a CancelRequest with a key that fits no session."""

    source: str = sensitive()
    times: int = public()


@dataclass(frozen=True, slots=True)
class RecordingViewed(Event):
    session: str = public()
    view: str = public()


@dataclass(frozen=True, slots=True)
class RecordingDeleted(Event):
    """Its time was up: recordings are kept for ``kept`` seconds after their session's end."""

    session: str = public()
    recording: str = public()
    kept: float = public()


@dataclass(frozen=True, slots=True)
class ConfigurationChanged(Event):
    """``changed`` are the paths that differ; never their values."""

    digest: str = public()
    changed: tuple[str, ...] = public()


@dataclass(frozen=True, slots=True)
class KeysRotated(Event):
    """``kid`` signs tokens, ``ssh_kid`` users' SSH certificates. ``distrust``: what was signed before is believed
    no more."""

    kid: str = public()
    ssh_kid: str = public()
    distrust: bool = public()


@dataclass(frozen=True, slots=True)
class TargetsAuthorityRotated(Event):
    """``authority`` is a line of what SSH targets believe: the next one, or, where it ``signs``, the one that they
    must believe from now on."""

    authority: str = public()
    signs: bool = public()


@dataclass(frozen=True, slots=True)
class TrailRestored(Event):
    """Somebody says that the store was put back: the trail goes on from here under a new ``origin``, a number. Rows
    behind row ``kept`` that were signed under an older one are lost, up to ``lost``, the last that is known of (0:
    none is)."""

    reason: str = sensitive()
    origin: int = public()
    kept: int = public()
    lost: int = public()
    lost_digest: str = public()


@dataclass(frozen=True, slots=True)
class TrailTakenUp(Event):
    """``node`` remembered no signed head: it takes the newest of the store, of row ``seq``, for what it saw (0: an
    older version had left the store before it signed anything). A new
    host does so once; one that did so before has lost what it remembered."""

    node: str = public()
    seq: int = public()
    digest: str = public()


@dataclass(frozen=True, slots=True)
class GatewayStarted(Event):
    node: str = public()
    version: str = public()
    digest: str = public()


@dataclass(frozen=True, slots=True)
class DrainOrdered(Event):
    """``node`` takes nobody new; who is left ``until`` (epoch seconds) is cut then."""

    node: str = public()
    until: float = public()


@dataclass(frozen=True, slots=True)
class GatewayStopped(Event):
    node: str = public()
