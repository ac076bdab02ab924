"""The kernel under attack, and the end of a session whatever went wrong on the way: nothing is left behind."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.errors import PeerError, Unavailable
from proxy.core.feed import FeedItem, FeedKind, Scope
from proxy.core.records import StatementFinished
from proxy.core.states import EndReason, SessionStatus
from proxy.core.steps import Side, Step
from proxy.sessions.kernel import ACCEPT_PAUSE
from proxy.sessions.session import Session
from proxy.sessions.transport import Stream
from tests.fakes.echo import EchoInspector
from tests.sessions.test_kernel import SETTINGS, World, a_world, connected


def nothing_is_left(world: World) -> bool:
    kernel = world.kernel
    return not (
        kernel._sessions or len(world.services.registry) or len(kernel._pending) or kernel._pending._sources
    )


async def settled(world: World) -> None:
    """Wait until the kernel holds nothing, which it must come to by itself."""
    async with asyncio.timeout(8):
        while not nothing_is_left(world):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not world.services.registry._filed
    assert not [each for each in await world.sessions() if each.status is SessionStatus.LIVE]


@contextlib.contextmanager
def commits_held(world: World) -> Any:
    """The store does what it is asked to, and answers only when the test says so."""
    commit, asked, answer = world.store.commit, asyncio.Event(), asyncio.Event()

    async def held(unit: Callable[[Any], Any]) -> Any:
        result = await commit(unit)
        asked.set()
        await answer.wait()
        return result

    world.store.commit = held  # type: ignore[method-assign]
    try:
        yield asked, answer
    finally:
        world.store.commit = commit  # type: ignore[method-assign]
        answer.set()


async def test_cut_while_its_start_is_committed_leaves_no_live_row() -> None:
    async with a_world(SETTINGS) as world, connected(world, "") as client:
        await client.say("good")
        with commits_held(world) as (asked, answer):
            await asyncio.wait_for(asked.wait(), 2)
            for session in world.services.registry:
                session.end(EndReason.GRANT_REVOKED, "by dave: leak")
            answer.set()
            assert (await client.hear()).startswith("REFUSED grant_revoked")
        await settled(world)
        record = await world.ended()
        assert record.end_reason is EndReason.GRANT_REVOKED
        (recorder,) = world.recordings.opened.values()
        assert recorder.end == {"end_reason": "grant_revoked", "detail": "by dave: leak"}


async def test_a_start_that_could_not_be_stored_leaves_no_row_and_no_open_recording() -> None:
    async with a_world(SETTINGS) as world:

        async def away(unit: object) -> None:
            raise Unavailable("the store cannot be reached")

        commit, world.store.commit = world.store.commit, away  # type: ignore[method-assign, assignment]
        async with connected(world, ok="REFUSED unavailable"):
            pass
        world.store.commit = commit  # type: ignore[method-assign]
        await settled(world)
        assert not await world.sessions()
        (recorder,) = world.recordings.opened.values()
        assert recorder.end is not None
        assert world.target.open == 0


@pytest.mark.parametrize("error", [ValueError("surprise"), PeerError("not like this"), IndexError("no")])
@pytest.mark.parametrize("side", [Side.CLIENT, Side.TARGET])
async def test_whatever_the_inspector_raises_ends_the_session(
    monkeypatch: pytest.MonkeyPatch, error: Exception, side: Side
) -> None:
    """Nothing of the chunk passes: what could not be inspected is not recorded."""
    feed = EchoInspector.feed

    def fails(self: EchoInspector, which: Side, chunk: bytes) -> Sequence[Step]:
        if which is side and b"poison" in chunk:
            raise error
        return feed(self, which, chunk)

    monkeypatch.setattr(EchoInspector, "feed", fails)
    async with a_world(SETTINGS) as world:
        async with connected(world) as client:
            await client.say("poison")
            assert b"poison" not in await client.rest()
        await settled(world)
        expected = EndReason.PROTOCOL_ERROR if isinstance(error, PeerError) else EndReason.RECORDER_FAILED
        assert (await world.ended()).end_reason is expected
        assert (b"poison\n" in world.target.lines) is (side is Side.TARGET)


async def test_an_inspector_that_fails_at_the_end_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: EchoInspector, outcome: object) -> Sequence[StatementFinished]:
        raise ValueError("surprise")

    monkeypatch.setattr(EchoInspector, "finish", fails)
    async with a_world(SETTINGS) as world:
        async with connected(world) as client:
            await client.say("hello")
            await world.revoke()
            await client.rest()
        await settled(world)
        assert (await world.ended()).end_reason is EndReason.GRANT_REVOKED
        assert world.target.open == 0


async def test_one_session_that_cannot_be_closed_takes_no_other_along() -> None:
    async with a_world(SETTINGS) as world, connected(world) as other:
        async with connected(world) as client:
            await client.say("mine")
            recorder = list(world.recordings.opened.values())[-1]

            async def fails(end: object) -> str:
                raise RuntimeError("surprise")

            recorder.close = fails  # type: ignore[method-assign, assignment]
        async with asyncio.timeout(5):
            while len(world.kernel._sessions) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await other.say("still here")
        assert await other.hear() == "still here"


async def test_what_runs_is_stopped_when_its_client_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would be left to cut when the grant ends."""
    monkeypatch.setattr("proxy.sessions.parting.DRAIN", 0.1)
    async with a_world(SETTINGS) as world:
        async with connected(world) as client:
            await client.say("slow")
            assert await until(lambda: b"slow\n" in world.target.lines)
        await settled(world)
        assert world.target.abandoned.is_set()
        assert (await world.ended()).end_reason is EndReason.CLIENT_CLOSED


