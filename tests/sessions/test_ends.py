"""Every end has a reason that is true, and the store hears of it: with a store that is away, clocks that are set,
targets that hang, and admissions that came to nothing."""

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.access import Admission, Decision, Outcome
from proxy.core.actions import Action, Statement
from proxy.core.errors import PeerError, Unavailable
from proxy.core.events import AdmissionUnused
from proxy.core.feed import FeedKind, Scope
from proxy.core.states import EndReason, SessionStatus
from proxy.sessions.ledger import Ledger
from tests.fakes import work
from tests.fakes.clock import FakeClock
from tests.fakes.echo import EchoInspector
from tests.fakes.store import MemoryStore
from tests.fakes.things import ENDED, a_session, an_event
from tests.sessions.test_kernel import SETTINGS, Client, World, a_world, connected, until


def the_session(world: World) -> Any:
    (session,) = world.services.registry
    return session


# -- a store that is away


async def test_an_end_while_the_store_is_away_is_stored_when_it_is_back() -> None:
    async with a_world(SETTINGS) as world, connected(world) as client:
        world.store.lost = True
        world.clock.advance(11)
        assert (await client.hear()).startswith("FATAL store_lost")
        await until(lambda: not len(world.services.registry))
        assert not world.told("session_ended")
        world.store.lost = False
        record = await world.ended()
        assert record.end_reason is EndReason.STORE_LOST
        assert record.receipt is not None
        assert [each["end_reason"] for each in world.told("session_ended")] == ["store_lost"]


async def test_what_was_not_stored_by_the_stop_is_tried_once_more() -> None:
    async with a_world(SETTINGS) as world:
        async with connected(world):
            world.store.lost = True
        await until(lambda: world.kernel.known() and not len(world.services.registry))
        world.store.lost = False
        world.kernel.stop()
        assert (await world.ended()).end_reason is EndReason.CLIENT_CLOSED
    assert not world.kernel.known()


async def test_an_end_whose_commit_was_not_answered_is_stored_once() -> None:
    store, clock = MemoryStore(), FakeClock()
    ledger = Ledger(store, clock, Silent())
    record = a_session()
    await store.commit(lambda writer: writer.put_session(record))
    commit = store.commit

    async def unanswered(unit: Callable[[Any], Any]) -> Any:
        await commit(unit)
        raise Unavailable("the connection was lost")

    store.commit = unanswered  # type: ignore[method-assign]
    await ledger.ended(replace(record, **ENDED), UNUSED)
    store.commit = commit  # type: ignore[method-assign]
    assert list(ledger.untold()) == [record.id]
    await ledger.catch_up(0)
    assert not list(ledger.untold())
    assert [row.kind for row in store.state.trail] == ["session_ended"]


CLOSED = ENDED | {"end_reason": EndReason.CLIENT_CLOSED}


class Told:
    """A ledger over a store that knows ``count`` live sessions; their ends are told by tasks of their own."""

    def __init__(self, tasks: asyncio.TaskGroup, count: int = 3) -> None:
        self.store = MemoryStore()
        self.ledger = Ledger(self.store, FakeClock(), Silent())
        self.records = [a_session(f"session-{number:06}") for number in range(count)]
        self._tasks = tasks

    async def end(self, number: int, how: dict[str, Any] = CLOSED) -> asyncio.Task[None]:
        record = self.records[number]
        await self.store.commit(lambda writer: writer.put_session(record))
        task = self._tasks.create_task(self.ledger.ended(replace(record, **how), UNUSED))
        await asyncio.sleep(0)
        return task

    def ended(self) -> list[str]:
        return [row.body["session"] for row in self.store.state.trail if row.kind == "session_ended"]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end waits for others as long as it takes."""
    monkeypatch.setattr("proxy.sessions.ledger.TOGETHER", 3600.0)


async def test_ends_that_nobody_waits_for_are_told_in_one_commit() -> None:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        told = Told(tasks)
        running = [await told.end(number) for number in range(3)]
        before = told.store.commits
        await asyncio.gather(*running)
        assert told.store.commits == before + 1
        assert told.ended() == [each.id for each in told.records]


async def test_ends_that_wait_are_told_before_the_next_start(patient: None) -> None:
    """Or who comes again at once would find the session before it still counted."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        told = Told(tasks)
        running = [await told.end(0), await told.end(1)]
        fresh = a_session("session-000009", grant=told.records[0].grant)
        await told.ledger.began(fresh, an_admission(), 1)
        await asyncio.gather(*running)
        assert [row.kind for row in told.store.state.trail] == [
            *["session_ended"] * 2,
            *("admission_granted", "session_started"),
        ]


