"""Whose a cancel key is, among workers: this one's, another's, or nobody's. The signals themselves: tests/e2e."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from proxy.core.feed import FeedItem, FeedKind, Scope
from proxy.core.ports import Node
from proxy.protocols.postgres import cancels
from proxy.protocols.postgres.cancels import Cancels
from proxy.protocols.postgres.keys import node_number
from proxy.protocols.postgres.startup import Cancel
from tests.fakes.clock import FakeClock
from tests.fakes.store import MemoryStore

SECRET = b"s" * 32
SOURCE = "10.0.0.1"


def twins() -> tuple[str, str]:
    """Two names of workers with one number."""
    seen: dict[int, str] = {}
    for each in count():
        name = f"node-{each}"
        if (twin := seen.setdefault(node_number(name), name)) != name:
            return twin, name
    raise AssertionError


HERE, TWIN = twins()
OTHER = next(name for each in count() if node_number(name := f"other-{each}") != node_number(HERE))


@dataclass
class Workers:
    """One store, and the cancels of workers on it."""

    store: MemoryStore
    clock: FakeClock

    def cancels(self, node: str, guesses: int = 10) -> Cancels:
        services: Any = SimpleNamespace(
            store=self.store,
            clock=self.clock,
            node=node,
            started=1.0,
            loop=asyncio.get_running_loop(),
            log=structlog.get_logger(),
        )
        return Cancels(services, SECRET, guesses)

    async def there(self, *nodes: str, seen: int = 10**9) -> None:
        def unit(writer: Any) -> None:
            for each in nodes:
                writer.put_node(Node(each, "host", 1.0, 1.0, seen, "digest"))

        await self.store.commit(unit)

    def passed_on(self) -> list[tuple[str, object]]:
        return [(each.key, each.data["pid"]) for each in self.store.state.feed if each.kind is FeedKind.CANCEL]

    def refused(self) -> int:
        return len([each for each in self.store.state.trail if each.kind == "cancel_refused"])


@pytest.fixture
async def workers() -> Workers:
    made = Workers(MemoryStore(), FakeClock())
    await made.there(HERE, TWIN, OTHER)
    return made


@pytest.mark.parametrize("length", [4, 32])
@pytest.mark.parametrize("owner", [TWIN, OTHER])
async def test_a_key_of_another_worker_is_passed_on(workers: Workers, owner: str, length: int) -> None:
    """Whether or not its name has this worker's number."""
    pid, key = workers.cancels(owner).new_key(length)
    await workers.cancels(HERE).carry_out(Cancel(pid, key), SOURCE)
    assert workers.passed_on() == [(owner, pid)]
    assert workers.refused() == 0


async def test_a_key_of_this_worker_is_not_passed_on(workers: Workers) -> None:
    here = workers.cancels(HERE)
    pid, key = here.new_key(32)
    await here.carry_out(Cancel(pid, key), SOURCE)
    assert (workers.passed_on(), workers.refused()) == ([], 0)


async def test_a_key_of_nobody_is_refused(workers: Workers) -> None:
    here = workers.cancels(HERE)
    for worker in (HERE, OTHER):
        pid, _ = workers.cancels(worker).new_key(4)
        await here.carry_out(Cancel(pid, b"nope"), SOURCE)
    assert workers.passed_on() == []
    assert workers.refused() == 1


async def test_who_guesses_is_not_listened_to_any_more(workers: Workers) -> None:
    here, other = workers.cancels(HERE, guesses=2), workers.cancels(OTHER)
    pid, key = other.new_key(4)
    for _ in range(2):
        await here.carry_out(Cancel(pid, b"nope"), SOURCE)
    await here.carry_out(Cancel(pid, key), SOURCE)
    assert workers.passed_on() == []
    await here.carry_out(Cancel(pid, key), "10.0.0.2")
    assert workers.passed_on() == [(OTHER, pid)]


async def test_guesses_count_while_nobody_can_be_asked_whose_they_are(workers: Workers) -> None:
    here = workers.cancels(HERE, guesses=2)
    pid, key = workers.cancels(OTHER).new_key(4)
    workers.store.lost = True
    for _ in range(2):
        await here.carry_out(Cancel(pid, b"nope"), SOURCE)
    workers.store.lost = False
    await here.carry_out(Cancel(pid, key), SOURCE)
    assert workers.passed_on() == []


async def test_the_connection_is_kept_until_the_other_worker_has_read_so_far(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancels, "LOOK", 0.01)
    await workers.there(OTHER, seen=0)
    pid, key = workers.cancels(OTHER).new_key(32)
    here = workers.cancels(HERE)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        carried_out = tasks.create_task(here.carry_out(Cancel(pid, key), SOURCE))
        while not workers.passed_on():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert not carried_out.done()
        await workers.there(OTHER, seen=1)


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        (FeedItem(1, 1.0, FeedKind.CANCEL, Scope.NODE, HERE, data={"pid": 7}), [7]),
        (FeedItem(1, 1.0, FeedKind.CANCEL, Scope.NODE, OTHER, data={"pid": 7}), []),
        (FeedItem(1, 1.0, FeedKind.CANCEL, Scope.NODE, HERE, data={"pid": "7"}), []),
        (FeedItem(1, 1.0, FeedKind.KEYS, Scope.ALL, HERE, data={"pid": 7}), []),
    ],
)
async def test_only_cancels_for_this_worker_are_carried_out(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, item: FeedItem, wanted: list[int]
) -> None:
    here, carried_out = workers.cancels(HERE), []

    async def cancel(pid: int) -> None:
        carried_out.append(pid)

    monkeypatch.setattr(here, "cancel", cancel)
    await running(here, lambda: here.informed(item))
    assert carried_out == wanted


async def test_a_flood_of_cancels_is_bounded(workers: Workers) -> None:
    here = workers.cancels(HERE)
    for pid in range(cancels.WAITING_MOST + 10):
        here.informed(FeedItem(1, 1.0, FeedKind.CANCEL, Scope.NODE, HERE, data={"pid": pid}))
    assert here._passed_on.qsize() == cancels.WAITING_MOST


async def running(here: Cancels, act: Callable[[], None]) -> None:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(here.run())
        act()
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
