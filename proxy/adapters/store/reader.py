"""Reading: ``core.ports.Reader`` over one transaction's connection.

Statements that the session path uses are made once, so that SQLAlchemy finds them compiled. Knows rows, not
engines.
"""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from proxy.adapters.store import rows, tables
from proxy.adapters.store.prepared import Prepared
from proxy.core.access import Claims, Grant, Request
from proxy.core.feed import FeedItem, Scope
from proxy.core.ports import AdmissionFacts, Lock, Node, Page, Viewer
from proxy.core.sessions import SessionRecord
from proxy.core.states import RequestStatus, SessionStatus
from proxy.core.trail import TrailHead, TrailRow

Now = Callable[[], float]
"""The store's own clock."""


def by_id(table: sa.Table) -> "sa.Select[Any]":
    return sa.select(table).where(table.c.id == sa.bindparam("id"))


_REQUEST, _GRANT, _SESSION = by_id(tables.requests), by_id(tables.grants), Prepared(by_id(tables.sessions))
_TOKEN = sa.select(tables.revoked_tokens.c.jti).where(tables.revoked_tokens.c.jti == sa.bindparam("jti"))
_LOCK = sa.select(tables.locks).where(
    tables.locks.c.scope == sa.bindparam("scope"), tables.locks.c.key == sa.bindparam("key")
)
_HEADS = sa.select(tables.heads)
_FEED_OLDEST = sa.select(sa.func.min(tables.feed.c.seq))


def admission_statement() -> "sa.Select[Any]":
    """Everything the gate asks, in one row: the head is always there, the rest joins where it exists."""
    heads, grants, tokens, sessions = tables.heads, tables.grants, tables.revoked_tokens, tables.sessions
    identity, resource = tables.locks.alias("identity_lock"), tables.locks.alias("resource_lock")
    live = sa.select(sa.func.count()).where(
        sessions.c.grant_id == sa.bindparam("grant"), sessions.c.status == str(SessionStatus.LIVE)
    )
    revoked = sa.select(tokens.c.jti).where(tokens.c.jti == sa.bindparam("jti"))
    told = sa.select(tables.trail.c.seq).where(
        tables.trail.c.grant_id == sa.bindparam("grant"), sa.text(f"trail.{tables.REVOKED}")
    )
    locked = [
        each.label(f"{lock.name}_{name}") for lock in (identity, resource) for name, each in lock.columns.items()
    ]
    joined = (
        heads.outerjoin(grants, grants.c.id == sa.bindparam("grant"))
        .outerjoin(identity, sa.and_(identity.c.scope == str(Scope.IDENTITY), identity.c.key == grants.c.identity))
        .outerjoin(resource, sa.and_(resource.c.scope == str(Scope.RESOURCE), resource.c.key == grants.c.resource))
    )
    return sa.select(
        grants,
        *locked,
        heads.c.feed_seq,
        live.scalar_subquery().label("live_sessions"),
        sa.exists(revoked).label("token_revoked"),
        sa.exists(told).label("revocation_told"),
    ).select_from(joined)


_ADMISSION = Prepared(admission_statement())