async def test_the_end_of_a_cut_waits_for_nobody_and_takes_the_others_along(patient: None) -> None:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        told = Told(tasks)
        waits = await told.end(0)
        cut = await told.end(1, ENDED)
        await asyncio.gather(waits, cut)
        await (await told.end(2, ENDED))
        assert told.ended() == [each.id for each in told.records]


async def test_who_tells_for_others_and_is_ended_leaves_their_ends_behind(patient: None) -> None:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        told = Told(tasks)
        first, second = await told.end(0), await told.end(1)
        first.cancel()
        await second
        assert list(told.ledger.untold()) == [told.records[0].id, told.records[1].id]
        await told.ledger.catch_up(0)
        assert told.ended() == [told.records[0].id, told.records[1].id]
        await (await told.end(2, ENDED))
        assert len(told.ended()) == 3


def an_admission() -> Any:
    return SimpleNamespace(jti="jti-1")


async def test_an_end_without_a_stored_start_is_an_admission_that_came_to_nothing() -> None:
    store = MemoryStore()
    store.lost = True
    ledger = Ledger(store, FakeClock(), Silent())
    await ledger.ended(a_session(**ENDED), UNUSED)
    store.lost = False
    await ledger.catch_up(0)
    assert [row.kind for row in store.state.trail] == ["admission_unused"]


class Silent:
    def error(self, *_: object, **__: object) -> None: ...
    def warning(self, *_: object, **__: object) -> None: ...


UNUSED: Any = an_event(AdmissionUnused, times=1)


# -- clocks


@contextlib.asynccontextmanager
async def set_back(seconds: float) -> AsyncIterator[tuple[World, Client]]:
    """A session that has ``seconds`` left, on a machine whose wall clock was set back an hour then. Less than a
    lease, so that the feed has no say."""
    async with a_world(SETTINGS) as world:
        world.ends = world.clock.now() + seconds
        async with connected(world) as client:
            world.clock.jump(-3600)
            yield world, client


async def heard_but_notices(client: Client) -> str:
    while (heard := await client.hear()).startswith("NOTICE"):
        pass
    return heard


async def test_a_wall_clock_that_is_set_back_prolongs_nothing() -> None:
    async with set_back(8) as (world, client):
        world.clock.advance(7)
        await client.say("still here")
        assert await heard_but_notices(client) == "still here"
        world.clock.advance(2)
        assert (await heard_but_notices(client)).startswith("FATAL grant_expired")


async def test_nor_does_it_prolong_an_extension() -> None:
    async with set_back(4) as (world, client):
        data = {"ends": world.ends + 4, "mac": "sealed"}
        await world.store.commit(
            lambda writer: writer.publish(FeedKind.EXTENDED, Scope.GRANT, "grant-1", data=data)
        )
        await until(lambda: the_session(world).admission.grant.ends == world.ends + 4)
        world.clock.advance(6)
        await client.say("still here")
        assert await heard_but_notices(client) == "still here"
        world.clock.advance(3)
        assert (await heard_but_notices(client)).startswith("FATAL grant_expired")


async def test_a_chunk_after_the_end_by_either_clock_is_not_forwarded() -> None:
    async with set_back(8) as (world, client):
        world.clock.advance(9)
        await client.say("too late")
        await client.rest()
        assert (await world.ended()).end_reason is EndReason.GRANT_EXPIRED
    assert b"too late\n" not in world.target.lines


# -- admissions that come to nothing


async def refused_connection(world: World, ok: str) -> None:
    async with connected(world, ok=ok):
        pass
    await until(lambda: not world.kernel.known())


async def test_an_admission_without_a_target_is_in_the_trail() -> None:
    async with a_world(SETTINGS) as world:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            world.target_port = unused.getsockname()[1]
        await refused_connection(world, "REFUSED target_unreachable")
        (event,) = world.told("admission_unused")
        assert (event["why"], event["detail"]) == ("target_unreachable", "the target does not answer")
        assert (event["grant"], event["identity"], event["times"]) == ("grant-1", "alice", 1)
        assert world.admissions() == ["target_unreachable"]


