"""The kernel over real sockets with a protocol of lines: admission, relay, every way a session ends, its bounds."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import structlog

from proxy.core.access import Admission, Claims, Grant, Refusal, Wish
from proxy.core.errors import Denied
from proxy.core.feed import FeedKind, Scope
from proxy.core.identity import Account, Identity, Resource
from proxy.core.records import StatementFinished, StatementStarted
from proxy.core.sessions import SessionRecord
from proxy.core.states import EndReason, SessionStatus
from proxy.sessions.kernel import Door, Kernel
from proxy.sessions.registry import Registry
from proxy.sessions.services import Services, Settings, allowed
from proxy.sessions.watch import Watch
from tests.fakes.clock import FakeClock, FakeIds
from tests.fakes.echo import EchoEngine, EchoTarget
from tests.fakes.recordings import MemoryRecordings
from tests.fakes.store import MemoryFeed, MemoryStore
from tests.fakes.things import a_grant


class CountingMetrics:
    def __init__(self) -> None:
        self.counts: list[tuple[str, tuple[tuple[str, str], ...]]] = []
        self.cuts: list[float] = []

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        self.counts.append((name, tuple(sorted(labels.items()))))

    def gauge(self, name: str, value: float, **labels: str) -> None: ...

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        self.cuts.append(seconds)


class OpenGate:
    """Admits ``good`` and nobody else; ``between`` runs between registering and the answer, where races live."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.between: Callable[[], Any] = lambda: None

    async def admit(self, token: str, wish: Wish, register: Callable[[Claims], None]) -> Admission:
        if token != "good":
            raise Denied("no", code=Refusal.BAD_TOKEN)
        world, now = self._world, self._world.clock.now()
        register(Claims("jti-1", "alice", "grant-1", now, now + 600))
        position = await world.store.read(lambda reader: reader.feed_position())
        await self._between()
        return Admission(
            wish.session,
            a_grant("grant-1", starts=now, ends=world.ends),
            Identity("alice"),
            Resource("echo", "echo", (("127.0.0.1", world.target_port),)),
            Account("any"),
            "",
            wish.source,
            "jti-1",
            now,
            position,
        )

    async def _between(self) -> None:
        result = self.between()
        if result is not None:
            await result

    async def flush(self, now: float) -> None: ...

    def extended(self, grant: Grant, told: Mapping[str, Any]) -> Grant | None:
        return replace(grant, ends=told["ends"], rule=told.get("rule", "")) if told.get("mac") == "sealed" else None


@dataclass
class World:
    clock: FakeClock
    store: MemoryStore
    target: EchoTarget
    recordings: MemoryRecordings
    metrics: CountingMetrics
    target_port: int
    ends: float
    port: int = 0
    gate: Any = None
    kernel: Any = None
    services: Any = None

    async def revoke(self, scope: Scope = Scope.GRANT, key: str = "grant-1") -> None:
        await self.store.commit(
            lambda writer: writer.publish(FeedKind.REVOKED, scope, key, by="dave", reason="leak")
        )

    async def sessions(self) -> list[SessionRecord]:
        from proxy.core.ports import Page

        return await self.store.read(lambda reader: reader.sessions(Page()))

    async def ended(self) -> SessionRecord:
        async with asyncio.timeout(5):
            while True:
                found = await self.sessions()
                if found and all(each.status is SessionStatus.ENDED for each in found):
                    return found[0]
                await asyncio.sleep(0.005)

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of the trail's events of a kind."""
        return [dict(row.body) for row in self.store.state.trail if row.kind == kind]

    def admissions(self) -> list[str]:
        """The results that were counted, closed connections left out."""
        results = [dict(labels) for name, labels in self.metrics.counts if name == "tidegate_admissions_total"]
        return [each["result"] for each in results if each["result"] != "closed"]

    def started(self) -> list[StatementStarted]:
        (recorder,) = self.recordings.opened.values()
        return [each for each in recorder.records if isinstance(each, StatementStarted)]