async def until(holds: Callable[[], bool]) -> bool:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return True


@pytest.mark.parametrize("mac", ["", "forged"])
async def test_an_extension_without_our_seal_prolongs_nothing(mac: str) -> None:
    """Whoever has the store's password can write to the feed, but not seal."""
    async with a_world(SETTINGS) as world, connected(world) as client:
        forged = {"ends": world.ends + 10_000, "rule": "", "mac": mac}
        await world.store.commit(
            lambda writer: writer.publish(FeedKind.EXTENDED, Scope.GRANT, "grant-1", data=forged)
        )
        assert await until(lambda: world.services.watch.position >= 1)
        world.clock.jump(5000)
        assert (await client.hear()).startswith("FATAL grant_expired")


async def test_an_extension_between_check_and_registration_counts() -> None:
    async with a_world(SETTINGS) as world:

        async def extend() -> None:
            sealed = {"ends": world.ends + 10_000, "rule": "r", "mac": "sealed"}
            await world.store.commit(
                lambda writer: writer.publish(FeedKind.EXTENDED, Scope.GRANT, "grant-1", data=sealed)
            )
            await until(lambda: world.services.watch.position >= 1)

        world.gate.between = extend
        async with connected(world) as client:
            world.clock.jump(5000)
            await client.say("still here")
            assert await client.hear() == "still here"


async def test_nothing_passes_after_the_process_was_stopped_for_longer_than_the_lease() -> None:
    """SIGSTOP, a suspended machine: what the client sent meanwhile must not go out before the feed is read."""
    async with a_world(SETTINGS) as world, connected(world) as client:
        world.services.watch._good -= 11
        session = next(iter(world.services.registry))
        session.relaying._client_sent(b"too late\n")  # type: ignore[attr-defined]
        assert (await client.hear()).startswith("FATAL store_lost")
        await settled(world)
        assert b"too late\n" not in world.target.lines


async def test_a_feed_that_hangs_costs_the_sessions_too() -> None:
    async with a_world(SETTINGS) as world, connected(world) as client:
        hanging: Callable[..., Awaitable[list[FeedItem]]] = lambda seq: asyncio.sleep(3600, [])  # noqa: E731
        world.services.watch._feed.after = hanging
        await world.store.commit(lambda writer: writer.publish(FeedKind.KEYS, Scope.ALL, ""))
        await asyncio.sleep(0.2)
        world.clock.advance(11)
        assert (await client.hear()).startswith("FATAL store_lost")


async def test_a_duty_that_hangs_keeps_no_session_alive() -> None:
    async with a_world(SETTINGS) as world:
        world.kernel.every_second.append(lambda: asyncio.sleep(3600))
        async with connected(world) as client:
            await asyncio.sleep(1.2)
            world.clock.jump(4000)
            assert (await client.hear()).startswith("FATAL grant_expired")


async def test_a_session_that_works_is_not_idle() -> None:
    async with a_world(replace(SETTINGS, idle=1.5)) as world, connected(world) as client:
        for _ in range(10):
            await asyncio.sleep(0.3)
            await client.say("busy")
            assert await client.hear() == "busy"


async def test_a_target_that_works_is_not_idle() -> None:
    async with a_world(replace(SETTINGS, idle=0.5)) as world, connected(world) as client:
        await client.say("slow")
        await asyncio.sleep(2.2)
        world.target.abandoned.set()
        assert await client.hear() == "cancelled"


async def silent(world: World, source: str) -> socket.socket:
    """A connection from ``source`` that says nothing."""
    sock = socket.socket()
    sock.bind((source, 0))
    sock.setblocking(False)
    await world.services.loop.sock_connect(sock, ("127.0.0.1", world.port))
    return sock


CROWDS = {
    "sixteen addresses": [f"127.0.{each % 16}.{1 + each // 160}" for each in range(160)],
    "one network": [f"127.1.1.{1 + each % 200}" for each in range(160)],
    "as many networks": [f"127.2.{each}.1" for each in range(160)],
}


