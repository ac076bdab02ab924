"""Connections that a client opens through the target (direct-tcpip, and OpenSSH's direct-streamlocal), each with
its record. Async, by asyncssh's callbacks; made by ``conversation``.

To what an account's list has and nothing else, and only once that is recorded; both directions are counted and
hashed, and kept where the grant says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncssh

from proxy.core.actions import Action, SocketTunnel, Tunnel
from proxy.core.records import Flow, Outcome, Via
from proxy.core.steps import Side
from proxy.protocols.ssh.lines import TargetLine
from proxy.protocols.ssh.passing import Hold, Pair, Talk


@dataclass(frozen=True, slots=True)
class TcpWay:
    """To a host and port, for a client that was connected to at ``source``, by its own words."""

    host: str
    port: int
    source: str
    source_port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def action(self) -> Action:
        return Tunnel(self.host, self.port)

    async def go(self, line: TargetLine, end: Callable[[], Any], window: int) -> None:
        """Have the target connect."""
        await line.connection(end, (self.host, self.port), (self.source, self.source_port), window)


@dataclass(frozen=True, slots=True)
class SocketWay:
    """To a unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def action(self) -> Action:
        return SocketTunnel(self.path)

    async def go(self, line: TargetLine, end: Callable[[], Any], window: int) -> None:
        """Have the target connect."""
        await line.unix_connection(end, self.path, window)


class TunnelPair(Pair):
    """A connection through the target. Two ``TunnelEnd`` have the callbacks. ``window``: bytes that may be on their
    way, each way."""

    def __init__(self, talk: Talk, client: Any, way: TcpWay | SocketWay, window: int) -> None:
        super().__init__(talk, client)
        self._way = way
        self._window = window

    async def open(self) -> "TunnelEnd":
        """The client's end. ``asyncssh.ChannelOpenError`` where it may not be, or the target has it not."""
        try:
            why = await self.talk.decided(self._way.action) or ("the session has ended" if self.late() else "")
            text = str(self._way).encode(errors="replace")
            if why:
                self.begin_refused(Via.TUNNEL, text)
                self.conclude(Outcome.DENIED, b"", why.encode())
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, why)
            self.begin(Via.TUNNEL, text)
            await self.ledger.on_disk()
            if self.late():
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the session has ended")
            await self._way.go(self.talk.target.line, lambda: TunnelEnd(self, Side.TARGET), self._window)
        except asyncssh.ChannelOpenError as error:
            self.conclude(Outcome.FAILED, b"", error.reason.encode())
            raise
        except Exception as error:
            self.ledger.failed(error)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the gateway failed") from None
        return TunnelEnd(self, Side.CLIENT)

    def gone(self, side: Side) -> None:
        """One side has closed: so does the other, after what it is still owed."""
        if side is Side.CLIENT:
            self.client_gone = True
            if self.target is not None:
                self.target.close()
        elif self.target is not None:
            self.target = None
            self.conclude(Outcome.CUT if self.talk.cut else Outcome.DONE)
            if not self.client_gone:
                self.client.close()


class TunnelEnd(asyncssh.SSHTCPSession[bytes]):
    """One side's callbacks of a tunnel."""

    def __init__(self, pair: TunnelPair, side: Side) -> None:
        self._pair = pair
        self._side = side
        self._other = Side.TARGET if side is Side.CLIENT else Side.CLIENT

    def connection_made(self, chan: Any) -> None:
        if self._side is Side.TARGET:
            self._pair.target = chan

    def data_received(self, data: bytes, datatype: Any) -> None:
        self._pair.heard(self._side, data, Flow.INPUT if self._side is Side.CLIENT else Flow.OUTPUT)

    def eof_received(self) -> bool:
        self._pair.ended(self._side)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._pair.gone(self._side)

    def pause_writing(self) -> None:
        self._pair.hold(self._other, Hold.OTHER_FULL)

    def resume_writing(self) -> None:
        self._pair.release(self._other, Hold.OTHER_FULL)
