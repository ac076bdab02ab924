"""The watch: items carried out in order, the lease, and sessions that were filed after an item had been handled."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest
import structlog

from proxy.core.errors import Unavailable
from proxy.core.feed import Effect, FeedItem, FeedKind, Scope
from proxy.core.states import EndReason
from proxy.sessions.registry import Registry
from proxy.sessions.watch import STRANGE, Watch
from tests.fakes.clock import FakeClock


class ScriptedFeed:
    """Gives what is put into ``items``; cannot be read while ``broken``."""

    def __init__(self) -> None:
        self.items: list[FeedItem] = []
        self.broken = False
        self.wake = asyncio.Event()

    async def wait(self) -> None:
        self.wake.clear()
        await self.wake.wait()

    async def after(self, seq: int) -> list[FeedItem]:
        if self.broken:
            raise Unavailable("gone")
        return [each for each in self.items if each.seq > seq]

    def put(self, *items: FeedItem) -> None:
        self.items += items
        self.wake.set()


class Kept:
    id = "s1"

    def __init__(self) -> None:
        self.reasons: list[EndReason] = []

    def end(self, reason: EndReason, detail: str = "", requested: float | None = None) -> None:
        self.reasons.append(reason)

    def extend(self, item: FeedItem) -> None: ...


def revoked(seq: int, grant: str) -> FeedItem:
    return FeedItem(seq, 1.0, FeedKind.REVOKED, Scope.GRANT, grant)


@contextlib.asynccontextmanager
async def running(watch: Watch):  # type: ignore[no-untyped-def]
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watch.run())
        await asyncio.sleep(0.01)
        yield
        task.cancel()


async def until(wanted: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not wanted():  # noqa: ASYNC110 (what it waits for says nothing when it happens)
            await asyncio.sleep(0.001)


async def test_a_revocation_reaches_a_filed_session() -> None:
    feed, registry, session = ScriptedFeed(), Registry(), Kept()
    watch = Watch(feed, registry, FakeClock(), lease=10, start=0)
    registry.file(session, Scope.GRANT, "g1")
    async with running(watch):
        feed.put(revoked(1, "g2"), revoked(2, "g1"))
        await asyncio.sleep(0.01)
        assert session.reasons == [EndReason.GRANT_REVOKED]
        assert watch.position == 2


async def test_a_session_filed_late_catches_up_from_its_snapshot() -> None:
    """Subscribe first, check second, whichever way the race goes."""
    feed, registry, session = ScriptedFeed(), Registry(), Kept()
    watch = Watch(feed, registry, FakeClock(), lease=10, start=0)
    async with running(watch):
        feed.put(revoked(1, "g1"))
        await asyncio.sleep(0.01)
        watch.catch_up(session, 1, {(Scope.GRANT, "g1")})
        assert not session.reasons
        watch.catch_up(session, 0, {(Scope.GRANT, "g1")})
        assert session.reasons == [EndReason.GRANT_REVOKED]


async def test_a_snapshot_older_than_the_memory_is_refused() -> None:
    watch = Watch(ScriptedFeed(), Registry(), FakeClock(), lease=10, start=5)
    with pytest.raises(Unavailable):
        watch.catch_up(Kept(), 3, set())


async def test_beyond_the_lease_nobody_is_admitted_and_all_are_cut() -> None:
    feed, registry, session, clock = ScriptedFeed(), Registry(), Kept(), FakeClock()
    watch = Watch(feed, registry, clock, lease=10, start=0)
    registry.file(session, Scope.GRANT, "g1")
    async with running(watch):
        feed.broken = True
        feed.wake.set()
        await asyncio.sleep(0.1)
        assert watch.fresh()
        assert not session.reasons
        clock.advance(11)
        assert not watch.fresh()
        await asyncio.sleep(0.12)
        assert EndReason.STORE_LOST in session.reasons


async def test_pruned_items_end_everything() -> None:
    feed, registry, session = ScriptedFeed(), Registry(), Kept()
    watch = Watch(feed, registry, FakeClock(), lease=10, start=0)
    registry.file(session, Scope.GRANT, "g1")
    async with running(watch):
        feed.put(revoked(7, "other"))
        await asyncio.sleep(0.01)
        assert session.reasons == [EndReason.STORE_LOST]


async def test_who_missed_items_reads_configuration_and_keys_again() -> None:
    feed, told = ScriptedFeed(), []
    watch = Watch(feed, Registry(), FakeClock(), lease=10, start=0)
    watch.listeners.append(lambda item: told.append(item.kind))
    async with running(watch):
        feed.put(revoked(7, "other"))
        await asyncio.sleep(0.01)
    assert told == [FeedKind.RELOADED, FeedKind.KEYS]


async def test_a_listener_that_fails_keeps_nobody_from_hearing_of_revocations() -> None:
    feed, registry, session, told = ScriptedFeed(), Registry(), Kept(), []
    watch = Watch(feed, registry, FakeClock(), lease=10, start=0)
    registry.file(session, Scope.GRANT, "g1")

    def fails(item: FeedItem) -> None:
        raise OSError("no such file")

    watch.listeners += [fails, told.append]
    async with running(watch):
        feed.put(FeedItem(1, 1.0, FeedKind.KEYS, Scope.ALL, ""), revoked(2, "g1"))
        await asyncio.sleep(0.01)
        assert session.reasons == [EndReason.GRANT_REVOKED]
        assert [each.seq for each in told] == [1]


def later(seq: int, kind: str, scope: str, effect: str) -> FeedItem:
    return FeedItem(seq, 1.0, FeedKind(kind), Scope(scope), "k", effect=Effect(effect))


async def test_words_of_a_later_version_are_passed_by_and_told_once_a_kind() -> None:
    feed, registry, session, heard = ScriptedFeed(), Registry(), Kept(), []
    watch = Watch(feed, registry, FakeClock(), lease=10, start=0)
    watch.listeners.append(heard.append)
    registry.file(session, Scope.GRANT, "g1")
    with structlog.testing.capture_logs() as told:
        async with running(watch):
            feed.put(*(later(seq, "paused", "team", "informs") for seq in range(1, 400)))
            feed.put(later(400, "paused", "grant", "informs"), revoked(401, "g1"))
            await until(lambda: watch.position == 401)
    assert session.reasons == [EndReason.GRANT_REVOKED]
    assert (heard, watch.fresh()) == ([], True)
    assert [(each["kind"], each["scope"], each["seq"]) for each in told] == [
        ("paused", "team", 1),
        ("paused", "grant", 400),
    ]


async def test_a_flood_of_different_words_fills_no_log() -> None:
    feed = ScriptedFeed()
    watch = Watch(feed, Registry(), FakeClock(), lease=10, start=0)
    with structlog.testing.capture_logs() as told:
        async with running(watch):
            feed.put(*(later(seq, f"word-{seq}", "x" * 10_000, "informs") for seq in range(1, 500)))
            await until(lambda: watch.position == 499)
    assert len(told) == STRANGE
    assert max(len(each["scope"]) for each in told) <= 64


async def test_an_end_of_a_scope_that_is_not_known_ends_everybody_who_comes_late_too() -> None:
    feed, registry, first, late = ScriptedFeed(), Registry(), Kept(), Kept()
    watch = Watch(feed, registry, FakeClock(), lease=10, start=0)
    registry.file(first, Scope.GRANT, "g1")
    async with running(watch):
        feed.put(later(1, "paused", "team", "informs"), later(2, "paused", "team", "ends"))
        await until(lambda: watch.position == 2)
    assert first.reasons == [EndReason.UNKNOWN_ORDER]
    watch.catch_up(late, 2, {(Scope.GRANT, "g1")})
    assert not late.reasons
    watch.catch_up(late, 0, {(Scope.GRANT, "g1")})
    assert late.reasons == [EndReason.UNKNOWN_ORDER]
