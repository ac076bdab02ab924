"""Changing: ``core.ports.Writer`` over one transaction's connection and the heads it holds."""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from proxy.adapters.store import rows, tables
from proxy.adapters.store.heads import Heads, RowFormat
from proxy.adapters.store.prepared import Prepared
from proxy.adapters.store.reader import Now, SqlReader
from proxy.core.access import Claims, Grant, Request
from proxy.core.events import Event
from proxy.core.feed import FeedItem, FeedKind, Scope
from proxy.core.ports import AdmissionFacts, Lock, Node
from proxy.core.sessions import SessionRecord
from proxy.core.trail import TrailHead, TrailRow

_INSERT: Mapping[str, Callable[[sa.Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def upsert(dialect: str, table: sa.Table) -> Any:
    """Insert, or replace every column of the row with the same key."""
    statement = _INSERT[dialect](table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


_PUT: Mapping[tuple[str, str], Prepared] = {
    (dialect, table.name): Prepared(upsert(dialect, table))
    for dialect in _INSERT
    for table in (
        tables.requests,
        tables.grants,
        tables.revoked_tokens,
        tables.locks,
        tables.sessions,
        tables.nodes,
        tables.trail_heads,
    )
}


class SqlWriter(SqlReader):
    """``core.ports.Writer``; ``node`` is whose trail rows these are, ``format`` says in which format they are."""

    def __init__(self, connection: sa.Connection, now: Now, heads: Heads, node: str, format: RowFormat) -> None:
        super().__init__(connection, now)
        self._heads = heads
        self._node = node
        self._format = format

    def put_request(self, request: Request) -> None:
        self._put(tables.requests, rows.request_values(request))
        approvals = tables.approvals
        self._connection.execute(sa.delete(approvals).where(approvals.c.request_id == request.id))
        if yes := rows.approval_values(request):
            self._connection.execute(sa.insert(approvals), yes)

    def put_grant(self, grant: Grant) -> None:
        self._put(tables.grants, rows.grant_values(grant))

    def revoke_token(self, jti: str, until: float, by: str, reason: str) -> None:
        self._put(tables.revoked_tokens, {"jti": jti, "until": until, "by": by, "reason": reason})

    def put_lock(self, lock: Lock) -> None:
        self._put(tables.locks, rows.lock_values(lock))

    def remove_lock(self, scope: Scope, key: str) -> bool:
        """Whether there was one."""
        locks = tables.locks
        gone = sa.delete(locks).where(locks.c.scope == str(scope), locks.c.key == key)
        return self._connection.execute(gone).rowcount > 0

    def put_session(self, session: SessionRecord) -> None:
        self._put(tables.sessions, rows.session_values(session))

    def put_node(self, node: Node) -> None:
        self._put(tables.nodes, rows.node_values(node))

    def remove_node(self, id: str) -> None:
        self._connection.execute(sa.delete(tables.nodes).where(tables.nodes.c.id == id))

    def append(self, event: Event) -> int:
        # float: a whole number would come back from the database as 5.0, and its digest would not be that of 5
        return self._heads.append(event, float(self.now()), self._node, self._format.of(self))

    def put_trail_head(self, head: TrailHead) -> None:
        self._put(tables.trail_heads, rows.trail_head_values(head))

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
        return self._heads.publish(self.now(), kind, scope, key, (by, reason), data or {})

    def prune_feed(self, older_than: float) -> int:
        """Delete items from before ``older_than``, but never the last one: a reader that is behind sees by the
        first sequence it gets that something is missing. Tokens that expired before it are forgotten too. Returns
        the number of items deleted."""
        self._heads.flush(self._connection)
        heads, feed, tokens = tables.heads, tables.feed, tables.revoked_tokens
        self._connection.execute(
            sa.update(heads).where(heads.c.feed_cutoff < older_than).values(feed_cutoff=older_than)
        )
        self._connection.execute(sa.delete(tokens).where(tokens.c.until < older_than))
        old = sa.delete(feed).where(feed.c.at < older_than, feed.c.seq < self._heads.feed_seq)
        return self._connection.execute(old).rowcount

    # What reads trail or feed must see what this transaction has added to them.

    def admission_facts(self, claims: Claims) -> AdmissionFacts:
        self._heads.flush(self._connection)
        return super().admission_facts(claims)

    def feed_position(self) -> int:
        return self._heads.feed_seq

    def feed_after(self, seq: int, limit: int = 1000) -> list[FeedItem]:
        self._heads.flush(self._connection)
        return super().feed_after(seq, limit)

    def feed_oldest(self) -> int:
        self._heads.flush(self._connection)
        return super().feed_oldest()

    def trail_after(
        self,
        seq: int,
        limit: int = 1000,
        *,
        kind: str | None = None,
        actor: str | None = None,
        subject: tuple[str, str] | None = None,
    ) -> list[TrailRow]:
        self._heads.flush(self._connection)
        return super().trail_after(seq, limit, kind=kind, actor=actor, subject=subject)

    def trail_before(
        self,
        seq: int | None,
        limit: int = 100,
        *,
        kind: str | None = None,
        actor: str | None = None,
        subject: tuple[str, str] | None = None,
    ) -> list[TrailRow]:
        self._heads.flush(self._connection)
        return super().trail_before(seq, limit, kind=kind, actor=actor, subject=subject)

    def trail_head(self) -> tuple[int, str]:
        return self._heads.trail_seq, self._heads.trail_digest

    def _put(self, table: sa.Table, values: rows.Values) -> None:
        _PUT[self._connection.dialect.name, table.name].run(self._connection, values)
