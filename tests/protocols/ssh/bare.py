"""A client of SSH's packets: it exchanges keys by asyncssh and says nothing else of its own, so that a test says
what it likes, in whatever order, and hears each answer as it is."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncssh
from asyncssh.constants import (
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_REQUEST,
    MSG_EXT_INFO,
    MSG_KEXINIT,
    MSG_NEWKEYS,
    MSG_SERVICE_ACCEPT,
    MSG_SERVICE_REQUEST,
    MSG_USERAUTH_REQUEST,
    MSG_USERAUTH_SUCCESS,
)
from asyncssh.packet import Boolean, SSHPacket, String, UInt32

PATIENCE = 10.0
KEYS = frozenset({MSG_EXT_INFO, MSG_KEXINIT, MSG_NEWKEYS, *range(30, 50)})


class Everywhere(dict[int, Any]):
    """Whatever channel it is, it is this one's."""

    def __init__(self, one: Any) -> None:
        self._one = one

    def __missing__(self, number: int) -> Any:
        return self._one

    def values(self) -> Any:
        return ()


class BareClient(asyncssh.SSHClientConnection):
    """``heard``: the packets that came since the keys were exchanged, as (type, rest); (0, b"") is the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: Any) -> None:
        super().__init__(loop, options, wait=None)
        self.heard: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self.ready = loop.create_future()
        inner: Any = self
        inner._channels = Everywhere(self)

    def send_service_request(self, service: bytes) -> None:
        """Not by itself."""
        inner: Any = self
        inner._auth = self
        inner._auth_complete = True  # nothing is deferred
        if not self.ready.done():
            self.ready.set_result(None)

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> Any:
        if pkttype in KEYS:
            return super().process_packet(pkttype, pktid, packet)
        self.heard.put_nowait((pkttype, packet.get_remaining_payload()))
        return True

    def cancel(self) -> None:
        """For asyncssh, which takes this for a try to log in too."""

    def connection_lost(self, exc: Exception | None = None) -> None:
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionResetError("closed"))
            self.ready.exception()
        self.heard.put_nowait((0, b""))
        super().connection_lost(exc)

    # -- for tests -----------------------------------------------------------------------------------------------

    def say(self, kind: int, *parts: bytes) -> None:
        self.send_packet(kind, *parts)

    async def hear(self, *but: int) -> tuple[int, bytes]:
        """The next packet that is none of the kinds ``but``."""
        async with asyncio.timeout(PATIENCE):
            while True:
                kind, rest = await self.heard.get()
                if kind not in but:
                    return kind, rest

    async def until(self, kind: int) -> bytes:
        """The next packet of a kind."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found, rest = await self.heard.get()
                assert found, f"the end came before a packet of type {kind}"
                if found == kind:
                    return rest

    async def service(self) -> None:
        """Ask for the log-in."""
        self.say(MSG_SERVICE_REQUEST, String("ssh-userauth"))
        assert await self.hear() == (MSG_SERVICE_ACCEPT, String("ssh-userauth"))

    def attempt(self, method: str, *parts: bytes, user: str = "any", service: str = "ssh-connection") -> None:
        """Try to log in."""
        self.say(MSG_USERAUTH_REQUEST, String(user), String(service), String(method), *parts)

    async def enter(self) -> None:
        """Log in as who may."""
        await self.service()
        self.attempt("password", Boolean(False), String("good"))
        assert (await self.hear())[0] == MSG_USERAUTH_SUCCESS

    async def session(self, number: int = 0, window: int = 1 << 20) -> int:
        """A session channel, by this side's number; the other side's."""
        self.say(MSG_CHANNEL_OPEN, String("session"), UInt32(number), UInt32(window), UInt32(32768))
        answer = SSHPacket(await self.until(MSG_CHANNEL_OPEN_CONFIRMATION))
        # asyncssh has taken the number that the packet begins with
        return answer.get_uint32() if len(answer.get_full_payload()) == 12 else _second(answer)

    def request(self, channel: int, name: str | bytes, *parts: bytes, answer: bool = True) -> None:
        """Ask for something on a channel."""
        self.say(MSG_CHANNEL_REQUEST, UInt32(channel), String(name), Boolean(answer), *parts)


def _second(answer: SSHPacket) -> int:
    answer.get_uint32()
    return answer.get_uint32()


@contextlib.asynccontextmanager
async def bare(port: int, version: str = "bare", patience: float = PATIENCE) -> AsyncIterator[BareClient]:
    """A client that has exchanged keys, within so many seconds."""
    loop = asyncio.get_running_loop()
    options: Any = await asyncssh.SSHClientConnectionOptions.construct(
        known_hosts=None, client_keys=None, agent_path=None, config=None, client_version=version, username="any"
    )
    _, line = await loop.create_connection(lambda: BareClient(loop, options), "127.0.0.1", port)
    try:
        async with asyncio.timeout(patience):
            await line.ready
        yield line
    finally:
        line.abort()
        await line.wait_closed()
