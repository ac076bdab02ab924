"""Connections that a client opens through the target (direct-tcpip), each with its record. Async, by asyncssh's
callbacks; made by ``conversation``.

To what an account's list has and nothing else, and only once that is recorded; both directions are counted and
hashed, and kept where the grant says so.
"""

from typing import Any

import asyncssh

from proxy.core.actions import Tunnel
from proxy.core.records import Flow, Outcome, Via
from proxy.core.steps import Side
from proxy.protocols.ssh.passing import Hold, Pair


class TunnelPair(Pair):
    """A connection through the target. Two ``TunnelEnd`` have the callbacks."""

    async def open(self, to: tuple[str, int], of: tuple[str, int]) -> "TunnelEnd":
        """The client's end. ``asyncssh.ChannelOpenError`` where it may not be, or the target has it not."""
        host, port = to
        try:
            why = await self.talk.decided(Tunnel(host, port)) or ("the session has ended" if self.late() else "")
            self.begin(Via.TUNNEL, f"{host}:{port}".encode())
            if why:
                self.conclude(Outcome.DENIED, b"", why.encode())
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, why)
            await self.ledger.on_disk()
            if self.late():
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the session has ended")
            await self.talk.target.line.connection(lambda: TunnelEnd(self, Side.TARGET), to, of)
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
