"""The engine with a client that does as it likes, by asyncssh: what it is given, refused, and recorded as."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import String, UInt32

from proxy.core.records import (
    Flow,
    Note,
    Outcome,
    Passed,
    Record,
    Resized,
    StatementFinished,
    StatementStarted,
)
from proxy.core.states import EndReason
from proxy.protocols.ssh.lines import REKEYED_MOST, KexInit, preferred
from tests.contracts.test_engines import World, until, world

__all__ = ["world"]

pytestmark = pytest.mark.parametrize("world", ["ssh"], indirect=True)
GCM, CHACHA = "aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"


@contextlib.asynccontextmanager
async def client(world: World, **wanted: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
    given = {"username": "any", "password": "good", "preferred_auth": "password", **wanted}
    async with asyncssh.connect(
        "127.0.0.1", world.port, known_hosts=None, client_keys=None, agent_path=None, config=None, **given
    ) as line:
        yield line


def recorded(world: World) -> list[Record]:
    (recorder,) = world.recordings.opened.values()
    return recorder.records


def rows(world: World) -> list[dict[str, Any]]:
    """What was refused without that anything began."""
    return [dict(each.data) for each in recorded(world) if isinstance(each, Note) and each.kind == "denied"]


def denied(world: World) -> list[Any]:
    return [each["what"] for each in rows(world)]


@pytest.mark.parametrize(
    ("known", "given"),
    [([CHACHA, GCM], GCM), ([CHACHA], CHACHA), (["aes256-ctr", GCM], GCM), (["aes256-ctr"], "aes256-ctr")],
)
async def test_who_knows_aes_gcm_is_given_it_and_nobody_else(world: World, known: list[str], given: str) -> None:
    async with client(world, encryption_algs=known) as line:
        assert line.get_extra_info("send_cipher") == given
        assert line.get_extra_info("recv_cipher") == given
        assert (await line.run("quick")).exit_status == 0


async def test_clients_that_go_by_the_name_find_openssh(world: World) -> None:
    """ssh2 of Node.js asks for nothing of OpenSSH's own below 5, nor where there is no number."""
    async with client(world) as line:
        version = line.get_extra_info("server_version")
        assert re.match(r"SSH-2\.0-OpenSSH_(?:[5-9]|[0-9]{2})\.[0-9]+_Tidegate\Z", version)
        assert (await line.run("quick")).exit_status == 0


def test_only_what_is_offered_can_be_preferred(world: World) -> None:
    known = KexInit((b"", b""), frozenset({b"aes256-gcm@openssh.com", b"other"}), guessed=False)
    assert preferred(known, [b"aes128-gcm@openssh.com", b"aes256-gcm@openssh.com", b"x"]) == [
        b"aes256-gcm@openssh.com"
    ]
    assert preferred(KexInit((b"", b""), frozenset(), guessed=False), [b"x", b"y"]) == [b"x", b"y"]


async def test_a_wrong_token_may_be_typed_again_but_not_a_fourth_time(world: World) -> None:
    class Guessing(asyncssh.SSHClient):
        tries = 0

        def password_auth_requested(self) -> str:
            Guessing.tries += 1
            return f"bad {Guessing.tries}"

    with pytest.raises(asyncssh.DisconnectError, match="the token is not valid"):
        async with client(world, password=None, client_factory=Guessing):
            pass
    assert Guessing.tries == 3
    assert world.peer.dialled == 0


async def test_the_second_try_may_be_the_right_one(world: World) -> None:
    words: list[str] = []

    answers = ["bad", "good"]

    class Slow(asyncssh.SSHClient):
        def auth_banner_received(self, msg: str, lang: str) -> None:
            words.append(msg)

        def password_auth_requested(self) -> str:
            return answers.pop(0)

    async with client(world, password=None, client_factory=Slow) as line:
        assert (await line.run("quick")).exit_status == 0
    assert "the token is not valid" in words[0]


