"""What every engine owes, whatever it speaks: nothing is dialled before an admission, nobody is told OK too early,
nothing passes unrecorded, and every end is told to all who must know it.

The protocols are those of the table, and the echo protocol of the kernel's tests as another implementation. A new
line in the table needs a ``Peer`` in ``engines``.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
import structlog

from proxy.core.access import Admission, Claims, Grant, Refusal, Wish
from proxy.core.errors import Denied
from proxy.core.identity import Identity
from proxy.core.ports import Page
from proxy.core.sessions import SessionRecord
from proxy.core.states import EndReason, SessionStatus
from proxy.protocols.table import rows
from proxy.sessions.ending import NOT_A_CUT
from proxy.sessions.kernel import Door, Kernel
from proxy.sessions.registry import Registry
from proxy.sessions.services import Services, Settings
from proxy.sessions.transport import Stream
from proxy.sessions.watch import Watch
from tests.contracts.engines import PEERS, Peer, protocols
from tests.fakes.clock import FakeClock, FakeIds
from tests.fakes.recordings import MemoryRecordings
from tests.fakes.store import MemoryFeed, MemoryStore
from tests.fakes.things import a_grant

T = TypeVar("T")
SETTINGS = Settings(startup_timeout=5, login_timeout=5, shutdown_grace=0.1)
CUTS = sorted(set(EndReason) - NOT_A_CUT - {EndReason.NODE_LOST, EndReason.TARGET_UNREACHABLE})
"""Reasons for which a living node ends a session that stands."""
NAMES = sorted(PEERS)


class HeldStore(MemoryStore):
    """Commits wait while ``may_commit`` is not set."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.may_commit = asyncio.Event()
        self.may_commit.set()

    async def commit(self, unit: Callable[[Any], T]) -> T:
        await self.may_commit.wait()
        return await super().commit(unit)


class NoMetrics:
    def count(self, name: str, by: float = 1, **labels: str) -> None: ...
    def gauge(self, name: str, value: float, **labels: str) -> None: ...
    def observe(self, name: str, seconds: float, **labels: str) -> None: ...


@dataclass
class World:
    """One engine under one kernel. The gate admits ``good``, once ``admits`` is set."""

    peer: Peer
    clock: FakeClock
    store: HeldStore
    recordings: MemoryRecordings
    target_port: int
    port: int = 0
    admits: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    services: Any = None
    kernel: Any = None

    # -- as the gate

    async def admit(self, token: str, wish: Wish, register: Callable[[Claims], None]) -> Admission:
        self.asked.set()
        await self.admits.wait()
        if token != "good":
            raise Denied("the token is not valid", code=Refusal.BAD_TOKEN)
        now = self.clock.now()
        register(Claims("jti-1", "alice", "grant-1", now, now + 600))
        position = await self.store.read(lambda reader: reader.feed_position())
        grant = a_grant("grant-1", starts=now, ends=now + 3600, conditions=self.peer.conditions)
        resource, account = self.peer.resource(self.target_port), self.peer.account()
        return Admission(
            wish.session, grant, Identity("alice"), resource, account, wish.database, wish.source, "jti-1", now,
            position,
        )  # fmt: skip

    async def refuse(self, why: Refusal, wish: Wish) -> Denied:
        return Denied("no", code=why)

    async def flush(self, now: float) -> None: ...

    def extended(self, grant: Grant, told: Mapping[str, object]) -> Grant | None:
        return None

    # -- what a test looks at

    async def sessions(self) -> list[SessionRecord]:
        return await self.store.read(lambda reader: reader.sessions(Page()))

    async def ended(self) -> SessionRecord:
        """The one session, once it has ended."""
        async with asyncio.timeout(8):
            while True:
                found = await self.sessions()
                if found and all(each.status is SessionStatus.ENDED for each in found):
                    (session,) = found
                    return session
                await asyncio.sleep(0.005)

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of the trail's events of a kind."""
        return [dict(row.body) for row in self.store.state.trail if row.kind == kind]


@pytest.fixture(params=NAMES)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    peer, clock = PEERS[request.param](), FakeClock()
    store = HeldStore(clock)
    world = World(peer, clock, store, MemoryRecordings(), await peer.start())
    world.admits.set()
    watch = Watch(MemoryFeed(store), Registry(), clock, lease=10, start=0)
    services = world.services = Services(
        asyncio.get_running_loop(), clock, FakeIds(), store, world, watch.registry, watch, world.recordings,
        NoMetrics(), lambda: SETTINGS, "node-1", clock.now(), structlog.get_logger(),
    )  # fmt: skip
    kernel = world.kernel = Kernel(services)
    engine, background = peer.engine(services)
    kernel.background += background
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    world.port = listening.getsockname()[1]
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(kernel.run())
        kernel.listen(Door(listening, engine))
        try:
            yield world
        finally:
            for each in (world.admits, store.may_commit, peer.answers):
                each.set()
            kernel.stop()
            await peer.stop()
            await running


