"""What a client says of its terminal and to its command before the target has begun it: kept, in few pieces, and
said then; and its answers come in the order that sshd has."""

from typing import Any

import pytest
from asyncssh.constants import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
)
from asyncssh.packet import SSHPacket, String, UInt32

from proxy.core.records import Note, Resized, StatementStarted
from proxy.protocols.ssh.channels import EARLY_MOST
from proxy.protocols.ssh.line_channels import REQUESTS_MOST
from tests.contracts.ssh_peer import SshPeer
from tests.contracts.test_engines import World, until, world
from tests.protocols.ssh.bare import BareClient, bare
from tests.protocols.ssh.test_engine import denied, recorded

__all__ = ["world"]

pytestmark = pytest.mark.parametrize("world", ["ssh"], indirect=True)


def peer_of(world: World) -> SshPeer:
    assert isinstance(world.peer, SshPeer)
    return world.peer


def cells(columns: int, rows: int) -> bytes:
    return b"".join(map(UInt32, (columns, rows, 0, 0)))


def resize(client: BareClient, channel: int, columns: int, rows: int) -> None:
    client.request(channel, "window-change", cells(columns, rows), answer=False)


async def terminal(client: BareClient) -> int:
    """A channel with a terminal of 80 by 24."""
    await client.enter()
    channel = await client.session()
    client.request(channel, "pty-req", String("xterm"), cells(80, 24), String(b"\0"))
    assert await client.hear() == (MSG_CHANNEL_SUCCESS, b"")
    return channel


async def asked(world: World, client: BareClient, channel: int) -> None:
    """A command that the target does not begin until it ``opens``."""
    peer_of(world).opens.clear()
    client.request(channel, "exec", String("slow"))
    await until(lambda: any(isinstance(each, StatementStarted) for each in recorded(world)))


async def begun(world: World, client: BareClient) -> None:
    peer_of(world).opens.set()
    assert await client.hear(MSG_CHANNEL_WINDOW_ADJUST) == (MSG_CHANNEL_SUCCESS, b"")


async def test_a_size_that_changes_before_anything_is_asked_for(world: World) -> None:
    async with bare(world.port) as client:
        channel = await terminal(client)
        resize(client, channel, 100, 30)
        resize(client, channel, 120, 40)
        client.request(channel, "shell")
        assert await client.hear(MSG_CHANNEL_WINDOW_ADJUST, MSG_CHANNEL_REQUEST) == (MSG_CHANNEL_SUCCESS, b"")
    assert [each[2:4] for each in peer_of(world).told if each[0] == "terminal"] == [(120, 40)]
    sizes = [(each.columns, each.rows) for each in recorded(world) if isinstance(each, Resized)]
    assert sizes == [(120, 40)]


async def test_sizes_that_change_while_the_target_opens_it_are_one(world: World) -> None:
    """However many there are: a window that is dragged sends hundreds."""
    async with bare(world.port) as client:
        channel = await terminal(client)
        await asked(world, client, channel)
        for number in range(REQUESTS_MOST * 10):
            resize(client, channel, 100 + number, 30)
        last = 100 + REQUESTS_MOST * 10 - 1
        (session,) = world.services.registry
        (pair,) = session.relaying.pairs  # type: ignore[attr-defined]
        await until(lambda: bool(pair._size) and pair._size[0] == last)
        await begun(world, client)
        await until(lambda: ("size", last, 30, 0, 0) in peer_of(world).told)
        resize(client, channel, 70, 20)
        await until(lambda: ("size", 70, 20, 0, 0) in peer_of(world).told)
    told = [each for each in peer_of(world).told if each[0] == "size"]
    assert told == [("size", last, 30, 0, 0), ("size", 70, 20, 0, 0)]
    sizes = [(each.columns, each.rows) for each in recorded(world) if isinstance(each, Resized)]
    assert sizes == [(80, 24), (last, 30), (70, 20)]


async def test_signals_and_breaks_wait_for_the_command(world: World) -> None:
    async with bare(world.port) as client:
        channel = await terminal(client)
        await asked(world, client, channel)
        client.request(channel, "signal", String("USR1"), answer=False)
        client.request(channel, "break", UInt32(500), answer=False)
        for _ in range(EARLY_MOST):
            client.request(channel, "signal", String("USR2"), answer=False)
        await until(lambda: denied(world) == ["signal", "signal"])
        await begun(world, client)
        expected = [("signal", "USR1"), ("break", 500), *[("signal", "USR2")] * (EARLY_MOST - 2)]
        await until(lambda: [each for each in peer_of(world).told if each[0] != "terminal"] == expected)
        client.request(channel, "signal", String("USR2"), answer=False)
        await until(lambda: len(peer_of(world).told) == len(expected) + 2)
    noted = [
        dict(each.data)["signal"] for each in recorded(world) if isinstance(each, Note) and each.kind == "signal"
    ]
    assert noted == ["USR1", "break of 500 ms", *["USR2"] * (EARLY_MOST - 1)]


async def test_signals_of_a_kind_of_their_own_are_the_targets_to_judge(world: World) -> None:
    async with bare(world.port) as client:
        await client.enter()
        channel = await client.session()
        client.request(channel, "exec", String("slow"))
        assert await client.hear() == (MSG_CHANNEL_SUCCESS, b"")
        client.request(channel, "signal", String("USR-INFO@openssh.com"), answer=False)
        await until(lambda: ("signal", "USR-INFO@openssh.com") in peer_of(world).told)


async def test_a_signal_with_nothing_to_get_it_is_refused(world: World) -> None:
    async with bare(world.port) as client:
        channel = await terminal(client)
        client.request(channel, "signal", String("TERM"), answer=False)
        await until(lambda: denied(world) == ["signal"])
        client.request(channel, "exec", String("slow"))
        assert await client.hear() == (MSG_CHANNEL_SUCCESS, b"")
        client.request(channel, "signal", String("USR1"), answer=False)
        await until(lambda: ("signal", "USR1") in peer_of(world).told)
    assert ("signal", "TERM") not in peer_of(world).told


async def test_the_answer_comes_before_what_it_is_the_answer_to(world: World) -> None:
    """A command that has ended by the time that the target's answer is read: its end is told after the answer."""
    async with bare(world.port) as client:
        await client.enter()
        for number in range(10):
            channel = await client.session(number)
            client.request(channel, "exec", String("quick"))
            heard: list[Any] = []
            while not heard or heard[-1] != MSG_CHANNEL_CLOSE:
                kind, rest = await client.hear(MSG_CHANNEL_WINDOW_ADJUST)
                heard.append(SSHPacket(rest).get_string() if kind == MSG_CHANNEL_REQUEST else kind)
            assert heard[:2] == [MSG_CHANNEL_SUCCESS, b"exit-status"]
            assert [each for each in heard[2:] if each != MSG_CHANNEL_EOF] == [MSG_CHANNEL_CLOSE]
            client.say(MSG_CHANNEL_CLOSE, UInt32(channel))
