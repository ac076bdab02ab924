"""What the database itself refuses: whoever has its password can read the trail and the feed, not retouch them."""

import sqlite3
from collections.abc import AsyncIterator

import psycopg
import pytest

from proxy.core.events import LoggedIn
from proxy.core.feed import FeedKind, Scope
from proxy.core.ports import Store
from tests.contracts.conftest import Home
from tests.fakes.things import an_event

REFUSED = (sqlite3.IntegrityError, psycopg.errors.InsufficientPrivilege)


@pytest.fixture
async def store(sql_home: Home) -> AsyncIterator[Store]:
    """With three rows in the trail and three items on the feed."""
    async with sql_home.open() as opened:
        for key in "abc":
            await opened.commit(lambda w, key=key: w.append(an_event(LoggedIn, source=key)))  # type: ignore[misc]
            await opened.commit(lambda w, key=key: w.publish(FeedKind.CUT, Scope.SESSION, key))  # type: ignore[misc]
        yield opened


TAMPERING = [
    "UPDATE trail SET actor = 'nobody' WHERE seq = 2",
    "UPDATE trail SET seq = 9 WHERE seq = 3",
    "DELETE FROM trail WHERE seq = 3",
    "DELETE FROM trail",
    "UPDATE feed SET kind = 'keys' WHERE seq = 2",
    "DELETE FROM feed WHERE seq = 2",
    "DELETE FROM feed",
    "UPDATE heads SET trail_seq = 1",
    "UPDATE heads SET feed_seq = 0",
    "UPDATE heads SET feed_cutoff = -1",
    "UPDATE heads SET id = 2",
    "DELETE FROM heads",
    "INSERT INTO heads SELECT 2, trail_seq, trail_digest, feed_seq, feed_cutoff FROM heads",
]


@pytest.mark.parametrize("sql", TAMPERING)
async def test_tampering_is_refused(store: Store, sql_home: Home, sql: str) -> None:
    before = await store.read(lambda r: (r.trail_after(0), r.feed_after(0)))
    with pytest.raises(REFUSED):
        sql_home.execute(sql)
    assert await store.read(lambda r: (r.trail_after(0), r.feed_after(0))) == before
    assert await store.commit(lambda w: w.append(an_event(LoggedIn))) == 4


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        ("sqlite", "INSERT OR REPLACE INTO trail SELECT * FROM trail WHERE seq = 2"),
        ("sqlite", "INSERT OR REPLACE INTO feed SELECT * FROM feed WHERE seq = 2"),
        ("sqlite", "INSERT OR REPLACE INTO heads VALUES (1, 0, '', 0, 0)"),
        ("postgresql", "TRUNCATE trail"),
        ("postgresql", "TRUNCATE feed"),
        ("postgresql", "TRUNCATE heads"),
        ("postgresql", "INSERT INTO feed SELECT * FROM feed ON CONFLICT (seq) DO UPDATE SET kind = 'keys'"),
    ],
)
async def test_back_doors_of_one_database_are_shut(store: Store, sql_home: Home, kind: str, sql: str) -> None:
    if kind == sql_home.kind:
        with pytest.raises(REFUSED):
            sql_home.execute(sql)
        assert len(await store.read(lambda r: r.trail_after(0))) == 3


async def test_sqlite_refuses_a_row_that_does_not_continue_the_chain(store: Store, sql_home: Home) -> None:
    if sql_home.kind == "sqlite":
        row = "at, node, kind, actor, NULL, NULL, NULL, NULL, NULL, body"
        hashed = "format, body_digest, salt"
        for forged in (f"5, {row}, digest, 'x', {hashed}", f"4, {row}, 'wrong', 'x', {hashed}"):
            with pytest.raises(REFUSED):
                sql_home.execute(f"INSERT INTO trail SELECT {forged} FROM trail WHERE seq = 3")


async def test_only_what_the_store_has_declared_old_can_be_deleted(store: Store, sql_home: Home) -> None:
    now = await store.read(lambda r: r.now())
    assert await store.commit(lambda w: w.prune_feed(now + 100)) == 2
    await store.commit(lambda w: w.publish(FeedKind.CUT, Scope.SESSION, "d"))
    sql_home.execute(f"UPDATE feed SET seq = seq WHERE at > {now + 1000}")  # touches nothing, so is no tampering
    sql_home.execute(f"UPDATE heads SET feed_cutoff = {now + 200}")  # what pruning itself does: time only goes on
    sql_home.execute(f"DELETE FROM feed WHERE at < {now + 200} AND seq < 4")
    assert [item.seq for item in await store.read(lambda r: r.feed_after(0))] == [4]