async def test_many_of_them_are_counted_not_written() -> None:
    async with a_world(SETTINGS) as world:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            world.target_port = unused.getsockname()[1]
        for _ in range(5):
            await refused_connection(world, "REFUSED target_unreachable")
        assert len(world.told("admission_unused")) == 1
    assert [each["times"] for each in world.told("admission_unused")] == [1, 4], (
        "the rest at the stop at the latest"
    )


async def test_nor_is_one_forgotten_that_could_not_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise Unavailable("the session cannot be recorded", code="recorder_failed")

    async with a_world(SETTINGS) as world:
        monkeypatch.setattr(world.recordings, "open", full)
        await refused_connection(world, "REFUSED recorder_failed")
        assert [each["why"] for each in world.told("admission_unused")] == ["recorder_failed"]


async def test_cut_on_the_way_in_is_in_the_trail_too() -> None:
    async with a_world(SETTINGS) as world:
        world.gate.between = lambda: world.revoke()
        await refused_connection(world, "REFUSED grant_revoked")
        assert [each["why"] for each in world.told("admission_unused")] == ["grant_revoked"]


async def test_a_session_that_started_is_no_admission_that_came_to_nothing() -> None:
    async with a_world(SETTINGS) as world:
        async with connected(world):
            pass
        await world.ended()
    assert not world.told("admission_unused")
    assert world.admissions() == ["allowed"]


# -- whose fault it was


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PeerError("the connection was closed", code="closed"), EndReason.CLIENT_CLOSED),
        (PeerError("what is this", code="protocol"), EndReason.PROTOCOL_ERROR),
        (ValueError("our own"), EndReason.RECORDER_FAILED),
    ],
)
async def test_what_goes_wrong_after_the_start_is_called_what_it_is(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: EndReason
) -> None:
    async with a_world(SETTINGS) as world:
        monkeypatch.setattr("proxy.sessions.session.Session.relay", failing(error))
        async with connected(world):
            record = await world.ended()
        assert record.end_reason is reason
        assert world.admissions() == ["allowed"], "one admission has one result"


def failing(error: Exception) -> Callable[..., Awaitable[None]]:
    async def fails(*_: object) -> None:
        raise error

    return fails


async def test_a_start_whose_answer_was_lost_ends_as_the_stores_fault() -> None:
    async with a_world(SETTINGS) as world:
        commit = world.store.commit

        async def unanswered(unit: Callable[[Any], Any]) -> Any:
            await commit(unit)
            world.store.commit = commit  # type: ignore[method-assign]
            raise Unavailable("the store cannot be reached", code="store_lost")

        world.store.commit = unanswered  # type: ignore[method-assign]
        async with connected(world, ok="REFUSED store_lost"):
            pass
        assert (await world.ended()).end_reason is EndReason.STORE_LOST
        assert world.admissions() == ["store_lost"]


async def test_a_target_that_hangs_is_not_called_the_clients_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(*_: object) -> None:
        await asyncio.Event().wait()

    async with a_world(replace(SETTINGS, login_timeout=0.2)) as world:
        monkeypatch.setattr("proxy.sessions.session.Session.dial", hangs)
        await refused_connection(
            world, "REFUSED target_unreachable: the target cannot be reached: it took too long"
        )
        assert [each["why"] for each in world.told("admission_unused")] == ["target_unreachable"]


async def test_a_target_that_takes_nothing_is_cut() -> None:
    async with a_world(replace(SETTINGS, write_stall=0.5)) as world, connected(world) as client:
        await client.say("slow")  # it reads nothing more until it is made to stop
        client.writer.write((b"x" * 999 + b"\n") * 20_000)
        assert "the target read nothing" in await client.hear()
        record = await world.ended()
        assert record.end_reason is EndReason.STALLED


async def test_a_client_that_takes_nothing_is_cut() -> None:
    async with a_world(replace(SETTINGS, write_stall=0.5)) as world, connected(world) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.say("flood")
        record = await world.ended()
        assert record.end_reason is EndReason.STALLED
        assert "the client read nothing" in record.detail


# -- too many at once