@contextlib.asynccontextmanager
async def a_world(
    settings: Settings, proxies: tuple[str, ...] = (), strangers: bool = True, decide: Any = allowed
) -> AsyncIterator[World]:
    clock = FakeClock()
    store = MemoryStore(clock)
    target = EchoTarget()
    world = World(
        clock, store, target, MemoryRecordings(), CountingMetrics(), await target.start(), clock.now() + 3600
    )
    registry = Registry()
    watch = Watch(MemoryFeed(store), registry, clock, lease=10, start=0)
    world.gate = OpenGate(world)
    world.services = Services(
        asyncio.get_running_loop(), clock, FakeIds(), store, world.gate, registry, watch, world.recordings,
        world.metrics, lambda: settings, "node-1", clock.now(), structlog.get_logger(), decide,
    )  # fmt: skip
    world.kernel = Kernel(world.services)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    world.port = listening.getsockname()[1]
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(world.kernel.run())
        world.kernel.listen(Door(listening, EchoEngine(target), proxies, strangers))
        try:
            yield world
        finally:
            world.kernel.stop()
            target.abandoned.set()
            await running
    await target.stop()


SETTINGS = Settings(startup_timeout=2, login_timeout=2, shutdown_grace=0.1)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world(SETTINGS) as made:
        yield made


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, line: str) -> None:
        self.writer.write(line.encode() + b"\n")
        await self.writer.drain()

    async def hear(self) -> str:
        async with asyncio.timeout(5):
            return (await self.reader.readline()).decode().strip()

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.read()


@contextlib.asynccontextmanager
async def connected(world: World, token: str = "good", ok: str = "OK") -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", world.port))
    try:
        if token:
            await client.say(token)
            assert (await client.hear()).startswith(ok)
        yield client
    finally:
        client.writer.close()
        with contextlib.suppress(OSError):
            await client.writer.wait_closed()


async def until(wanted: Callable[[], object]) -> None:
    """Wait for something that the world comes to by itself."""
    async with asyncio.timeout(5):
        while not wanted():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_line_is_recorded_and_answered(world: World) -> None:
    async with connected(world) as client:
        await client.say("hello")
        assert await client.hear() == "hello"
        assert [each.text for each in world.started()] == [b"hello"]
    record = await world.ended()
    assert record.end_reason is EndReason.CLIENT_CLOSED
    assert record.totals.statements == 1
    assert record.recording_digest == "digest"
    assert record.receipt is None


async def test_a_refused_token_gets_the_protocols_words_and_dials_nothing(world: World) -> None:
    async with connected(world, "bad", "REFUSED bad_token") as client:
        assert await client.rest() == b""
    assert world.target.open == 0
    assert not await world.sessions()


@pytest.mark.parametrize(
    ("scope", "key", "reason", "text"),
    [
        (Scope.GRANT, "grant-1", EndReason.GRANT_REVOKED, "your grant was revoked"),
        (Scope.IDENTITY, "alice", EndReason.GRANT_REVOKED, "your grant was revoked"),
        (Scope.RESOURCE, "echo", EndReason.GRANT_REVOKED, "your grant was revoked"),
        (Scope.TOKEN, "jti-1", EndReason.TOKEN_REVOKED, "the token you connected with was revoked"),
        (Scope.ALL, "", EndReason.GRANT_REVOKED, "your grant was revoked"),
    ],
)
async def test_a_revocation_cuts_an_idle_session_with_its_reason(
    world: World, scope: Scope, key: str, reason: EndReason, text: str
) -> None:
    async with connected(world) as client:
        await world.revoke(scope, key)
        assert await client.hear() == f"FATAL {reason}: {text} by dave: leak"
        assert await client.rest() == b""
    record = await world.ended()
    assert record.end_reason is reason
    assert record.receipt is not None
    assert record.receipt.verified == "asked"
    assert record.receipt.client_closed is not None
    assert len(world.metrics.cuts) == 1


