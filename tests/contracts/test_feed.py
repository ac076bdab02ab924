"""What every follower of the feed can rely on: ``core.ports.Feed``."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from proxy.adapters.doorbell import UnixDoorbell
from proxy.adapters.feed import FeedFollower, PostgresqlSource, SqliteSource
from proxy.adapters.store.opening import sqlite_path
from proxy.core.errors import Unavailable
from proxy.core.feed import EFFECTS, FeedItem, FeedKind, Scope
from proxy.core.ports import Feed, Store, Writer
from tests.contracts.conftest import Home

LONG = 30.0  # a polling interval that no test waits for
SOON = 10.0  # when a test gives up


@pytest.fixture
async def store(home: Home) -> AsyncIterator[Store]:
    async with home.open() as opened:
        yield opened


@pytest.fixture
async def feed(home: Home, store: Store) -> AsyncIterator[Feed]:
    async with home.feed() as opened:
        yield opened


def cut(key: str) -> Callable[[Writer], int]:
    return lambda writer: writer.publish(FeedKind.CUT, Scope.SESSION, key, by="dave", reason="“why”", data={"n": 1})


def quiet(home: Home, wake: asyncio.Event, bell: Path | None = None) -> FeedFollower:
    """A follower that hears only what wakes it."""
    path = sqlite_path(home.url)
    source = PostgresqlSource(home.url, wake, LONG) if path is None else SqliteSource(path, LONG)
    return FeedFollower(source, wake, bell)


async def test_items_come_in_order_from_the_last_one_seen(store: Store, feed: Feed) -> None:
    assert await feed.after(0) == []
    for key in "abc":
        await store.commit(cut(key))
    items = await feed.after(0)
    assert [(item.seq, item.key) for item in items] == [(1, "a"), (2, "b"), (3, "c")]
    assert await feed.after(1) == items[1:]
    assert await feed.after(3) == []
    assert items == await store.read(lambda r: r.feed_after(0))


RAW = (
    'INSERT INTO feed (seq, at, kind, scope, "key", "by", reason, data, effect) '
    "VALUES ({seq}, 1.0, '{kind}', '{scope}', 'k', 'dave', 'why', '{data}', '{effect}')"
)


@pytest.mark.parametrize("data", ["{}", "[1]", "not json", '{"a":', "[" * 9000], ids=range(5))
async def test_what_a_later_version_or_a_curious_hand_wrote_is_read_too(sql_home: Home, data: str) -> None:
    async with sql_home.open() as store, sql_home.feed() as feed:
        await store.commit(cut("a"))
        words = {"kind": "paused", "scope": "team", "effect": "ends", "data": data}
        sql_home.execute(RAW.format(seq=2, **words))
        sql_home.execute("UPDATE heads SET feed_seq = 2")
        await store.commit(cut("b"))
        items = await feed.after(0)
        assert items == await store.read(lambda r: r.feed_after(0))
        assert [(item.seq, item.kind.is_known, item.ends) for item in items] == [
            (1, True, True),
            (2, False, True),
            (3, True, True),
        ]
        assert (items[1].kind.value, items[1].scope.value, items[1].data) == ("paused", "team", {})


async def test_nobody_publishes_what_they_do_not_know(store: Store) -> None:
    with pytest.raises(KeyError, match="paused"):
        await store.commit(lambda w: w.publish(FeedKind("paused"), Scope.ALL, ""))
    assert await store.commit(cut("a")) == 1
    assert await store.read(lambda r: r.feed_position()) == 1


async def test_every_item_says_what_it_does(store: Store) -> None:
    await store.commit(lambda w: [w.publish(kind, Scope.ALL, "") for kind in FeedKind])
    for item in await store.read(lambda r: r.feed_after(0)):
        assert item.effect is EFFECTS[item.kind]


async def test_waiting_ends_by_itself(feed: Feed) -> None:
    async with asyncio.timeout(SOON):
        await feed.wait()
        await feed.wait()


async def test_more_than_a_page_is_read_at_once(store: Store, feed: Feed) -> None:
    await store.commit(lambda w: [cut(str(n))(w) for n in range(1500)])
    assert [item.seq for item in await feed.after(0)] == list(range(1, 1501))


async def test_a_follower_that_is_behind_sees_that_items_were_pruned(store: Store, feed: Feed) -> None:
    for key in "abc":
        await store.commit(cut(key))
    await store.commit(lambda w: w.prune_feed(w.now() + 1000))
    assert [item.seq for item in await feed.after(1)] == [3], "the gap shows: 2 is missing"
    assert await feed.after(3) == []


async def test_a_store_that_was_put_back_is_not_believed(store: Store, feed: Feed) -> None:
    await store.commit(cut("a"))
    assert await feed.after(1) == []
    with pytest.raises(Unavailable):
        await feed.after(2)
    assert await feed.after(1) == []


async def test_a_commit_wakes_whoever_waits(sql_home: Home, tmp_path: Path) -> None:
    """By NOTIFY on PostgreSQL, by the doorbell on SQLite; the interval is longer than the test."""
    folder = tmp_path / "run"
    bell = folder / "node-1.bell" if sql_home.kind == "sqlite" else None
    wake = asyncio.Event()
    with closing(UnixDoorbell(folder)) as doorbell:
        async with sql_home.open(bell=doorbell) as store, quiet(sql_home, wake, bell) as feed:
            assert await feed.after(0) == []
            async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(feed.wait())
                await asyncio.sleep(0)
                await store.commit(cut("a"))
                await waiting
            assert [item.key for item in await feed.after(0)] == ["a"]


async def test_what_came_between_reading_and_waiting_is_not_slept_over(sql_home: Home) -> None:
    wake = asyncio.Event()
    async with sql_home.open() as store, quiet(sql_home, wake) as feed:
        await feed.after(0)
        await store.commit(cut("a"))
        async with asyncio.timeout(SOON):
            await feed.wait()


async def follow(feed: Feed, until: int) -> list[FeedItem]:
    seen: list[FeedItem] = []
    while len(seen) < until:
        await feed.wait()
        seen += await feed.after(seen[-1].seq if seen else 0)
    return seen


async def test_no_item_is_missed_while_several_publish(sql_home: Home) -> None:
    """The race that a plain sequence loses: a number taken early, committed late, behind a reader's back."""

    async def publish(store: Store, name: str) -> None:
        for n in range(25):
            await store.commit(cut(f"{name}{n}"))

    async with sql_home.open("one") as one, sql_home.open("two") as two, sql_home.feed() as feed:
        async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
            following = tasks.create_task(follow(feed, 100))
            for store, name in ((one, "a"), (one, "b"), (two, "c"), (two, "d")):
                tasks.create_task(publish(store, name))
        seen = following.result()
    assert [item.seq for item in seen] == list(range(1, 101))
    assert {item.key for item in seen} == {f"{name}{n}" for name in "abcd" for n in range(25)}
    for name in "abcd":
        mine = [item.key for item in seen if item.key[0] == name]
        assert mine == [f"{name}{n}" for n in range(25)], "one publisher's items stay in its order"


