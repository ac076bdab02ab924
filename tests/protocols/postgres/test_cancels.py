"""Whose a cancel key is, among workers: this one's, another's, or nobody's. The signals themselves: tests/e2e."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from proxy.core.feed import FeedItem, FeedKind, Scope
from proxy.core.ports import Node
from proxy.core.sessions import ServedBy
from proxy.protocols.postgres import cancels
from proxy.protocols.postgres.cancels import Cancels
from proxy.protocols.postgres.startup import Cancel
from tests.fakes.clock import FakeClock
from tests.fakes.store import MemoryStore
from tests.fakes.things import ENDED, a_session

SECRET = b"s" * 32
SOURCE = "10.0.0.1"


HERE, OTHER = "node-a-0", "node-b-0"
PID = 4711


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

    async def session(self, id: str, node: str, pid: int = PID, **changes: Any) -> None:
        """A live session in the store."""
        record = a_session(id, node=node, served_by=ServedBy(pid, 1.0), **changes)
        await self.store.commit(lambda writer: writer.put_session(record))

    def passed_on(self) -> list[tuple[str, object]]:
        return [(each.key, each.data["session"]) for each in self.store.state.feed if each.kind is FeedKind.CANCEL]

    def refused(self) -> int:
        return len([each for each in self.store.state.trail if each.kind == "cancel_refused"])


@pytest.fixture
async def workers() -> Workers:
    made = Workers(MemoryStore(), FakeClock())
    await made.there(HERE, OTHER)
    return made


def filed(cancels: Cancels, id: str, pid: int = PID) -> list[str]:
    """A session of this worker that can be cancelled; the sessions that are."""
    live: Any = SimpleNamespace(session=SimpleNamespace(id=id))
    cancels.file(pid, live)
    done: list[str] = []

    async def cancel(session: str) -> None:
        done.append(session)

    cancels.cancel = cancel  # type: ignore[method-assign]
    return done


@pytest.mark.parametrize("length", [4, 32])
async def test_of_all_sessions_with_a_pid_the_one_whose_key_it_is_is_cancelled(
    workers: Workers, length: int
) -> None:
    """Two targets may give one pid, here and on other workers."""
    here, other = workers.cancels(HERE), workers.cancels(OTHER)
    names = [f"sess-{number}" for number in range(1100)]
    for name in names:
        await workers.session(name, OTHER)
    for name in ("sess-here-1", "sess-here-2"):
        done = filed(here, name)
        await workers.session(name, HERE)
    for name in ("sess-here-2", "sess-here-1"):
        await here.carry_out(Cancel(PID, here.key(name, PID, length)), SOURCE)
    assert done == ["sess-here-2", "sess-here-1"]
    for name in (names[0], names[-1], names[600]):
        await here.carry_out(Cancel(PID, other.key(name, PID, length)), SOURCE)
    assert workers.passed_on() == [(OTHER, names[0]), (OTHER, names[-1]), (OTHER, names[600])]
    assert workers.refused() == 0


@pytest.mark.parametrize("length", [4, 32])
async def test_the_next_session_with_a_pid_is_not_cancelled_by_the_last_ones_key(
    workers: Workers, length: int
) -> None:
    here = workers.cancels(HERE)
    key = here.key("sess-1", PID, length)
    filed(here, "sess-1")
    here.forget(PID, "sess-1")
    await workers.session("sess-1", HERE, **ENDED)
    done = filed(here, "sess-2")
    await workers.session("sess-2", HERE)
    await here.carry_out(Cancel(PID, key), SOURCE)
    assert (done, workers.passed_on(), workers.refused()) == ([], [], 1)


async def test_nothing_is_kept_of_sessions_that_have_ended(workers: Workers) -> None:
    here = workers.cancels(HERE)
    for name in ("sess-1", "sess-2"):
        filed(here, name)
        here.forget(PID, name)
    here.forget(PID, "sess-3")
    assert not here._live and not here._sessions


async def test_a_session_of_this_worker_that_is_just_ending_is_no_guess(workers: Workers) -> None:
    here = workers.cancels(HERE)
    await workers.session("sess-1", HERE)
    await here.carry_out(Cancel(PID, here.key("sess-1", PID, 4)), SOURCE)
    assert (workers.passed_on(), workers.refused()) == ([], 0)


async def test_a_pid_of_ours_is_another_for_each_session(workers: Workers) -> None:
    here = workers.cancels(HERE)
    assert here.pid(PID) == PID
    pids = set()
    for number in range(100):
        pid = here.pid(0)
        filed(here, f"sess-{number}", pid)
        pids.add(pid)
    assert len(pids) == 100


@pytest.mark.parametrize("key", [b"nope", b"n" * 32, b"nope!", b"n"])
async def test_a_key_of_nobody_is_refused(workers: Workers, key: bytes) -> None:
    here = workers.cancels(HERE)
    done = filed(here, "sess-1")
    await workers.session("sess-2", OTHER)
    await here.carry_out(Cancel(PID, key), SOURCE)
    assert (done, workers.passed_on(), workers.refused()) == ([], [], 1)


async def test_a_long_key_that_nobody_made_costs_the_store_no_look(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = workers.cancels(HERE)
    looks: list[object] = []
    monkeypatch.setattr(here, "_owner", lambda reader, asked: looks.append(asked))
    await here.carry_out(Cancel(PID, b"n" * 32), SOURCE)
    assert not looks
    await here.carry_out(Cancel(PID, b"nope"), SOURCE)
    assert len(looks) == 1


async def test_who_guesses_is_not_listened_to_any_more(workers: Workers) -> None:
    """Neither here nor in the store: a guesser's luck is worth nothing."""
    here, other = workers.cancels(HERE, guesses=2), workers.cancels(OTHER)
    done = filed(here, "sess-1")
    await workers.session("sess-2", OTHER)
    mine, others = Cancel(PID, here.key("sess-1", PID, 4)), Cancel(PID, other.key("sess-2", PID, 4))
    for _ in range(2):
        await here.carry_out(Cancel(PID, b"nope"), SOURCE)
    for asked in (mine, others):
        await here.carry_out(asked, SOURCE)
    assert (done, workers.passed_on()) == ([], [])
    for asked in (mine, others):
        await here.carry_out(asked, "10.0.0.2")
    assert (done, workers.passed_on()) == (["sess-1"], [(OTHER, "sess-2")])


