"""What OpenSSH's ssh takes of servers ends no connection to a target here either."""

from typing import Any

import pytest
from asyncssh.constants import (
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_DEBUG,
    MSG_GLOBAL_REQUEST,
    MSG_IGNORE,
    MSG_REQUEST_FAILURE,
    MSG_SERVICE_REQUEST,
    MSG_UNIMPLEMENTED,
    MSG_USERAUTH_BANNER,
)
from asyncssh.packet import Boolean, String, UInt32

from proxy.core.states import EndReason
from tests.contracts.ssh_peer import Host, Process
from tests.contracts.test_engines import World, world
from tests.protocols.ssh.test_engine import client

__all__ = ["world"]

pytestmark = pytest.mark.parametrize("world", ["ssh"], indirect=True)
LATIN = "Zugang nur für Befugte".encode("latin-1")
AT_ANY_TIME: list[tuple[int, tuple[bytes, ...]]] = [
    (MSG_IGNORE, (b"",)),
    (MSG_DEBUG, (Boolean(True), String(LATIN), String(""))),
    (MSG_DEBUG, (b"",)),
    (MSG_UNIMPLEMENTED, (b"",)),
    (200, (b"anything",)),
    (MSG_SERVICE_REQUEST, (String("ssh-userauth"),)),
]
LATER: list[tuple[int, tuple[bytes, ...]]] = [
    (MSG_GLOBAL_REQUEST, (String("hostkeys-00@openssh.com"), Boolean(False), String("a key"))),
    (MSG_GLOBAL_REQUEST, (String(LATIN), Boolean(False))),
    (MSG_REQUEST_FAILURE, ()),
    (MSG_CHANNEL_WINDOW_ADJUST, (UInt32(99), UInt32(1))),
]


async def test_what_a_target_says_before_it_lets_the_gateway_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin_auth(host: Host, username: str) -> bool:
        line: Any = host.line  # type: ignore[attr-defined]
        for kind, parts in [(MSG_USERAUTH_BANNER, (String(LATIN), String(LATIN))), *AT_ANY_TIME]:
            line.send_packet(kind, *parts)
        return True

    made = Host.connection_made

    def connection_made(host: Host, conn: Any) -> None:
        host.line = conn  # type: ignore[attr-defined]
        made(host, conn)

    monkeypatch.setattr(Host, "connection_made", connection_made)
    monkeypatch.setattr(Host, "begin_auth", begin_auth)
    async with client(world) as line:
        assert (await line.run("quick")).exit_status == 0


async def test_what_a_target_says_besides(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Process.session_started

    def odd(process: Process) -> None:
        channel: Any = process._channel
        line: Any = channel.get_connection()
        for kind, parts in [*AT_ANY_TIME, *LATER]:
            line.send_packet(kind, *parts)
        channel.send_packet(MSG_CHANNEL_SUCCESS)
        channel.send_packet(MSG_CHANNEL_EXTENDED_DATA, UInt32(7), String(LATIN))
        channel.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(0))
        started(process)

    monkeypatch.setattr(Process, "session_started", odd)
    async with client(world) as line:
        for _ in range(3):
            done = await line.run("flood 100")
            assert (done.exit_status, len(str(done.stdout)), done.stderr) == (0, 100, "")
    assert (await world.ended()).end_reason is EndReason.CLIENT_CLOSED