async def test_an_unreadable_feed_says_so_and_waiting_does_not(sql_home: Home) -> None:
    wake = asyncio.Event()
    async with sql_home.open() as store:
        await store.commit(cut("a"))
    async with sql_home.feed() as feed:
        assert len(await feed.after(0)) == 1
        sql_home.lose()
        with pytest.raises(Unavailable):
            await feed.after(0)
        async with asyncio.timeout(SOON):
            await feed.wait()
        with pytest.raises(Unavailable):
            await feed.after(0)
    async with quiet(sql_home, wake) as fresh:
        with pytest.raises(Unavailable):
            await fresh.after(0)


async def test_after_a_lost_connection_reading_goes_on(sql_home: Home) -> None:
    async with sql_home.open() as store, sql_home.feed() as feed:
        await store.commit(cut("a"))
        (first,) = await feed.after(0)
        sql_home.disturb()
        await store_again(store)
        async with asyncio.timeout(SOON):
            items: list[FeedItem] = []
            while not items:
                await feed.wait()
                with suppress(Unavailable):
                    items = await feed.after(first.seq)
    assert [item.key for item in items] == ["b"]


async def store_again(store: Store) -> None:
    """A commit whose connection was cut is refused, or tried again by the store itself: either is right."""
    try:
        await store.commit(cut("b"))
    except Unavailable:
        await store.commit(cut("b"))