class SqlReader:
    """``core.ports.Reader``. ``now`` is asked again at every call."""

    def __init__(self, connection: sa.Connection, now: Now) -> None:
        self._connection = connection
        self._now = now

    def now(self) -> float:
        return self._now()

    def request(self, id: str) -> Request | None:
        row = self._connection.execute(_REQUEST, {"id": id}).first()
        return None if row is None else rows.to_request(row)

    def requests(
        self,
        page: Page,
        *,
        identity: str | None = None,
        status: str | None = None,
        resource: str | None = None,
        viewer: Viewer | None = None,
    ) -> list[Request]:
        ways = () if viewer is None else requests_of(viewer)
        found = self._page(tables.requests, page, ways=ways, identity=identity, status=status, resource=resource)
        return [rows.to_request(row) for row in found]

    def pending_requests(self, expired_by: float) -> list[Request]:
        """Requests still pending whose ``expires`` is not after ``expired_by``."""
        requests = tables.requests
        query = sa.select(requests).where(
            requests.c.status == str(RequestStatus.PENDING), requests.c.expires <= expired_by
        )
        return [rows.to_request(row) for row in self._connection.execute(query.order_by(requests.c.id.desc()))]

    def grant(self, id: str) -> Grant | None:
        row = self._connection.execute(_GRANT, {"id": id}).first()
        return None if row is None else rows.to_grant(row)

    def grants(
        self,
        page: Page,
        *,
        identity: str | None = None,
        resource: str | None = None,
        live_at: float | None = None,
        viewer: Viewer | None = None,
    ) -> list[Grant]:
        grants = tables.grants
        live = () if live_at is None else (grants.c.revoked.is_(None), grants.c.ends > live_at)
        ways = () if viewer is None else grants_of(viewer)
        found = self._page(grants, page, *live, ways=ways, identity=identity, resource=resource)
        return [rows.to_grant(row) for row in found]

    def admission_facts(self, claims: Claims) -> AdmissionFacts:
        row = _ADMISSION.first(self._connection, {"grant": claims.grant, "jti": claims.jti})
        return AdmissionFacts(
            grant=None if row.id is None else rows.to_grant(row),
            token_revoked=bool(row.token_revoked),
            revocation_told=bool(row.revocation_told),
            identity_lock=_lock(row, "identity_lock"),
            resource_lock=_lock(row, "resource_lock"),
            live_sessions=row.live_sessions,
            now=self.now(),
            feed_position=row.feed_seq,
        )

    def token_revoked(self, jti: str) -> bool:
        return self._connection.execute(_TOKEN, {"jti": jti}).first() is not None

    def lock(self, scope: Scope, key: str) -> Lock | None:
        row = self._connection.execute(_LOCK, {"scope": str(scope), "key": key}).first()
        return None if row is None else rows.to_lock(row)

    def locks(self) -> list[Lock]:
        locks = tables.locks
        query = sa.select(locks).order_by(locks.c.at.desc(), locks.c.scope.desc(), locks.c.key.desc())
        return [rows.to_lock(row) for row in self._connection.execute(query)]

    def session(self, id: str) -> SessionRecord | None:
        row = _SESSION.first(self._connection, {"id": id})
        return None if row is None else rows.to_session(row)

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
        status = None if live is None else str(SessionStatus.LIVE if live else SessionStatus.ENDED)
        wanted = {"status": status, "identity": identity, "resource": resource, "grant_id": grant, "node": node}
        found = self._page(tables.sessions, page, ways=(), **wanted, pid=pid)
        return [rows.to_session(row) for row in found]

    def feed_position(self) -> int:
        return int(self._connection.execute(_HEADS).one().feed_seq)

    def feed_after(self, seq: int, limit: int = 1000) -> list[FeedItem]:
        feed = tables.feed
        query = sa.select(feed).where(feed.c.seq > seq).order_by(feed.c.seq).limit(limit)
        return [rows.to_feed_item(row) for row in self._connection.execute(query)]

    def feed_oldest(self) -> int:
        oldest = self._connection.execute(_FEED_OLDEST).scalar()
        return self.feed_position() + 1 if oldest is None else int(oldest)

    def trail_after(
        self,
        seq: int,
        limit: int = 1000,
        *,
        kind: str | None = None,
        actor: str | None = None,
        subject: tuple[str, str] | None = None,
    ) -> list[TrailRow]:
        query = _trail(kind, actor, subject).where(tables.trail.c.seq > seq).order_by(tables.trail.c.seq)
        return [rows.to_trail_row(row) for row in self._connection.execute(query.limit(limit))]

    def trail_before(
        self,
        seq: int | None,
        limit: int = 100,
        *,
        kind: str | None = None,
        actor: str | None = None,
        subject: tuple[str, str] | None = None,
    ) -> list[TrailRow]:
        query = _trail(kind, actor, subject).order_by(tables.trail.c.seq.desc()).limit(limit)
        if seq is not None:
            query = query.where(tables.trail.c.seq < seq)
        return [rows.to_trail_row(row) for row in self._connection.execute(query)]

    def trail_head(self) -> tuple[int, str]:
        """From the last row itself: ``heads`` is a convenience of writers, the trail is what is verified."""
        trail = tables.trail
        row = self._connection.execute(sa.select(trail).order_by(trail.c.seq.desc()).limit(1)).first()
        return (0, "") if row is None else (row.seq, row.digest)

    def trail_heads(self, after: int = 0, limit: int = 1000) -> list[TrailHead]:
        heads = tables.trail_heads
        query = sa.select(heads).where(heads.c.seq > after).order_by(heads.c.seq).limit(limit)
        return [rows.to_trail_head(row) for row in self._connection.execute(query)]

    def newest_trail_heads(self, limit: int = 100) -> list[TrailHead]:
        heads = tables.trail_heads
        query = sa.select(heads).order_by(heads.c.origin.desc(), heads.c.seq.desc()).limit(limit)
        return [rows.to_trail_head(row) for row in self._connection.execute(query)]

    def nodes(self) -> list[Node]:
        nodes = tables.nodes
        query = sa.select(nodes).order_by(nodes.c.started.desc(), nodes.c.id.desc())
        return [rows.to_node(row) for row in self._connection.execute(query)]

    def _page(
        self,
        table: sa.Table,
        page: Page,
        *conditions: "sa.ColumnElement[bool]",
        ways: "Sequence[sa.ColumnElement[bool]]" = (),
        **wanted: str | int | None,
    ) -> "sa.CursorResult[Any]":
        """``ways``: only rows that fit one of them (none given: all). Each is looked for by its own index, and a
        page of each is enough for a page of all."""
        conditions += tuple(table.c[name] == value for name, value in wanted.items() if value is not None)
        if page.before:
            conditions += (table.c.id < page.before,)
        newest = table.c.id.desc()
        parts = [sa.select(table.c.id).where(way, *conditions).order_by(newest).limit(page.limit) for way in ways]
        if parts:
            conditions = (table.c.id.in_(sa.union(*(sa.select(part.subquery().c.id) for part in parts))),)
        return self._connection.execute(sa.select(table).where(*conditions).order_by(newest).limit(page.limit))


