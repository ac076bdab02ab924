"""asyncssh on a stream of the kernel: the line stays the kernel's, which counts, holds and closes it.

What asyncssh writes in one turn of the loop leaves in one write. A peer that does not read is not read either, so
that answers to its requests cannot pile up, and what is for it waits where it came from (``congested``). Before the
log-in it is heard only so far; and where what it said takes long, the rest waits for the next turn. Used by
``client_side`` and ``upstream``; knows nothing of what is said.
"""

import asyncio
import time
from collections.abc import Callable

from proxy.sessions.transport import Stream

SLICE = 32 * 1024
"""asyncssh moves what is left of a chunk for each packet in it: smaller chunks are moved less."""
TURN = 0.005
"""Seconds of work from which what is left of a chunk waits until the others have had their turn."""


class StreamTransport(asyncio.Transport):
    """One side's line. ``may_pass`` is asked before each chunk is looked at; ``most`` are the bytes taken until
    ``trust`` is called (0: any)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stream: Stream,
        may_pass: Callable[[], bool] | None = None,
        most: int = 0,
    ) -> None:
        super().__init__()
        self._loop = loop
        self._stream = stream
        self._may_pass = may_pass
        self._most = most
        self._taken = 0
        self._left = b""  # of the last chunk; while there is any, nothing is read
        self._protocol: asyncio.Protocol | None = None
        self._unsent: list[bytes] = []
        self._frozen = self._pressed = False
        self._over = False

    def start(self, protocol: asyncio.Protocol) -> None:
        """Let ``protocol`` talk."""
        self._protocol = protocol
        protocol.connection_made(self)
        self._stream.attach(self._received, self._ended, self._drained)

    def trust(self) -> None:
        """The peer has logged in: no bound on what it says any more."""
        self._most = 0

    def freeze(self) -> None:
        """Nothing of this side is read any more."""
        self._frozen = True
        self._stream.hold()

    # -- what the stream tells -----------------------------------------------------------------------------------

    def _received(self, chunk: bytes) -> None:
        protocol = self._protocol
        if protocol is None or (self._may_pass is not None and not self._may_pass()):
            return
        if self._most:
            self._taken += len(chunk)
            if self._taken > self._most:
                self._ended(ConnectionError("too much was sent before the log-in"))
                return
        if len(chunk) <= SLICE:
            protocol.data_received(chunk)
        else:
            self._slices(protocol, chunk)

    def _slices(self, protocol: asyncio.Protocol, chunk: bytes) -> None:
        began = time.monotonic()
        for start in range(0, len(chunk), SLICE):
            if self._over or self._frozen:
                return
            if start and time.monotonic() - began > TURN:
                self._left = chunk[start:]
                self._stream.hold()
                self._loop.call_soon(self._go_on)
                return
            protocol.data_received(chunk[start : start + SLICE])

    def _go_on(self) -> None:
        chunk, self._left = self._left, b""
        if self._protocol is None or (self._may_pass is not None and not self._may_pass()):
            return
        self._slices(self._protocol, chunk)
        self._read_on()

    def _ended(self, error: Exception | None) -> None:
        self._left = b""
        if not self._over and self._protocol is not None:
            self._protocol.connection_lost(error or ConnectionResetError("the connection was closed"))

    def _drained(self) -> None:
        if self._protocol is not None and not self._over:
            self._protocol.resume_writing()
        self._read_on()

    def _read_on(self) -> None:
        if not (self._frozen or self._pressed or self._left or self._stream.congested):
            self._stream.release()

    # -- what asyncssh does --------------------------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """Whether the peer takes less than it is sent."""
        return self._stream.congested

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send at the end of this turn, together with what else is written in it."""
        if self._protocol is None:
            return
        if not self._unsent:
            self._loop.call_soon(self.flush)
        self._unsent.append(bytes(data))

    def flush(self) -> None:
        """Send now."""
        if self._unsent and not self._stream.closed:
            data = b"".join(self._unsent)
            self._unsent.clear()
            self._stream.write(data)
            if self._stream.congested:
                self._stream.hold()

    def abort(self) -> None:
        """asyncssh is done with the line; closing it is the kernel's."""
        self.flush()
        self._over = True
        self.freeze()

    def holds(self) -> int:
        """Bytes that were read and not yet looked at, and that leave at the end of this turn."""
        return len(self._left) + sum(len(each) for each in self._unsent)

    def press(self, on: bool) -> None:
        """Read nothing of this side for now, or read on."""
        self._pressed = on
        if on:
            self._stream.hold()
        else:
            self._read_on()

    def forget(self) -> None:
        """Know neither protocol nor session any more. What asyncssh writes from now on goes nowhere."""
        self.abort()
        self._unsent.clear()
        self._left = b""
        self._protocol = self._may_pass = None

    def close(self) -> None:
        self.abort()

    def is_closing(self) -> bool:
        return self._over

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Nothing: addresses are the kernel's to know."""
        return default
