"""Nothing of what waits in an SSH connection is without a bound, whatever a peer says that it takes or asks for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncssh
import pytest
from asyncssh.constants import MSG_CHANNEL_DATA, MSG_GLOBAL_REQUEST
from asyncssh.packet import Boolean, String, UInt32

from proxy.core.states import EndReason
from proxy.protocols.ssh.channels import SessionPair
from proxy.protocols.ssh.conversation import SshConversation
from proxy.protocols.ssh.line_channels import REQUESTS_MOST
from proxy.protocols.ssh.openings import LINGERING
from proxy.protocols.ssh.refusals import KINDS_MOST
from tests.contracts.test_engines import World, until, world
from tests.protocols.ssh.test_engine import client, denied, rows

__all__ = ["world"]

pytestmark = pytest.mark.parametrize("world", ["ssh"], indirect=True)
MUCH = 48 * 1024 * 1024
HUGE = 1 << 31
"""A window that a client may well say."""


def inside(world: World) -> SshConversation:
    (session,) = world.services.registry
    found = session.relaying
    assert isinstance(found, SshConversation)
    return found


def waiting(world: World) -> int:
    """Bytes that the gateway keeps for the client."""
    talk = inside(world)
    line: Any = talk._client.line
    stream: Any = talk._client.transport._stream
    channels = sum(kept(each._send_buf) for each in line._channels.values())
    return channels + len(stream.unsent) + sum(len(each) for _, args in line._deferred_packets for each in args)


@contextlib.asynccontextmanager
async def flood(world: World) -> AsyncIterator[tuple[Any, Any]]:
    """A client that runs what says much, in a window that never fills."""
    async with client(world) as line:
        process = await line.create_process(f"flood {MUCH}", window=HUGE, encoding=None)
        yield line, process


async def test_a_client_that_does_not_read_is_not_written_to_without_end(world: World) -> None:
    async with flood(world) as (line, process):
        line._transport.pause_reading()
        most = 0
        for _ in range(100):
            await asyncio.sleep(0.01)
            most = max(most, waiting(world))
        assert 0 < most < 2 * 1024 * 1024
        line._transport.resume_reading()
        assert len(await process.stdout.read()) == MUCH


async def test_nor_one_that_does_not_finish_an_exchange_of_keys(world: World) -> None:
    async with flood(world) as (line, process):
        line._process_kexinit = None  # it hears no more of it
        line._packet_handlers = {**line._packet_handlers, 20: lambda *_: True}
        line._send_kexinit()
        most = 0
        for _ in range(100):
            await asyncio.sleep(0.01)
            most = max(most, waiting(world))
        assert not inside(world)._client.line._kex_complete  # type: ignore[attr-defined]
        assert most < 2 * 1024 * 1024
        process.close()


async def test_an_exchange_of_keys_stops_nothing_for_good(world: World) -> None:
    async with flood(world) as (line, process):
        await process.stdout.readexactly(1024 * 1024)
        line._send_kexinit()
        line._kexinit_sent = True
        assert len(await process.stdout.read()) == MUCH - 1024 * 1024


async def test_pieces_that_wait_are_joined(world: World) -> None:
    """A byte at a time, to a target that does not read: taken from the front of a list one by one, so many cost
    seconds when it does."""
    async with client(world) as line:
        process: Any = await line.create_process("slow", encoding=None)
        (pair,) = inside(world).pairs
        inner: Any = pair.client
        target: Any = pair.target
        await until(lambda: inner._recv_paused is False)
        target._send_window = 0
        for _ in range(100):
            for _ in range(1000):
                process.channel.send_packet(MSG_CHANNEL_DATA, String(b"x"))
            await asyncio.sleep(0)
        await until(lambda: kept(inner._recv_buf) + kept(target._send_buf) == 100_000)
        assert inner._recv_paused and len(inner._recv_buf) < 10 and len(target._send_buf) < 10
        target._send_window = 2 * 1024 * 1024
        target._flush_send_buf()
        await until(lambda: not inner._recv_buf and not target._send_buf)
        (host,) = world.peer.processes  # type: ignore[attr-defined]
        await until(lambda: host.heard == 100_000)


def kept(buffer: Any) -> int:
    return sum(len(each) for each, _ in buffer)


async def ended_badly(world: World, words: str) -> None:
    ended = await world.ended()
    assert ended.end_reason is EndReason.PROTOCOL_ERROR and words in str(world.told("session_ended")), world.told(
        ""
    )


async def test_requests_that_wait_for_an_answer_are_bounded(world: World) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        async with client(world) as line:
            inner: Any = line
            channel: Any = asyncssh.SSHClientChannel(inner, inner._loop, "strict", None, "strict", 1024, 1024)
            await channel._open(b"session")
            channel._send_request(b"exec", String("slow"), want_reply=True)
            for _ in range(REQUESTS_MOST + 2):
                channel._send_request(b"env", String("LANG"), String("C"))
            await line.wait_closed()
    await ended_badly(world, "too many requests")


async def test_those_of_a_connection_do_not_wait_and_leave_few_rows(world: World) -> None:
    async with client(world) as line:
        inner: Any = line
        for _ in range(5000):
            inner.send_packet(MSG_GLOBAL_REQUEST, String("tcpip-forward"), Boolean(False), String("x"), UInt32(1))
        for number in range(5000):
            inner.send_packet(MSG_GLOBAL_REQUEST, String(f"request-{number}"), Boolean(False))
        assert (await line.run("quick")).exit_status == 0
        assert not inside(world)._client.line._global_request_queue  # type: ignore[attr-defined]
    await world.ended()
    left = rows(world)
    assert len(left) < 1100
    assert max(each.get("times", 1) for each in left if each["what"] == "remote forward") == 5000
    assert sum(each["detail"].startswith("request-") for each in left) == KINDS_MOST - 1
    assert max(each.get("times", 1) for each in left if each["detail"] == "and others") == 5001 - KINDS_MOST


async def test_packets_of_a_byte_are_not_sent(world: World) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        async with client(world) as line:
            await line.create_process("slow", max_pktsize=1)
            await line.wait_closed()
    await ended_badly(world, "packets of 1 bytes")


async def test_commands_that_outlive_their_channels_are_bounded(world: World) -> None:
    async with client(world) as line:
        await line.run("quick")
        talk = inside(world)
        channel: Any = None
        for _ in range(LINGERING * 10):
            pair = SessionPair(talk, channel, ())
            pair.client_gone = True
            talk.pairs.add(pair)
        with pytest.raises(asyncssh.ChannelOpenError, match="no more than 40 sessions that still run"):
            await line.run("quick")
        assert denied(world) == ["channel"]
        talk.pairs.pop()
        assert (await line.run("quick")).exit_status == 0


async def test_a_connection_that_is_aborted_is_forgotten_at_once(world: World) -> None:
    clients = world.peer.made._clients  # type: ignore[attr-defined]
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(b"SSH-2.0-x\r\n")
        await reader.readuntil(b"\r\n")
        writer.transport.abort()
    began = asyncio.get_running_loop().time()
    await until(lambda: not clients and not len(world.services.registry))
    assert asyncio.get_running_loop().time() - began < 2
