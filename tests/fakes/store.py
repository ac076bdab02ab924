"""The store in memory: passes the same contract suite as the SQL one (tests/contracts/test_store.py).

A unit works on a copy that replaces the state when it returns, so nothing of a unit that raises is kept. ``lost``
makes everything answer ``Unavailable``; ``MemoryFeed`` follows the same store.
"""

import asyncio
import copy
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from proxy.audit.chain import SALT_BYTES, salted
from proxy.core.access import Claims, Grant, Request
from proxy.core.errors import Unavailable
from proxy.core.events import Event
from proxy.core.feed import EFFECTS, FeedItem, FeedKind, Scope
from proxy.core.ports import AdmissionFacts, Clock, Lock, Node, Page, Viewer
from proxy.core.sessions import SessionRecord
from proxy.core.states import RequestStatus, SessionStatus
from proxy.core.trail import TrailHead, TrailRow
from tests.fakes.clock import FakeClock

T = TypeVar("T")
Row = TypeVar("Row", Request, Grant, SessionRecord)


@dataclass
class State:
    """Everything the store holds."""

    requests: dict[str, Request] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    locks: dict[tuple[Scope, str], Lock] = field(default_factory=dict)
    sessions: dict[str, SessionRecord] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    trail: list[TrailRow] = field(default_factory=list)
    heads: dict[int, TrailHead] = field(default_factory=dict)
    feed: list[FeedItem] = field(default_factory=list)
    published: int = 0

    def copy(self) -> "State":
        """Its collections are copied, their frozen members shared."""
        values: dict[str, Any] = {each.name: copy.copy(getattr(self, each.name)) for each in fields(self)}
        return State(**values)


def paged(rows: Iterable[Row], page: Page, **wanted: str | None) -> list[Row]:
    """Newest first, older than ``page.before``, with the attributes wanted (None: any)."""
    found = [
        row
        for row in sorted(rows, key=lambda row: row.id, reverse=True)
        if (not page.before or row.id < page.before)
        and all(value is None or getattr(row, name) == value for name, value in wanted.items())
    ]
    return found[: page.limit]


def said_yes(viewer: Viewer, request: Request | None) -> bool:
    return request is not None and any(each.by == viewer.id and each.approved for each in request.approvals)


def sees(viewer: Viewer, request: Request) -> bool:
    decides = bool(request.decision.approvers) and request.decision.approvers in viewer.groups
    return request.identity == viewer.id or decides or said_yes(viewer, request)


