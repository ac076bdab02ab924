"""What the inside asks of the outside. Adapters implement these; tests have small fakes of them.

Inside one transaction everything is a plain function: ``store.commit(unit)`` runs ``unit(writer)`` and returns
after the commit that holds it; ``store.read(query)`` runs ``query(reader)`` on one snapshot. So decisions are made
by synchronous code that nothing can interleave with, and I/O stays in the adapter. Errors: ``Unavailable`` when the
store cannot be reached; whatever the unit raises is raised again, with nothing of that unit kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from proxy.core.access import Claims, Grant, Request
from proxy.core.events import Event
from proxy.core.feed import FeedItem, FeedKind, Scope
from proxy.core.identity import Who
from proxy.core.records import Record
from proxy.core.sessions import SessionRecord
from proxy.core.trail import TrailHead, TrailRow

T = TypeVar("T")


class Clock(Protocol):
    """The three clocks. ``now``: wall, epoch seconds; ``monotonic``: seconds, for durations; ``boottime``: seconds
    that also pass while the machine sleeps, for leases."""

    def now(self) -> float: ...
    def monotonic(self) -> float: ...
    def boottime(self) -> float: ...


class Ids(Protocol):
    """Makes ids: ``new("grant")`` -> ``grant-01jdk…`` (time-ordered, 80 random bits, [a-z0-9-])."""

    def new(self, kind: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Lock:
    """A user or resource that may not be used now; ``scope`` is IDENTITY or RESOURCE. ``key`` (of an identity) and
    ``by`` are ids; ``name`` and ``by_name`` the names that went with them then."""

    scope: Scope
    key: str
    by: str
    reason: str
    at: float
    name: str = ""
    by_name: str = ""

    @property
    def who(self) -> Who:
        return self.key, self.name

    @property
    def locker(self) -> Who:
        return self.by, self.by_name


@dataclass(frozen=True, slots=True)
class AdmissionFacts:
    """All the gate needs of the store, read in one snapshot by one statement.

    ``revocation_told``: the trail says that the grant was revoked, whatever its row says. ``live_sessions`` counts
    the grant's live sessions; ``now`` is the store's own clock (expiry is judged by it);
    ``feed_position`` is the feed's last sequence in that snapshot.
    """

    grant: Grant | None
    token_revoked: bool
    revocation_told: bool
    identity_lock: Lock | None
    resource_lock: Lock | None
    live_sessions: int
    now: float
    feed_position: int


@dataclass(frozen=True, slots=True)
class Node:
    """A worker process that serves sessions. ``feed_seen`` is the last feed item it has acted on. ``drains``: it
    takes nobody new, and at this instant of the store's clock cuts who is left; 0.0 while it serves. ``refuses``:
    the grounds on which it admits nobody now, in words. ``speaks``: the stored words it knows, see
    ``core.vocabulary``."""

    id: str
    host: str
    started: float
    heartbeat: float
    feed_seen: int
    digest: str
    drains: float = 0.0
    refuses: tuple[str, ...] = ()
    speaks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: ids are time-ordered, so a page is "``limit`` rows older than ``before``" (newest
    first; ``before`` "" starts at the newest)."""

    limit: int = 50
    before: str = ""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whose list it is, where somebody does not see all: requests that are theirs, that a group of theirs decides,
    or that they said yes to; grants that are theirs, or whose request they said yes to."""

    id: str
    groups: frozenset[str]


class Reader(Protocol):
    """Reading within one snapshot. Lists are newest first unless said otherwise; a filter left None matches all.
    Persons are ids here, in filters too: a name that somebody typed becomes one in ``Catalog.id_of``."""

    def now(self) -> float: ...
    def request(self, id: str) -> Request | None: ...
    def requests(
        self,
        page: Page,
        *,
        identity: str | None = None,
        status: str | None = None,
        resource: str | None = None,
        viewer: Viewer | None = None,
    ) -> list[Request]:
        """``viewer``: only what this person may see."""
        ...

    def pending_requests(self, expired_by: float) -> list[Request]: ...
    def grant(self, id: str) -> Grant | None: ...
    def grants(
        self,
        page: Page,
        *,
        identity: str | None = None,
        resource: str | None = None,
        live_at: float | None = None,
        viewer: Viewer | None = None,
    ) -> list[Grant]:
        """``viewer``: only what this person may see; ``live_at``: only grants that are neither revoked nor ended at
        that instant (scheduled ones included)."""
        ...

    def admission_facts(self, claims: Claims) -> AdmissionFacts: ...
    def token_revoked(self, jti: str) -> bool: ...
    def lock(self, scope: Scope, key: str) -> Lock | None: ...
    def locks(self) -> list[Lock]: ...
    def session(self, id: str) -> SessionRecord | None: ...
    def sessions(
        self,
        page: Page,
        *,
        live: bool | None = None,
        identity: str | None = None,
        resource: str | None = None,
        grant: str | None = None,
        node: str | None = None,
        pid: int | None = None,
    ) -> list[SessionRecord]:
        """``pid``: only those whose client was told it, of whatever target."""
        ...

    def feed_position(self) -> int: ...
    def feed_after(self, seq: int, limit: int = 1000) -> list[FeedItem]:
        """Items with a sequence over ``seq``, oldest first."""
        ...

    def feed_oldest(self) -> int:
        """The sequence of the oldest item kept (pruned beyond 10 leases); position + 1 when there is none."""
        ...

    def trail_after(
        self,
        seq: int,
        limit: int = 1000,
        *,
        kind: str | None = None,
        actor: str | None = None,
        subject: tuple[str, str] | None = None,
    ) -> list[TrailRow]:
        """Rows with a sequence over ``seq``, oldest first; ``subject`` is (name, value), as ("grant", id)."""
        ...

    def trail_before(
        self,
        seq: int | None,
        limit: int = 100,
        *,
        kind: str | None = None,
        actor: str | None = None,
        subject: tuple[str, str] | None = None,
    ) -> list[TrailRow]:
        """Rows with a sequence under ``seq`` (None: from the end), newest first."""
        ...

    def trail_head(self) -> tuple[int, str]:
        """(seq, digest) of the last row; (0, "") when the trail is empty."""
        ...

    def trail_heads(self, after: int = 0, limit: int = 1000) -> list[TrailHead]: ...
    def newest_trail_heads(self, limit: int = 100) -> list[TrailHead]:
        """Newest first: of the last origin, then of the last row."""
        ...

    def nodes(self) -> list[Node]: ...


class Writer(Reader, Protocol):
    """Reading and changing within one transaction; changes are seen by later reads of the same unit."""

    def put_request(self, request: Request) -> None:
        """Insert, or replace the row of the same id."""
        ...

    def put_grant(self, grant: Grant) -> None: ...
    def revoke_token(self, jti: str, until: float, by: str, reason: str) -> None:
        """Refuse this token until ``until`` (its expiry), after which the row may be pruned."""
        ...

    def put_lock(self, lock: Lock) -> None: ...
    def remove_lock(self, scope: Scope, key: str) -> bool: ...
    def put_session(self, session: SessionRecord) -> None: ...
    def put_node(self, node: Node) -> None: ...
    def remove_node(self, id: str) -> None: ...
    def append(self, event: Event) -> int:
        """Chain the event to the trail; its sequence."""
        ...

    def put_trail_head(self, head: TrailHead) -> None: ...
    def publish(
        self,
        kind: FeedKind,
        scope: Scope,
        key: str,
        *,
        by: str = "",
        reason: str = "",
        data: Mapping[str, object] | None = None,
    ) -> int:
        """Put an item on the feed; its sequence. Seen by nodes when the transaction commits, never before. KeyError
        for a kind that this version does not know."""
        ...

    def prune_feed(self, older_than: float) -> int: ...


class Store(Protocol):
    """Where everything that must survive lives, trail included."""

    async def read(self, query: Callable[[Reader], T]) -> T: ...
    async def commit(self, unit: Callable[[Writer], T]) -> T: ...


class Feed(Protocol):
    """The feed as one node follows it: wakes for a doorbell, a NOTIFY or a change seen by polling."""

    async def wait(self) -> None:
        """Return when there may be something new (or after the polling interval at most); never raises."""
        ...

    async def after(self, seq: int) -> list[FeedItem]:
        """Items over ``seq``, oldest first. ``Unavailable`` when the store cannot be read."""
        ...


class Doorbell(Protocol):
    """Tells the other processes of this machine to look at the feed now. Losing a ring loses nothing."""

    def ring(self) -> None: ...


class Recorder(Protocol):
    """The recording of one session. ``write`` is one memory copy and returns with the record handed to the
    operating system (it survives kill -9 of this process). Errors: ``Unavailable`` with code ``recorder_failed``;
    after it nothing more may be forwarded."""

    def write(self, record: Record) -> None: ...

    async def durable(self) -> None:
        """Wait until everything written is on disk (only where ``durability = "disk"``)."""
        ...

    @property
    def behind(self) -> bool:
        """Whether so much was written in bulk (``Passed``) that no more should be read until ``caught_up``."""
        ...

    async def caught_up(self) -> None:
        """Wait until all that waits now has been worked off."""
        ...

    async def close(self, end: Mapping[str, object]) -> str:
        """Seal with a last record of JSON-able ``end``; the final digest (hex)."""
        ...


class Recordings(Protocol):
    """Opens recorders. ``key`` is where the recording will be found (also while it is live)."""

    def open(self, session: str, header: Mapping[str, object]) -> tuple[str, Recorder]: ...


class HeadMemory(Protocol):
    """What this host remembers, beside its key and not in the store: the newest head that it signed, or saw signed.
    Errors of both: ``Unavailable`` (code ``keys_unsafe``)."""

    def newest(self) -> TrailHead | None:
        """Return it; one of row 0 where the key was made here and has signed nothing; None where nothing is
        remembered, as of a key that came from another host."""
        ...

    def keep(self, head: TrailHead) -> None:
        """Remember ``head``, unless what is remembered is newer. On disk when it returns."""
        ...


class TokenKeys(Protocol):
    """The signing keys: Ed25519, PEM-free. ``current`` signs; ``public`` verifies (overlap on rotation)."""

    def current(self) -> tuple[str, object]:
        """(kid, Ed25519PrivateKey)"""
        ...

    def public(self) -> Mapping[str, object]:
        """kid -> Ed25519PublicKey, of every key whose tokens may still live."""
        ...


class Seal(Protocol):
    """Authenticates texts under a key outside the store. ``domain`` says what a text is, as "grant 2": what was
    said of one thing proves nothing of another."""

    def mac(self, domain: str, text: str) -> str:
        """Return the code (hex) of a text."""
        ...

    def fits(self, domain: str, text: str, mac: str) -> bool:
        """Return whether ``mac`` is that of the text."""
        ...


class TargetCertificates(Protocol):
    """What issues the certificates that the gateway enters SSH targets with."""

    def issue_for_target(
        self, principal: str, key_id: str, life: float = 300.0, *, forwarding: bool = False
    ) -> tuple[bytes, bytes]:
        """A fresh key for one session and its certificate for ``principal`` on a target: (OpenSSH's PEM, line).
        ``life`` in seconds, to log in within; with ``forwarding`` ports may be forwarded."""
        ...


class SshKeys(TargetCertificates, Protocol):
    """The gateway's own SSH key and its three authorities, all Ed25519: one for users' certificates, which only the
    gateway believes, one for its sessions' certificates, which targets believe, one for its own host key, which
    users believe. Certificates and public keys are lines ``type base64 [comment]`` without a line feed."""

    def host_key(self) -> bytes:
        """The private host key, OpenSSH's PEM."""
        ...

    def alias(self) -> str:
        """The name that every host certificate is for, for ``HostKeyAlias``: it holds by whatever address the
        gateway is reached."""
        ...

    def host_certificate(self, names: Sequence[str]) -> bytes:
        """The host key's certificate for ``names`` (and the alias), good for 30 days: make one daily."""
        ...

    def user_authorities(self) -> tuple[bytes, ...]:
        """The public blobs of the authorities whose user certificates are believed."""
        ...

    def issue_user(
        self,
        public_key: bytes,
        principal: str,
        key_id: str,
        identity: str,
        networks: Sequence[str],
        valid_after: int,
        valid_before: int,
    ) -> bytes:
        """A user's certificate of ``public_key`` (a blob) with a random serial; usable from ``networks`` alone
        where there are any."""
        ...

    def targets_authority(self) -> bytes:
        """What targets believe (``TrustedUserCAKeys``)."""
        ...

    def next_targets_authority(self) -> bytes:
        """What they must believe besides, before it signs; b"" where none is about to."""
        ...

    def hosts_authority(self) -> bytes:
        """What users believe (``@cert-authority`` in ``known_hosts``)."""
        ...


class LearntHosts(Protocol):
    """Host keys that targets showed the first time, where the configuration says that this is enough. Lines
    ``algorithm base64``, by resource."""

    def known(self, resource: str) -> str:
        """The key learnt of a resource; "" when there is none."""
        ...

    def learn(self, resource: str, key: str) -> str:
        """Keep a key unless there is one already; the key that is known now. Two processes may learn at once."""
        ...


class Passwords(Protocol):
    """Checks a person's password against the configuration, off the loop, bounded."""

    async def verify(self, name: str, password: str) -> bool:
        """False for a wrong password and an unknown name alike, in the same time."""
        ...


class Metrics(Protocol):
    """Counts and measures by name; see ``adapters.metrics`` for the table of names and their labels."""

    def count(self, name: str, by: float = 1, **labels: str) -> None: ...
    def gauge(self, name: str, value: float, **labels: str) -> None: ...
    def observe(self, name: str, seconds: float, **labels: str) -> None: ...


class Rows(Protocol):
    """Decodes what a recording keeps raw: protocol specific, given to the API by the composition root."""

    def parameter(self, oid: int, format: int, value: bytes) -> object: ...
    def rows(self, description: bytes, rows: Iterable[bytes]) -> list[dict[str, object]]: ...
