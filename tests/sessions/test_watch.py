"""The watch: items carried out in order, the lease, and sessions that were filed after an item had been handled."""

import asyncio
import contextlib

import pytest

from proxy.core.errors import Unavailable
from proxy.core.feed import FeedItem, FeedKind, Scope
from proxy.core.states import EndReason
from proxy.sessions.registry import Registry
from proxy.sessions.watch import Watch
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