async def test_a_revocation_stops_what_the_target_runs(world: World) -> None:
    async with connected(world) as client:
        await client.say("slow")
        await asyncio.sleep(0.02)
        await world.revoke()
        assert (await client.hear()).startswith("FATAL grant_revoked")
    record = await world.ended()
    assert world.target.abandoned.is_set()
    assert record.end_reason is EndReason.GRANT_REVOKED
    (recorder,) = world.recordings.opened.values()
    # The target's own word for it was still heard after the client was gone, so nothing is left unfinished.
    assert not [each for each in recorder.records if isinstance(each, StatementFinished)]


async def test_inside_a_message_nothing_is_said_but_the_cut_comes(world: World) -> None:
    async with connected(world) as client:
        await client.say("half")
        await asyncio.sleep(0.02)
        await world.revoke()
        assert await client.rest() == b"hal"
    assert (await world.ended()).end_reason is EndReason.GRANT_REVOKED


async def test_a_client_that_does_not_read_is_cut_without_waiting(world: World) -> None:
    async with connected(world) as client:
        await client.say("flood")
        await asyncio.sleep(0.1)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await world.revoke()
        assert (await world.ended()).end_reason is EndReason.GRANT_REVOKED


async def test_a_client_that_still_speaks_is_not_reset_before_it_has_its_last_words(world: World) -> None:
    """As one that acknowledges what it reads, with the words behind that: a reset would throw them away. One that
    never closes is let go all the same."""
    async with connected(world) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await world.revoke()
        await world.ended()
        for _ in range(3):
            await client.say("more")
            await asyncio.sleep(0.01)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert (await client.hear()).startswith("FATAL grant_revoked")
        assert await client.rest() == b""
        await until(lambda: not world.kernel.known())


async def test_revoked_between_check_and_registration_is_still_cut(world: World) -> None:
    """The revocation is committed and handled after the facts were read and before the session is filed."""
    world.gate.between = lambda: revoke_and_wait(world)
    async with connected(world, ok="REFUSED grant_revoked"):
        pass
    assert not await world.sessions()


async def revoke_and_wait(world: World) -> None:
    await world.revoke()
    async with asyncio.timeout(2):
        while world.services.watch.position < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_locked_resource_seen_before_the_session_is_filed_under_it(world: World) -> None:
    async def lock() -> None:
        await world.store.commit(lambda writer: writer.publish(FeedKind.LOCKED, Scope.RESOURCE, "echo", by="dave"))
        async with asyncio.timeout(2):
            while world.services.watch.position < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    world.gate.between = lock
    async with connected(world, ok="REFUSED resource_locked"):
        pass


async def test_a_session_ends_with_its_grant_whenever_it_was_opened() -> None:
    async with a_world(SETTINGS) as world:
        world.ends = world.clock.now() + 0.15
        async with connected(world) as client:
            world.clock.advance(0.2)
            assert (await client.hear()).startswith("FATAL grant_expired")
        assert (await world.ended()).end_reason is EndReason.GRANT_EXPIRED


async def test_a_jump_of_the_wall_clock_ends_it_too(world: World) -> None:
    async with connected(world) as client:
        world.clock.jump(4000)
        assert (await client.hear()).startswith("FATAL grant_expired")


async def test_an_extension_moves_the_end_without_dropping_the_session(world: World) -> None:
    async with connected(world) as client:
        ends = world.ends + 10_000
        await world.store.commit(
            lambda writer: writer.publish(
                FeedKind.EXTENDED, Scope.GRANT, "grant-1", data={"ends": ends, "mac": "sealed"}
            )
        )
        await asyncio.sleep(0.02)
        world.clock.jump(5000)
        await client.say("still here")
        assert await client.hear() == "still here"


async def test_the_end_is_announced_before_it_comes(world: World) -> None:
    async with connected(world) as client:
        world.clock.jump(3600 - 250)
        assert (await client.hear()).startswith("NOTICE your access ends in 4 minutes")
        world.clock.jump(200)
        assert (await client.hear()).startswith("NOTICE your access ends in 1 minute")


