"""A channel that was held, because the other side took no more, still has bytes when the session is cut. They do
not pass on though there is room again: not in the turn of the cut, and not before the disconnect. asyncssh is on
both ends, and a tunnel between them, which nobody closes when the cut is told."""

from typing import Any

import asyncssh
import pytest

from proxy.core.states import EndReason
from proxy.core.steps import Side
from proxy.protocols.ssh.conversation import SshConversation
from proxy.protocols.ssh.passing import Hold, Pair
from tests.contracts.ssh_peer import FAR
from tests.contracts.test_engines import World, until, world
from tests.protocols.ssh.test_engine import client

__all__ = ["world"]

pytestmark = pytest.mark.parametrize("world", ["ssh"], indirect=True)
MUCH = bytes(8 * 1024 * 1024)
"""More than all windows and buffers on the way together."""


class End(asyncssh.SSHTCPSession[bytes]):
    """One end of the tunnel, which reads nothing until it is told to."""

    def __init__(self) -> None:
        self.channel: Any = None
        self.taken = 0

    def connection_made(self, chan: Any) -> None:
        self.channel = chan

    def session_started(self) -> None:
        self.channel.pause_reading()

    def data_received(self, data: bytes, datatype: Any) -> None:
        self.taken += len(data)


@pytest.mark.parametrize("says", list(Side))
async def test_what_was_held_does_not_pass_after_the_cut(world: World, says: Side) -> None:
    far, near = End(), End()
    world.peer.far = lambda: far  # type: ignore[attr-defined]
    async with client(world) as line:
        await line.create_connection(lambda: near, *FAR)
        await until(lambda: far.channel is not None)
        source, sink = (near, far) if says is Side.CLIENT else (far, near)
        (session,) = world.services.registry
        conversation: SshConversation = session.relaying
        (pair,) = conversation.pairs
        source.channel.write(MUCH)
        held, full = (pair.client, pair.target) if says is Side.CLIENT else (pair.target, pair.client)
        await until(lambda: is_held(pair, says) and bool(held._recv_buf))
        passed = conversation.ledger.moved
        session.end(EndReason.GRANT_REVOKED, "by dave")
        full._session.resume_writing()  # as if room had come in the turn of the cut
        sink.channel.resume_reading()
        assert (await world.ended()).end_reason is EndReason.GRANT_REVOKED
        assert sink.taken <= passed
        assert conversation.ledger.moved == passed


def is_held(pair: Pair, side: Side) -> bool:
    return bool(pair._holds[side] & Hold.OTHER_FULL)