class MemoryWriter:
    """``core.ports.Writer`` (and so ``Reader``) over a ``State``."""

    def __init__(self, state: State, clock: Clock, node: str) -> None:
        self._state = state
        self._clock = clock
        self._node = node

    # -- reading

    def now(self) -> float:
        return self._clock.now()

    def request(self, id: str) -> Request | None:
        return self._state.requests.get(id)

    def requests(
        self,
        page: Page,
        *,
        identity: str | None = None,
        status: str | None = None,
        resource: str | None = None,
        viewer: Viewer | None = None,
    ) -> list[Request]:
        rows = [each for each in self._state.requests.values() if viewer is None or sees(viewer, each)]
        return paged(rows, page, identity=identity, status=status, resource=resource)

    def pending_requests(self, expired_by: float) -> list[Request]:
        everything = Page(limit=len(self._state.requests))
        pending = paged(self._state.requests.values(), everything, status=RequestStatus.PENDING)
        return [request for request in pending if request.expires <= expired_by]

    def grant(self, id: str) -> Grant | None:
        return self._state.grants.get(id)

    def grants(
        self,
        page: Page,
        *,
        identity: str | None = None,
        resource: str | None = None,
        live_at: float | None = None,
        viewer: Viewer | None = None,
    ) -> list[Grant]:
        rows = [
            grant
            for grant in self._state.grants.values()
            if (live_at is None or (grant.revoked is None and grant.ends > live_at))
            and (
                viewer is None
                or grant.identity == viewer.id
                or said_yes(viewer, self._state.requests.get(grant.request))
            )
        ]
        return paged(rows, page, identity=identity, resource=resource)

    def admission_facts(self, claims: Claims) -> AdmissionFacts:
        state, grant = self._state, self._state.grants.get(claims.grant)
        live = [each for each in state.sessions.values() if each.status is SessionStatus.LIVE]
        return AdmissionFacts(
            grant=grant,
            token_revoked=claims.jti in state.tokens,
            revocation_told=any(
                matches(row, "grant_revoked", None, ("grant", claims.grant)) for row in state.trail
            ),
            identity_lock=state.locks.get((Scope.IDENTITY, grant.identity)) if grant else None,
            resource_lock=state.locks.get((Scope.RESOURCE, grant.resource)) if grant else None,
            live_sessions=sum(each.grant == claims.grant for each in live),
            now=self.now(),
            feed_position=state.published,
        )

    def token_revoked(self, jti: str) -> bool:
        return jti in self._state.tokens

    def lock(self, scope: Scope, key: str) -> Lock | None:
        return self._state.locks.get((scope, key))

    def locks(self) -> list[Lock]:
        return sorted(self._state.locks.values(), key=lambda lock: (lock.at, lock.scope, lock.key), reverse=True)

    def session(self, id: str) -> SessionRecord | None:
        return self._state.sessions.get(id)

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
        status = None if live is None else SessionStatus.LIVE if live else SessionStatus.ENDED
        rows = [each for each in self._state.sessions.values() if pid in (None, each.served_by.pid)]
        return paged(rows, page, status=status, identity=identity, resource=resource, grant=grant, node=node)

    def feed_position(self) -> int:
        return self._state.published

    def feed_after(self, seq: int, limit: int = 1000) -> list[FeedItem]:
        return [item for item in self._state.feed if item.seq > seq][:limit]

    def feed_oldest(self) -> int:
        return self._state.feed[0].seq if self._state.feed else self._state.published + 1

    def trail_after(
        self,
        seq: int,
        limit: int = 1000,
        *,
        kind: str | None = None,
        actor: str | None = None,
        subject: tuple[str, str] | None = None,
    ) -> list[TrailRow]:
        rows = (row for row in self._state.trail if row.seq > seq)
        return [row for row in rows if matches(row, kind, actor, subject)][:limit]

    def trail_before(
        self,
        seq: int | None,
        limit: int = 100,
        *,
        kind: str | None = None,
        actor: str | None = None,
        subject: tuple[str, str] | None = None,
    ) -> list[TrailRow]:
        rows = (row for row in reversed(self._state.trail) if seq is None or row.seq < seq)
        return [row for row in rows if matches(row, kind, actor, subject)][:limit]

    def trail_head(self) -> tuple[int, str]:
        last = self._state.trail[-1:]
        return (last[0].seq, last[0].digest) if last else (0, "")

    def trail_heads(self, after: int = 0, limit: int = 1000) -> list[TrailHead]:
        return [head for seq, head in sorted(self._state.heads.items()) if seq > after][:limit]

    def newest_trail_heads(self, limit: int = 100) -> list[TrailHead]:
        found = sorted(self._state.heads.values(), key=lambda head: (head.origin, head.seq), reverse=True)
        return found[:limit]

    def nodes(self) -> list[Node]:
        return sorted(self._state.nodes.values(), key=lambda node: (node.started, node.id), reverse=True)

    # -- changing

    def put_request(self, request: Request) -> None:
        self._state.requests[request.id] = request

    def put_grant(self, grant: Grant) -> None:
        self._state.grants[grant.id] = grant

    def revoke_token(self, jti: str, until: float, by: str, reason: str) -> None:
        self._state.tokens[jti] = until

    def put_lock(self, lock: Lock) -> None:
        self._state.locks[(lock.scope, lock.key)] = lock

    def remove_lock(self, scope: Scope, key: str) -> bool:
        return self._state.locks.pop((scope, key), None) is not None

    def put_session(self, session: SessionRecord) -> None:
        self._state.sessions[session.id] = session

    def put_node(self, node: Node) -> None:
        self._state.nodes[node.id] = node

    def remove_node(self, id: str) -> None:
        self._state.nodes.pop(id, None)

    def append(self, event: Event) -> int:
        seq, digest = self.trail_head()
        now, subjects, body = self.now(), event.subjects(), event.body()
        said = TrailRow(seq + 1, now, self._node, event.kind, event.actor, subjects, body, digest, "")
        row = salted(said, secrets.token_hex(SALT_BYTES))
        self._state.trail.append(row)
        return row.seq

    def put_trail_head(self, head: TrailHead) -> None:
        self._state.heads[head.seq] = head

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
        self._state.published += 1
        item = FeedItem(self._state.published, self.now(), kind, scope, key, by, reason, data or {}, EFFECTS[kind])
        self._state.feed.append(item)
        return item.seq

    def prune_feed(self, older_than: float) -> int:
        last = self._state.published  # never pruned: see the port's SQL implementation
        kept = [item for item in self._state.feed if item.at >= older_than or item.seq == last]
        pruned = len(self._state.feed) - len(kept)
        self._state.feed = kept
        self._state.tokens = {jti: until for jti, until in self._state.tokens.items() if until >= older_than}
        return pruned