@pytest.mark.parametrize("length", [4, 32])
async def test_a_flood_of_guesses_takes_the_cancel_from_nobody_else_behind_its_address(
    workers: Workers, length: int
) -> None:
    here = workers.cancels(HERE, guesses=2)
    done = filed(here, "sess-1")
    for pid in range(1, 50):
        await here.carry_out(Cancel(pid, b"nope"), SOURCE)
    await here.carry_out(Cancel(PID, here.key("sess-1", PID, length)), SOURCE)
    assert done == ["sess-1"]
    assert len(here._wrong) == 1  # nothing is kept of pids that nobody has
    assert workers.refused() == 2


async def test_no_flood_closes_the_door_for_a_key_that_proves_itself(workers: Workers) -> None:
    here, other = workers.cancels(HERE, guesses=2), workers.cancels(OTHER)
    await workers.session("sess-2", OTHER)
    for _ in range(5):
        await here.carry_out(Cancel(PID, b"nope"), SOURCE)
    await here.carry_out(Cancel(PID, other.key("sess-2", PID, 4)), SOURCE)
    assert workers.passed_on() == []
    await here.carry_out(Cancel(PID, other.key("sess-2", PID, 32)), SOURCE)
    assert workers.passed_on() == [(OTHER, "sess-2")]


async def test_guesses_count_while_nobody_can_be_asked_whose_they_are(workers: Workers) -> None:
    here = workers.cancels(HERE, guesses=2)
    await workers.session("sess-2", OTHER)
    asked = Cancel(PID, workers.cancels(OTHER).key("sess-2", PID, 4))
    workers.store.lost = True
    for _ in range(2):
        await here.carry_out(asked, SOURCE)
    workers.store.lost = False
    await here.carry_out(asked, SOURCE)
    assert workers.passed_on() == []


async def test_the_connection_is_kept_until_the_other_worker_has_read_so_far(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancels, "LOOK", 0.01)
    await workers.there(OTHER, seen=0)
    await workers.session("sess-2", OTHER)
    asked = Cancel(PID, workers.cancels(OTHER).key("sess-2", PID, 32))
    here = workers.cancels(HERE)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        carried_out = tasks.create_task(here.carry_out(asked, SOURCE))
        while not workers.passed_on():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert not carried_out.done()
        await workers.there(OTHER, seen=1)


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        (FeedItem(1, 1.0, FeedKind.CANCEL, Scope.NODE, HERE, data={"session": "sess-7"}), ["sess-7"]),
        (FeedItem(1, 1.0, FeedKind.CANCEL, Scope.NODE, OTHER, data={"session": "sess-7"}), []),
        (FeedItem(1, 1.0, FeedKind.CANCEL, Scope.NODE, HERE, data={"session": 7}), []),
        (FeedItem(1, 1.0, FeedKind.CANCEL, Scope.NODE, HERE, data={"pid": 7}), []),
        (FeedItem(1, 1.0, FeedKind.KEYS, Scope.ALL, HERE, data={"session": "sess-7"}), []),
    ],
)
async def test_only_cancels_for_this_worker_are_carried_out(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, item: FeedItem, wanted: list[str]
) -> None:
    here = workers.cancels(HERE)
    carried_out: list[str] = []

    async def cancel(session: str) -> None:
        carried_out.append(session)

    monkeypatch.setattr(here, "cancel", cancel)
    await running(here, lambda: here.informed(item))
    assert carried_out == wanted


async def test_a_flood_of_cancels_is_bounded(workers: Workers) -> None:
    here = workers.cancels(HERE)
    for number in range(cancels.WAITING_MOST + 10):
        data = {"session": f"sess-{number}"}
        here.informed(FeedItem(1, 1.0, FeedKind.CANCEL, Scope.NODE, HERE, data=data))
    assert here._passed_on.qsize() == cancels.WAITING_MOST


async def running(here: Cancels, act: Callable[[], None]) -> None:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(here.run())
        act()
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