@pytest.mark.parametrize("proxied", [False, True], ids=["directly", "by a proxy"])
@pytest.mark.parametrize("crowd", CROWDS)
async def test_silent_connections_from_anywhere_keep_nobody_out(crowd: str, proxied: bool) -> None:
    settings = replace(SETTINGS, startup_timeout=60, login_timeout=60, pending=64, pending_per_source=12)
    async with a_world(settings, proxies=("127.0.0.1/32", "127.9.0.0/16") if proxied else ()) as world:
        with contextlib.ExitStack() as stack:
            for source in CROWDS[crowd]:
                place = "127.9.0.1" if proxied else source
                sock = stack.enter_context(await silent(world, place))
                if proxied:
                    sock.send(f"PROXY TCP4 {source} 10.0.0.1 1234 5432\r\n".encode())
            await until(lambda: len(world.kernel._pending) == 64)
            token = "PROXY TCP4 192.0.2.7 10.0.0.1 1234 5432\r\ngood" if proxied else "good"
            for _ in range(3):
                async with connected(world, token) as client:
                    await client.say("still here")
                    assert await client.hear() == "still here"
        await settled(world)
    assert world.admissions().count("too_many_pending") >= 96


async def test_proxies_that_name_nobody_keep_nobody_out() -> None:
    settings = replace(SETTINGS, startup_timeout=60, login_timeout=60, pending=20)
    async with a_world(settings, proxies=("127.0.0.1/32",)) as world:
        with contextlib.ExitStack() as stack:
            for _ in range(40):
                stack.enter_context(await silent(world, "127.0.0.1"))
            await until(lambda: len(world.kernel._pending) == 20)
            async with connected(world, "PROXY TCP4 192.0.2.7 10.0.0.1 1234 5432\r\ngood"):
                pass
        await settled(world)


async def test_who_was_admitted_makes_room_for_nobody() -> None:
    """However long the target takes to let it in."""
    settings = replace(SETTINGS, startup_timeout=60, login_timeout=60, pending=4)
    held = asyncio.Event()
    async with a_world(settings) as world, connected(world, "") as client:
        dial = Session.dial

        async def later(self: Session, *given: Any) -> Any:
            await held.wait()
            return await dial(self, *given)

        with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
            patch.setattr(Session, "dial", later)
            await client.say("good")
            await until(lambda: any(each.admission for each in world.kernel._sessions))
            for each in range(9):
                stack.enter_context(await silent(world, f"127.0.0.{1 + each % 3}"))
            await until(lambda: len(world.kernel._pending) == 4)
            held.set()
            assert await client.hear() == "OK"
        await settled_but(world, 1)


async def settled_but(world: World, sessions: int) -> None:
    await until(lambda: len(world.kernel._sessions) == sessions)


class Exhausted:
    """A listening socket of a process that has no descriptors left, for a while."""

    def __init__(self, listening: socket.socket, times: int) -> None:
        self._listening = listening
        self.times = times
        self.calls = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.calls += 1
        if self.calls <= self.times:
            raise OSError(errno.EMFILE, "too many open files")
        return self._listening.accept()

    def fileno(self) -> int:
        return self._listening.fileno()

    def close(self) -> None:
        self._listening.close()


async def test_out_of_descriptors_the_listener_rests_and_comes_back() -> None:
    async with a_world(SETTINGS) as world:
        loop, kernel = world.services.loop, world.kernel
        (door,) = kernel._doors
        exhausted = Exhausted(door.sock, times=2)
        kernel._doors[:] = [replace(door, sock=exhausted)]
        loop.add_reader(exhausted.fileno(), kernel._accept, *kernel._doors)
        began = loop.time()
        async with connected(world) as client:
            await client.say("back")
            assert await client.hear() == "back"
        assert exhausted.calls <= 6, "it was asked again and again"
        assert loop.time() - began >= 2 * ACCEPT_PAUSE


async def test_a_peer_that_floods_stops_neither_the_loop_nor_the_deadline() -> None:
    """In pull mode and while draining: bytes that are always ready must not keep the others from their turn."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    stream = Stream(loop, ours)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def always(size: int, *_: int) -> bytes:
        return b"x" * min(size, 8)

    class Endless:
        recv = staticmethod(always)
        fileno = staticmethod(ours.fileno)
        close = staticmethod(ours.close)

    stream._sock = Endless()  # type: ignore[assignment]
    async with asyncio.TaskGroup() as tasks:
        busy = tasks.create_task(others())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                while True:
                    await stream.read_exactly(8)
        await stream.drain(0.1)
        busy.cancel()
    assert turns > 10
    ours.close()
    theirs.close()
