"""Forwarded connections: how many there may be beside sessions, what they may have on their way; unix sockets."""

import gc
import weakref
from typing import Any

import asyncssh
import pytest

from proxy.core.records import Outcome, StatementFinished, StatementStarted, Via
from proxy.protocols.ssh.openings import SHARED, WINDOW_LEAST, window_of
from proxy.protocols.ssh.passing import DENIED_MOST
from proxy.protocols.ssh.upstream import WINDOW
from tests.contracts.ssh_peer import FAR, SOCKET
from tests.contracts.test_engines import World, until, world
from tests.protocols.ssh.test_engine import client, denied, recorded, rows

__all__ = ["world"]

pytestmark = pytest.mark.parametrize("world", ["ssh"], indirect=True)
MOST = 256


class Echo(asyncssh.SSHTCPSession[bytes]):
    """Says back what it hears."""

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: Any) -> None:
        self._channel.write(data)


def tunnels(world: World) -> list[tuple[bytes, int]]:
    """Each connection's text and outcome, in the order they ended."""
    begun = {each.seq: each for each in recorded(world) if isinstance(each, StatementStarted)}
    ended = [each for each in recorded(world) if isinstance(each, StatementFinished)]
    return [(begun[each.seq].text, each.outcome) for each in ended if begun[each.seq].via == Via.TUNNEL]


async def test_forwards_are_no_sessions_and_have_a_limit_of_their_own(world: World) -> None:
    world.peer.far = Echo  # type: ignore[attr-defined]
    async with client(world) as line:
        running = [await line.create_process("slow") for _ in range(9)]
        opened = [await line.open_connection(*FAR) for _ in range(MOST)]
        with pytest.raises(asyncssh.ChannelOpenError, match="no more than 256 forwarded connections at once"):
            await line.open_connection(*FAR)
        running.append(await line.create_process("slow"))  # ten sessions, whatever is forwarded
        with pytest.raises(asyncssh.ChannelOpenError, match="no more than 10 sessions at once"):
            await line.create_process("slow")
        for reader, writer in opened[::50]:
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
        opened[0][1].close()
        await until(lambda: len(tunnels(world)) == 1)
        reader, writer = await line.open_connection(*FAR)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
    assert denied(world) == ["channel", "channel"]


async def test_a_socket_that_is_listed_is_reached_and_recorded(world: World) -> None:
    world.peer.far = Echo  # type: ignore[attr-defined]
    async with client(world) as line:
        reader, writer = await line.open_unix_connection(SOCKET, encoding=None)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await until(lambda: len(tunnels(world)) == 1)
        for path in ("/run/other.sock", SOCKET + "/", "/run/../run/far.sock", ""):
            with pytest.raises(asyncssh.ChannelOpenError, match="may not be forwarded to unix:"):
                await line.open_unix_connection(path)
        assert (await line.run("quick")).exit_status == 0
    assert tunnels(world) == [
        (b"unix:/run/far.sock", Outcome.DONE),
        (b"unix:/run/other.sock", Outcome.DENIED),
        (b"unix:/run/far.sock/", Outcome.DENIED),
        (b"unix:/run/../run/far.sock", Outcome.DENIED),
        (b"unix:", Outcome.DENIED),
    ]


async def test_a_socket_that_the_target_has_not(world: World) -> None:
    async with client(world) as line:
        with pytest.raises(asyncssh.ChannelOpenError):
            await line.open_unix_connection(SOCKET)
        assert (await line.run("quick")).exit_status == 0
    assert tunnels(world) == [(b"unix:/run/far.sock", Outcome.FAILED)]


async def test_many_that_are_refused_leave_no_record_each(world: World) -> None:
    asked = DENIED_MOST + 300
    async with client(world) as line:
        for _ in range(asked):
            with pytest.raises(asyncssh.ChannelOpenError, match="may not be forwarded to elsewhere:1"):
                await line.open_connection("elsewhere", 1)
        assert (await line.run("quick")).exit_status == 0
    await world.ended()
    assert tunnels(world) == [(b"elsewhere:1", Outcome.DENIED)] * DENIED_MOST
    found = [(each["what"], each["detail"], each.get("times", 1)) for each in rows(world)]
    assert found == [("tunnel", "elsewhere:1", times) for times in (1, 2, 4, 8, 16, 32, 64, 128, 256, 300)]


@pytest.mark.parametrize("closed", [True, False])
async def test_nothing_of_them_outlives_the_session(world: World, closed: bool) -> None:
    """Python's collector is not needed for it."""
    world.peer.far = Echo  # type: ignore[attr-defined]
    gc.collect()
    gc.disable()
    try:
        async with client(world) as line:
            opened = [await line.open_connection(*FAR), await line.open_unix_connection(SOCKET)]
            session = next(iter(world.services.registry))
            left = [weakref.ref(each) for each in session.relaying.pairs]  # type: ignore[attr-defined]
            left += [weakref.ref(session.relaying), weakref.ref(session.relaying.openings)]  # type: ignore[attr-defined]
            del session
            for _, writer in opened if closed else ():
                writer.close()
        await world.ended()
        await until(lambda: not world.kernel.known())
        await until(lambda: not any(each() for each in left))
    finally:
        gc.enable()


def test_many_have_less_on_their_way_each(world: World) -> None:
    windows = [window_of(others) for others in range(MOST)]
    assert windows[0] == WINDOW
    assert windows == sorted(windows, reverse=True)
    assert min(windows) == WINDOW_LEAST
    assert sum(windows) < 5 * SHARED