async def test_a_flood_before_the_log_in_is_not_listened_to(world: World) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(b"SSH-2.0-flood\r\n" + b"\0\0\xff\xf0" * 100_000)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(5):
            await reader.read()
    writer.close()
    await until(lambda: len(world.services.registry) == 0)
    assert world.peer.dialled == 0


async def test_keys_again_and_again_end_the_session(world: World) -> None:
    with pytest.raises((asyncssh.Error, OSError)):
        async with client(world) as line:
            inner: Any = line
            for _ in range(REKEYED_MOST + 10):
                inner._send_kexinit()
                inner._kexinit_sent = True
                async with asyncio.timeout(5):
                    while not inner._kex_complete and not line.is_closed():  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
            await line.run("quick")
    assert (await world.ended()).end_reason is EndReason.PROTOCOL_ERROR


async def test_no_more_sessions_than_ten(world: World) -> None:
    async with client(world) as line:
        running = [await line.create_process("slow") for _ in range(10)]
        with pytest.raises(asyncssh.ChannelOpenError, match="no more than 10 sessions at once"):
            await line.run("quick")
        assert denied(world) == ["channel"]
        running[0].terminate()
        await running[0].wait()
        assert (await line.run("quick")).exit_status == 0
    assert world.peer.ran == ["slow"] * 10 + ["quick"]


async def test_one_command_a_channel(world: World) -> None:
    async with client(world) as line:
        process = await line.create_process("slow")
        inner: Any = process.channel
        assert await inner._make_request(b"exec", String("another")) is False
        assert await inner._make_request(b"shell") is False
        assert await inner._make_request(b"subsystem", String("sftp")) is False
    assert world.peer.ran == ["slow"]
    assert [(row["what"], row["detail"]) for row in rows(world)] == [
        ("command", "a second start on its channel: another"),
        ("shell", "a second start on its channel: shell"),
        ("subsystem", "a second start on its channel: sftp"),
    ]


async def test_what_nobody_may_is_refused_and_recorded(world: World) -> None:
    async with client(world) as line:
        with pytest.raises(asyncssh.ChannelListenError):
            await line.forward_remote_port("", 0, "127.0.0.1", 1)
        with pytest.raises(asyncssh.ChannelOpenError, match="may not be forwarded to unix:/run/some"):
            await line.open_unix_connection("/run/some.socket")
        inner: Any = line
        with pytest.raises(asyncssh.ChannelOpenError):
            await line.open_tun()
        with pytest.raises(asyncssh.ChannelOpenError, match="may not be forwarded to"):
            await line.open_connection("127.0.0.1", 1)
        channel, _ = await line.create_session(asyncssh.SSHClientSession, "slow")
        asked: Any = channel
        assert not await asked._make_request(b"auth-agent-req@openssh.com")
        assert not await asked._make_request(b"x11-req", b"\0", String("MIT"), String("00"), UInt32(0))
        assert not await asked._make_request(b"env", String("LD_PRELOAD"), String("x"))
        with pytest.raises(asyncssh.ChannelOpenError):
            await line.create_session(asyncssh.SSHClientSession, subsystem="netconf")
        assert inner is line
    assert denied(world) == [
        "remote forward", "tunnel device", "agent", "x11", "environment", "subsystem"
    ]  # fmt: skip
    ended = [each for each in recorded(world) if isinstance(each, StatementFinished)]
    assert [each.outcome for each in ended][:2] == [Outcome.DENIED, Outcome.DENIED]


async def test_a_terminal_is_recorded_with_its_size(world: World) -> None:
    async with client(world) as line:
        await line.run("quick")
        async with line.create_process("quick", term_type="xterm", term_size=(100, 40)) as process:
            await process.wait()
    started = [each for each in recorded(world) if isinstance(each, StatementStarted)]
    assert [(each.seq, each.text) for each in started] == [(1, b"quick"), (2, b"quick")]
    assert [each for each in recorded(world) if isinstance(each, Resized)] == [Resized(2, 100, 40)]
    assert not [each for each in recorded(world) if isinstance(each, Passed) and each.flow == Flow.INPUT]