def matches(row: TrailRow, kind: str | None, actor: str | None, subject: tuple[str, str] | None) -> bool:
    return (
        (kind is None or row.kind == kind)
        and (actor is None or row.actor == actor)
        and (subject is None or row.subjects.get(subject[0]) == subject[1])
    )


class MemoryStore:
    """``core.ports.Store``. ``state`` may be looked at by tests; ``lost = True`` takes the database away."""

    def __init__(self, clock: Clock | None = None, node: str = "node-1") -> None:
        self.clock = clock or FakeClock()
        self.node = node
        self.state = State()
        self.lost = False
        self.commits = 0
        self.committed = asyncio.Condition()

    async def read(self, query: Callable[[MemoryWriter], T]) -> T:
        self._reachable()
        await asyncio.sleep(0)
        return query(MemoryWriter(self.state.copy(), self.clock, self.node))

    async def commit(self, unit: Callable[[MemoryWriter], T]) -> T:
        self._reachable()
        await asyncio.sleep(0)
        state = self.state.copy()
        result = unit(MemoryWriter(state, self.clock, self.node))
        self.state = state
        self.commits += 1
        async with self.committed:
            self.committed.notify_all()
        return result

    def _reachable(self) -> None:
        if self.lost:
            raise Unavailable("the store cannot be reached")

    async def __aenter__(self) -> "MemoryStore":
        return self

    async def __aexit__(self, *_: Any) -> None:
        return None


class MemoryFeed:
    """``core.ports.Feed`` over a ``MemoryStore``: wakes at its commits, or after ``interval`` seconds."""

    def __init__(self, store: MemoryStore, interval: float = 0.05) -> None:
        self._store = store
        self._interval = interval
        self._seen = 0

    async def wait(self) -> None:
        async with self._store.committed:
            if self._store.commits != self._seen:
                self._seen = self._store.commits
                return
            try:
                async with asyncio.timeout(self._interval):  # wait_for may swallow a cancellation (Python 3.11)
                    await self._store.committed.wait()
            except TimeoutError:
                return
            self._seen = self._store.commits

    async def after(self, seq: int) -> list[FeedItem]:
        items = await self._store.read(lambda reader: reader.feed_after(seq - 1, limit=10**9))
        if not items and seq > 0:
            raise Unavailable("the feed is behind what was already seen of it")
        return [item for item in items if item.seq > seq]

    async def __aenter__(self) -> "MemoryFeed":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


class FakeDoorbell:
    """``core.ports.Doorbell`` that counts."""

    def __init__(self) -> None:
        self.rung = 0

    def ring(self) -> None:
        self.rung += 1