async def test_a_broken_recorder_ends_the_session_before_anything_is_forwarded(world: World) -> None:
    async with connected(world) as client:
        world.recordings.broken = True
        await client.say("unrecorded")
        assert (await client.hear()).startswith("FATAL recorder_failed")
    await world.ended()
    assert b"unrecorded\n" not in world.target.lines


async def test_the_target_closing_ends_the_session(world: World) -> None:
    async with connected(world) as client:
        await client.say("close")
        assert await client.rest() == b""
    assert (await world.ended()).end_reason is EndReason.TARGET_CLOSED


async def test_what_a_target_runs_whose_line_breaks_is_stopped(world: World) -> None:
    """It may not know that its line is broken, and there is nobody left whom the end of the grant could cut."""
    async with connected(world) as client:
        await client.say("close")
        assert await client.rest() == b""
    assert (await world.ended()).end_reason is EndReason.TARGET_CLOSED
    assert world.target.abandoned.is_set()


async def test_a_target_that_does_not_answer_is_named_by_no_address(world: World) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        world.target_port = unused.getsockname()[1]
    async with connected(world, ok="REFUSED target_unreachable: the target does not answer"):
        pass


async def test_disk_durability_holds_the_bytes_until_they_are_synced() -> None:
    async with a_world(replace(SETTINGS, durable=True)) as world, connected(world) as client:
        await client.say("synced")
        assert await client.hear() == "synced"
        assert world.recordings.synced == 1


async def test_an_idle_session_ends() -> None:
    async with a_world(replace(SETTINGS, idle=0.5)) as world, connected(world) as client:
        assert (await client.hear()).startswith("FATAL idle")


async def test_a_log_in_that_takes_too_long_is_ended() -> None:
    async with a_world(replace(SETTINGS, login_timeout=0.1)) as world, connected(world, "") as client:
        assert (await client.rest()).startswith(b"REFUSED protocol_error")


async def test_pending_connections_are_bounded_per_source() -> None:
    async with (
        a_world(replace(SETTINGS, pending_per_source=2)) as world,
        connected(world, ""),
        connected(world, ""),
    ):
        await asyncio.sleep(0.02)
        async with connected(world, "") as third:
            with contextlib.suppress(ConnectionError):
                assert await third.rest() == b""
    assert ("tidegate_admissions_total", (("result", "too_many_pending"),)) in world.metrics.counts


async def test_a_logged_in_session_is_no_longer_pending() -> None:
    async with (
        a_world(replace(SETTINGS, pending_per_source=1)) as world,
        connected(world),
        connected(world) as second,
    ):
        await second.say("both")
        assert await second.hear() == "both"


async def test_shutdown_cuts_what_does_not_end_by_itself() -> None:
    async with a_world(SETTINGS) as world, connected(world) as client:
        world.kernel.stop()
        assert (await client.hear()).startswith("FATAL shutdown")
        assert (await world.ended()).end_reason is EndReason.SHUTDOWN


async def test_who_drains_takes_nobody_new_and_cuts_nobody_before_the_time(world: World) -> None:
    async with connected(world) as client:
        waiting = await asyncio.open_connection("127.0.0.1", world.port)  # not accepted yet, and not lost
        world.kernel.drain(30.0)
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", world.port)
        late = Client(*waiting)
        await late.say("good")
        assert (await late.hear()).startswith("OK")
        world.kernel.drain(20.0)
        await client.say("still here")
        assert await client.hear() == "still here"
        world.kernel.drain(0.0)
        assert (await client.hear()).startswith("FATAL shutdown")
        assert (await late.hear()).startswith("FATAL shutdown")
        late.writer.close()
    assert {each.end_reason for each in await world.sessions()} <= {EndReason.SHUTDOWN, None}
    assert (await world.ended()).end_reason is EndReason.SHUTDOWN


async def test_many_at_once_are_all_cut(world: World) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(world)) for _ in range(50)]
        await world.revoke(Scope.ALL, "")
        heard = await asyncio.gather(*(client.hear() for client in clients))
    assert all(each.startswith("FATAL grant_revoked") for each in heard)
    await world.ended()