async def test_sessions_of_a_grant_are_counted_where_they_are_stored() -> None:
    """All are admitted on snapshots in which none of the others is there yet."""
    settings = replace(SETTINGS, sessions_per_grant=2)
    async with a_world(settings) as world, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(world, "")) for _ in range(5)]
        for client in clients:
            await client.say("good")
        heard = sorted([await client.hear() for client in clients])
        assert heard[:2] == ["OK", "OK"]
        assert all(each.startswith("REFUSED too_many_sessions: too many sessions") for each in heard[2:])
        live = [each for each in await world.sessions() if each.status is SessionStatus.LIVE]
        assert len(live) == 2
    assert {each["why"] for each in world.told("admission_unused")} == {"too_many_sessions"}
    assert sum(each["times"] for each in world.told("admission_unused")) == 3


# -- what must not take the others along


async def test_a_tick_that_fails_ends_that_session_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_world(SETTINGS) as world, connected(world) as first:
        broken = the_session(world)
        monkeypatch.setattr(broken, "_idle_for", lambda monotonic: 1 / 0)
        async with connected(world) as second:
            assert (await first.hear()).startswith("FATAL recorder_failed")
            await second.say("still here")
            assert await second.hear() == "still here"


async def test_a_duty_that_fails_does_not_end_the_gateway() -> None:
    async with a_world(SETTINGS) as world, connected(world) as client:
        done = asyncio.Event()

        async def fails() -> None:
            raise ValueError("surprise")

        async def works() -> None:
            done.set()

        world.kernel.every_second += [fails, works]
        await asyncio.wait_for(done.wait(), 5)
        await client.say("still here")
        assert await client.hear() == "still here"


async def test_refusals_that_were_counted_are_written_before_a_stop() -> None:
    flushed: list[float] = []
    async with a_world(SETTINGS) as world:

        async def flush(now: float) -> None:
            flushed.append(now)

        world.gate.flush = flush
    assert flushed[-1] == math.inf


# -- decisions


async def test_what_an_inspector_asks_is_allowed_where_no_rule_is() -> None:
    async with a_world(SETTINGS) as world, connected(world) as client:
        await client.say("ask me")
        assert await client.hear() == "ask me"
        await client.say("and on")
        assert await client.hear() == "and on"


async def test_a_denial_reaches_the_client_and_nothing_the_target() -> None:
    asked: list[Action] = []

    async def deny(admission: Admission, action: Action) -> Decision:
        asked.append(action)
        return Decision(Outcome.DENY, reason="not today")

    async with a_world(SETTINGS, decide=deny) as world, connected(world) as client:
        await client.say("ask me")
        assert await client.hear() == "DENIED not today"
        await client.say("other")
        assert await client.hear() == "other"
    assert asked == [Statement("ask me")]
    assert b"ask me\n" not in world.target.lines


async def test_while_one_session_has_something_thought_about_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(EchoInspector, "work", partial(work.until_there, str(tmp_path / "go on")))
    async with a_world(SETTINGS) as world, connected(world) as client, connected(world) as other:
        await client.say("think")
        await client.say("and on")
        await other.say("meanwhile")
        assert await other.hear() == "meanwhile"
        assert world.target.lines == [b"meanwhile\n"]
        (tmp_path / "go on").touch()
        assert [await client.hear(), await client.hear()] == ["think", "and on"]


async def test_a_session_is_cut_while_something_is_thought_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(EchoInspector, "work", partial(work.until_there, str(tmp_path / "go on")))
    async with a_world(SETTINGS) as world, connected(world) as client:
        await client.say("think")
        await world.revoke()
        assert (await client.hear()).startswith("FATAL grant_revoked")
        (tmp_path / "go on").touch()
        assert (await world.ended()).end_reason is EndReason.GRANT_REVOKED
        await until(lambda: world.target.lines == [b"bye\n"])


async def test_what_cannot_be_thought_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EchoInspector, "work", staticmethod(work.fails))
    async with a_world(SETTINGS) as world, connected(world) as client:
        await client.say("think")
        assert (await client.hear()).startswith("FATAL recorder_failed")
    assert b"think\n" not in world.target.lines


async def test_what_cannot_be_decided_ends_the_session() -> None:
    async def broken(admission: Admission, action: Action) -> Decision:
        raise ValueError("surprise")

    async with a_world(SETTINGS, decide=broken) as world, connected(world) as client:
        await client.say("ask me")
        assert (await client.hear()).startswith("FATAL recorder_failed")
    assert b"ask me\n" not in world.target.lines