def approved_by(id: str) -> "sa.Select[Any]":
    """The requests the person of this id said yes to."""
    return sa.select(tables.approvals.c.request_id).where(tables.approvals.c.by == id)


def requests_of(viewer: Viewer) -> "list[sa.ColumnElement[bool]]":
    """The ways by which somebody may see a request, as ``access.people.sees_request`` says."""
    requests = tables.requests
    decide = [requests.c.approvers == group for group in sorted(viewer.groups) if group]
    return [requests.c.identity == viewer.id, requests.c.id.in_(approved_by(viewer.id)), *decide]


def grants_of(viewer: Viewer) -> "list[sa.ColumnElement[bool]]":
    """The ways by which somebody may see a grant, as ``access.people.sees_grant`` says."""
    return [tables.grants.c.identity == viewer.id, tables.grants.c.request.in_(approved_by(viewer.id))]


def _lock(row: Any, name: str) -> Lock | None:
    if getattr(row, f"{name}_scope") is None:
        return None
    wanted = ("scope", "key", "by", "reason", "at", "name", "by_name")
    scope, *rest = (getattr(row, f"{name}_{each}") for each in wanted)
    return Lock(Scope(scope), *rest)


def _trail(kind: str | None, actor: str | None, subject: tuple[str, str] | None) -> "sa.Select[Any]":
    query = sa.select(tables.trail)
    if kind is not None:
        query = query.where(tables.trail.c.kind == kind)
    if actor is not None:
        query = query.where(tables.trail.c.actor == actor)
    if subject is not None:
        name, value = subject
        column = rows.SUBJECTS.get(name)
        query = query.where(sa.false() if column is None else tables.trail.c[column] == value)
    return query