@contextlib.asynccontextmanager
async def connected(world: World) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await world.peer.connect(world.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def inside(world: World) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client that was let in."""
    async with connected(world) as (reader, writer):
        async with asyncio.timeout(5):
            assert await world.peer.enter(reader, writer, "good") == ""
        yield reader, writer


@contextlib.asynccontextmanager
async def entering(world: World, token: str = "good") -> AsyncIterator["asyncio.Task[str]"]:
    """A client on its way in, and what comes of it."""
    async with connected(world) as (reader, writer), asyncio.TaskGroup() as tasks:
        yield tasks.create_task(world.peer.enter(reader, writer, token))


async def until(wanted: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not wanted():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def a_while() -> None:
    """Enough turns of the loop for anything that is not held to have happened."""
    for _ in range(50):
        await asyncio.sleep(0.001)


async def last_words(reader: asyncio.StreamReader) -> bytes:
    """What a client is told until its line ends. Where a protocol has no words, a cut resets the line."""
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionResetError:
        return b""


async def test_every_protocol_of_the_table_keeps_the_contract(world: World) -> None:
    assert set(protocols(world.services)) == set(rows())
    assert set(protocols(world.services)) <= set(PEERS), "a protocol has no peer in tests/contracts/engines.py"


async def test_nothing_is_dialled_before_the_admission(world: World) -> None:
    world.admits.clear()
    async with entering(world) as entered:
        await world.asked.wait()
        await a_while()
        assert (world.peer.dialled, await world.sessions(), entered.done()) == (0, [], False)
        world.admits.set()
        async with asyncio.timeout(5):
            assert await entered == ""
    assert world.peer.dialled == 1


async def test_a_refusal_is_worded_and_leaves_nothing(world: World) -> None:
    async with connected(world) as (reader, writer):
        async with asyncio.timeout(5):
            assert "the token is not valid" in await world.peer.enter(reader, writer, "bad")
            assert await reader.read() == b""
    assert (world.peer.dialled, await world.sessions(), world.recordings.opened) == (0, [], {})


async def test_nobody_is_told_ok_before_the_start_is_committed(world: World) -> None:
    world.store.may_commit.clear()
    async with entering(world) as entered:
        await until(lambda: bool(world.recordings.opened))
        await a_while()
        assert not entered.done()
        assert await world.sessions() == []
        world.store.may_commit.set()
        async with asyncio.timeout(5):
            assert await entered == ""
        (session,) = await world.sessions()
        assert session.status is SessionStatus.LIVE
        assert [each["session"] for each in world.told("session_started")] == [session.id]
        assert [each["session"] for each in world.told("admission_granted")] == [session.id]


async def test_nobody_is_told_ok_before_the_target_said_so(world: World) -> None:
    if not world.peer.logs_in:
        return  # a target without a log-in has said all there is by accepting
    world.peer.answers.clear()
    async with entering(world) as entered:
        await until(lambda: world.peer.open == 1)
        await a_while()
        assert not entered.done()
        assert await world.sessions() == []
        world.peer.answers.set()
        async with asyncio.timeout(5):
            assert await entered == ""


async def test_a_start_that_cannot_be_stored_lets_nobody_in(world: World) -> None:
    world.store.may_commit.clear()
    async with entering(world) as entered:
        await until(lambda: bool(world.recordings.opened))
        world.store.lost = True
        world.store.may_commit.set()
        async with asyncio.timeout(5):
            assert await entered != ""
    world.store.lost = False
    assert await world.sessions() == []
    await until(lambda: world.peer.open == 0)


async def test_cut_on_the_way_in_is_never_in(world: World) -> None:
    """The grant ends while the start is being committed."""
    world.store.may_commit.clear()
    async with entering(world) as entered:
        await until(lambda: bool(world.recordings.opened))
        (session,) = world.services.registry
        session.end(EndReason.GRANT_REVOKED, "by dave")
        world.store.may_commit.set()
        async with asyncio.timeout(5):
            assert "your grant was revoked by dave" in await entered
    await until(lambda: world.peer.open == 0)
    async with asyncio.timeout(5):
        while any(each.status is SessionStatus.LIVE for each in await world.sessions()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert len(world.told("session_started")) == len(world.told("session_ended"))


async def test_a_target_that_is_not_there_leaves_no_live_row(world: World) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        world.target_port = unused.getsockname()[1]
    async with connected(world) as (reader, writer), asyncio.timeout(5):
        words = await world.peer.enter(reader, writer, "good")
        assert "target" in words
        assert str(world.target_port) not in words
    await until(lambda: bool(world.told("admission_unused")))
    assert [each["why"] for each in world.told("admission_unused")] == ["target_unreachable"]
    assert not [each for each in await world.sessions() if each.status is SessionStatus.LIVE]


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("reason", CUTS)
async def test_every_cut_is_told_to_client_target_store_and_trail(
    world: World, reason: EndReason, busy: bool
) -> None:
    async with inside(world) as (reader, writer):
        if busy:
            world.peer.say(writer, "slow")
            await until(lambda: world.peer.ran == ["slow"])
        (session,) = world.services.registry
        session.end(reason, "so it was decided")
        assert (b"so it was decided" in await last_words(reader)) is world.peer.has_words
        record = await world.ended()
    assert (record.end_reason, record.detail) == (reason, "so it was decided")
    assert record.receipt is not None
    assert record.receipt.client_closed is not None
    assert record.recording_digest
    (event,) = world.told("session_ended")
    assert (event["end_reason"], event["session"]) == (reason.value, session.id)
    assert world.peer.stopped.is_set() is busy
    await until(lambda: world.peer.open == 0)
    assert len(world.services.registry) == 0


async def test_without_the_store_a_session_ends_and_the_store_hears_of_it_when_it_is_back(world: World) -> None:
    async with inside(world) as (reader, _):
        world.store.lost = True
        world.clock.advance(11)
        assert (b"cannot see revocations" in await last_words(reader)) is world.peer.has_words
        await until(lambda: world.peer.open == 0 and not len(world.services.registry))
        assert [each.status for each in world.store.state.sessions.values()] == [SessionStatus.LIVE]
        world.store.lost = False
        record = await world.ended()
    assert record.end_reason is EndReason.STORE_LOST
    assert [each["end_reason"] for each in world.told("session_ended")] == ["store_lost"]


@pytest.mark.parametrize("reason", [EndReason.CLIENT_CLOSED])
async def test_a_client_that_goes_is_told_too(world: World, reason: EndReason) -> None:
    async with inside(world) as (_, writer):
        world.peer.say(writer, "quick")
        await until(lambda: world.peer.ran == ["quick"])
    record = await world.ended()
    assert (record.end_reason, record.receipt) == (reason, None)
    assert [each["end_reason"] for each in world.told("session_ended")] == [reason.value]
    await until(lambda: world.peer.open == 0)


async def for_too_long(_stream: Stream, patience: float) -> None:
    """Waits for longer than any test here, where one says that nobody is waited for."""
    if patience:
        await asyncio.sleep(9)


@pytest.mark.parametrize("worked", [False, True], ids=["at once", "after work"])
async def test_a_client_that_has_done_is_not_waited_for(
    world: World, worked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its line is closed though its own side of it stays, as any server does: drivers wait for that."""
    monkeypatch.setattr(Stream, "drain", for_too_long)
    async with inside(world) as (reader, writer):
        if worked:
            world.peer.say(writer, "quick")
            await until(lambda: world.peer.ran == ["quick"])
        world.peer.leave(writer)
        await last_words(reader)
        await until(lambda: not world.kernel.known())
    record = await world.ended()
    assert (record.end_reason, record.receipt) == (EndReason.CLIENT_CLOSED, None)


async def test_nor_is_one_that_goes_before_it_is_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "drain", for_too_long)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write_eof()
    async with asyncio.timeout(5):
        await reader.read()
    await until(lambda: not world.kernel.known())
    writer.close()


async def test_what_cannot_be_recorded_does_not_reach_the_target(world: World) -> None:
    async with inside(world) as (reader, writer):
        world.peer.say(writer, "recorded")
        await until(lambda: world.peer.ran == ["recorded"])
        world.recordings.broken = True
        world.peer.say(writer, "unrecorded")
        await last_words(reader)
    record = await world.ended()
    assert record.end_reason is EndReason.RECORDER_FAILED
    assert "unrecorded" not in world.peer.ran
    assert [each["end_reason"] for each in world.told("session_ended")] == ["recorder_failed"]


async def test_after_the_end_nothing_of_the_client_passes(world: World) -> None:
    async with inside(world) as (reader, writer):
        (session,) = world.services.registry
        session.end(EndReason.GRANT_REVOKED)
        world.peer.say(writer, "too late")
        await last_words(reader)
        await world.ended()
    assert "too late" not in world.peer.ran
