"""A channel that the target is still opening when its client leaves, or when the session is cut: what then begins
on the target is told to stop, nothing else is harmed, and nothing is an error."""

import asyncio
from typing import Any

import asyncssh
import pytest
from structlog.testing import capture_logs

from proxy.core.records import Outcome, StatementFinished, StatementStarted
from proxy.core.states import EndReason
from proxy.protocols.ssh.channels import TargetEnd
from proxy.protocols.ssh.conversation import SshConversation
from proxy.protocols.ssh.lines import ClientChannel
from tests.contracts.test_engines import World, until, world
from tests.protocols.ssh.test_engine import client, recorded

__all__ = ["world"]

pytestmark = pytest.mark.parametrize("world", ["ssh"], indirect=True)


def outcomes(world: World) -> list[int]:
    return [each.outcome for each in recorded(world) if isinstance(each, StatementFinished)]


async def opening(world: World, line: asyncssh.SSHClientConnection) -> "asyncio.Task[Any]":
    """A command that has been recorded and sent, and that the target has not answered."""
    peer: Any = world.peer
    peer.opens.clear()
    task = asyncio.get_running_loop().create_task(line.create_session(asyncssh.SSHClientSession, "slow"))
    await until(lambda: any(isinstance(each, StatementStarted) for each in recorded(world)))
    return task


async def test_a_client_that_closes_it_again_harms_no_other_channel(world: World) -> None:
    peer: Any = world.peer
    with capture_logs() as logs:
        async with client(world) as line:
            asking = await opening(world, line)
            inner: Any = line
            (channel,) = inner._channels.values()
            channel.close()
            await until(lambda: asking.done() or not inner._channels)
            await asyncio.sleep(0.02)
            peer.opens.set()
            await until(peer.stopped.is_set)
            assert (await line.run("quick")).exit_status == 0
            await asyncio.gather(asking, return_exceptions=True)
    assert outcomes(world) == [Outcome.CANCELLED, Outcome.DONE]
    assert (await world.ended()).end_reason is EndReason.CLIENT_CLOSED
    assert [each for each in logs if each["log_level"] == "error"] == []


async def test_a_cut_waits_for_it_and_nothing_begins(world: World) -> None:
    peer: Any = world.peer
    with capture_logs() as logs:
        async with client(world) as line:
            asking = await opening(world, line)
            (session,) = world.services.registry
            session.end(EndReason.GRANT_REVOKED, "by dave")
            await line.wait_closed()
            assert not peer.ran
            peer.opens.set()
            await asyncio.gather(asking, return_exceptions=True)
        record = await world.ended()
    assert not peer.ran
    assert record.receipt is not None
    assert record.receipt.verified
    assert outcomes(world) == [Outcome.CUT]
    assert [each for each in logs if each["log_level"] == "error"] == []


async def test_a_cut_before_the_command_is_asked_for_lets_nothing_begin(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target has opened the channel, and waits to hear what to run on it."""
    made = TargetEnd.connection_made

    def open_and_cut(end: TargetEnd, channel: Any) -> None:
        made(end, channel)
        (session,) = world.services.registry
        session.end(EndReason.GRANT_REVOKED, "by dave")
        session.relaying.freeze(None)
        session.relaying.stop()

    monkeypatch.setattr(TargetEnd, "connection_made", open_and_cut)
    async with client(world) as line:
        with pytest.raises((asyncssh.Error, OSError)):
            await line.run("slow")
    await world.ended()
    assert world.peer.ran == []


async def test_a_target_that_is_lost_as_it_answers_is_no_error_of_ours(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ClientChannel._make_request

    async def answered_and_lost(channel: ClientChannel, *asked: Any) -> Any:
        done = await made(channel, *asked)
        channel.process_connection_close(ConnectionResetError("gone"))
        return done

    monkeypatch.setattr(ClientChannel, "_make_request", answered_and_lost)
    with capture_logs() as logs:
        async with client(world) as line:
            with pytest.raises(asyncssh.ChannelOpenError):
                await line.run("slow")
    assert outcomes(world) == [Outcome.UNKNOWN]
    assert [each for each in logs if each["log_level"] == "error"] == []


async def test_what_is_asked_for_when_all_is_over_does_not_begin(world: World) -> None:
    """asyncssh may have requests left that it read before the cut."""
    with capture_logs() as logs:
        async with client(world) as line:
            await line.create_session(asyncssh.SSHClientSession, "slow")
            (session,) = world.services.registry
            conversation: SshConversation = session.relaying
            (pair,) = conversation.pairs
            late: Any = conversation.openings.session_opened(conversation._client.line)[1]
            session.end(EndReason.GRANT_REVOKED, "by dave")
            await line.wait_closed()
            await until(lambda: not world.kernel.known())
            assert late.exec_requested("quick") is None
            assert pair.target is None
    assert world.peer.ran == ["slow"]
    assert [each for each in logs if each["log_level"] == "error"] == []
