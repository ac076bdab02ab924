"""What the API is made of: everything it uses, given by the composition root. No route reaches past this.

The API runs in a process of its own, so that it never disturbs a session; it reaches the workers through the store
and its feed alone, and never imports ``sessions`` or ``protocols``.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from proxy.access.grants import Grants
from proxy.access.logins import Logins
from proxy.access.requests import Requests
from proxy.access.revocations import Revocation, Revocations
from proxy.access.tokens import Tokens
from proxy.api.shapes.sessions import Running
from proxy.core.identity import Catalog, Identity, Who
from proxy.core.ports import Clock, Doorbell, HeadMemory, Metrics, Passwords, SshKeys, Store
from proxy.core.sessions import SessionRecord


@dataclass(frozen=True, slots=True)
class Facts:
    """Public facts of the configuration.

    ``listeners``: protocol -> (host, port) for clients; host "" where it is the API's own name. ``lease``: how old,
    in seconds, a node's heartbeat may be. ``lag``: how far behind the feed, in seconds, a ready node may be.
    ``machine``: nodes called ``{machine}-N`` record on this machine ("": all nodes do). ``failed_logins``: how many
    a minute of one source network, and of one name, before it has to wait. ``keep``: seconds for which a recording
    is kept after its session's end (None: for ever).
    """

    listeners: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    lease: float = 10.0
    lag: float = 2.0
    version: str = ""
    machine: str = ""
    failed_logins: tuple[int, int] = (20, 10)
    keep: float | None = None


@dataclass(frozen=True, slots=True)
class Reload:
    """What a reload did: the new digest, the settings that changed, those that act only after a restart, those that
    are as they were and lead to something new (another certificate, another password), and what somebody should
    look at though it is no mistake."""

    digest: str
    changed: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    renewed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """What saying that the store was put back did: the row that the trail goes on from, its new origin, the last
    row that is lost (0: none is known), and what was revoked."""

    seq: int
    origin: int
    lost: int
    revocation: Revocation


@dataclass(frozen=True, slots=True)
class Ran:
    """A page of joined records, oldest first. ``truncated``: the recording has no seal (live, or its node died)."""

    items: Sequence[Mapping[str, Any]]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Noted:
    """A note of a recording: ``at`` in epoch seconds, its kind (see ``core.records.Note``) and its data."""

    at: float
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a recording keeps of a statement's bytes or terminal: the ``number`` of its record, seconds from the
    recording's start, the statement's ``seq``; ``kind`` is ``output``, ``input``, ``errors`` (with ``data``) or
    ``resize`` (with ``columns`` and ``rows``)."""

    number: int
    at: float
    statement: int
    kind: str
    data: bytes | None = None
    columns: int | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class KeptPage:
    """``reached``: the number of the last record that was looked at; ``more``: there are others behind it.
    ``began``: the recording's start in epoch seconds."""

    items: Sequence[Kept]
    reached: int
    more: bool
    began: float


class RecordingReader(Protocol):
    """Reads the recordings this machine holds; plain functions that are called in a thread. None where it holds
    none of that session."""

    def statements(self, session: SessionRecord, after: int, limit: int) -> Ran | None:
        """Statements with a ``seq`` over ``after``."""
        ...

    def running(self, session: SessionRecord, at: float | None = None) -> Running | None:
        """The statement that runs now; if none does, the one that ran at an instant (epoch seconds)."""
        ...

    def open(self, session: SessionRecord) -> BinaryIO | None:
        """The container, to be read and closed by the caller."""
        ...

    def notes(self, session: SessionRecord, after: int, limit: int) -> Sequence[Noted] | None:
        """What was noted beside the statements, oldest first, but for the first ``after`` of it."""
        ...

    def output(self, session: SessionRecord, after: int, limit: int, statement: int = 0) -> KeptPage | None:
        """The bytes and sizes that were kept, from the record behind number ``after`` on; of one ``statement``, or
        of all (0). A page holds 1 MiB of bytes at most."""
        ...

    def digest(self, key: str) -> str | None:
        """The digest of a sealed recording; "" when it is not whole."""
        ...

    def sealed(self) -> Iterator[tuple[str, float]]:
        """The keys of all recordings here, and when each was last written to (epoch seconds)."""
        ...

    def silent(self, key: str) -> bool:
        """Whether nothing ran in a recording, as of a session that never began."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """Given once; ``catalog`` and ``facts`` give the configuration as it is now.

    ``recordings`` reads this machine's recordings (``folder.FolderRecordings``). ``metrics_text``: the union of all
    processes' figures. ``head_keys``: kid -> public key that signs trail heads; ``head_memory``: what this host
    remembers of what they signed. ``grounds``: why this process itself lets nobody in, in general words.
    ``reload(by)``, ``rotate_keys(by, distrust)`` and ``rotate_targets(by, switch)`` do the work and tell
    the trail and the feed themselves; the first raises ``PeerError`` with every problem found in the file, keeping
    the old configuration; the second gives the kid, and with ``distrust`` has what older keys signed refused at
    once; the third makes SSH targets' next authority, or has it sign. ``restored(by, reason)`` begins a new origin
    of the trail, told in it, and revokes everything; ``Denied`` for who is no admin.
    """

    store: Store
    requests: Requests
    grants: Grants
    revocations: Revocations
    tokens: Tokens
    ssh_keys: SshKeys
    logins: Logins
    passwords: Passwords
    catalog: Callable[[], Catalog]
    clock: Clock
    doorbell: Doorbell
    metrics: Metrics
    recordings: RecordingReader
    metrics_text: Callable[[], str]
    head_keys: Callable[[], Mapping[str, object]]
    grounds: Callable[[], Sequence[str]]
    head_memory: HeadMemory
    reload: Callable[[Who], Awaitable[Reload]]
    rotate_keys: Callable[[Who, bool], Awaitable[str]]
    rotate_targets: Callable[[Who, bool], Awaitable[None]]
    restored: Callable[[Identity, str], Awaitable[Restored]]
    facts: Callable[[], Facts] = Facts

    async def store_now(self) -> float:
        """The store's clock, by which grants end and heartbeats age: this machine's may differ."""
        return await self.store.read(lambda reader: reader.now())
