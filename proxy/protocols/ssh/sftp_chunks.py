"""The bytes of one side of SFTP as they come: a packet that came in part is held until enough of it is there, the
rest passes on in order. Pure; what ``sftp_requests`` and ``sftp_answers`` are built on, and knows no packet.
"""

from proxy.core.states import EndReason
from proxy.core.steps import Close, Forward, Step


class Chunks:
    """``_chunk`` is looked at, up to ``_sent`` it is passed on or dropped, ``_steps`` are what came of it. After a
    ``Close`` nothing passes any more."""

    def __init__(self) -> None:
        self.closed = False
        self._chunk = b""
        self._sent = 0
        self._steps: list[Step] = []
        self._held = bytearray()
        self._need = 0

    def _take(self, chunk: bytes) -> int:
        """Look at ``chunk`` behind what is held; how many bytes that are together, 0 while they are too few."""
        if self._held:
            self._held += chunk
            if len(self._held) < self._need:
                chunk = b""
            else:
                chunk = bytes(self._held)
                self._held.clear()
        self._chunk, self._sent, self._steps = chunk, 0, []
        return len(chunk)

    def _hold(self, position: int, need: int) -> None:
        """Pass on what is before ``position``; of the packet there, ``need`` bytes must have come to go on."""
        self._pass(position)
        self._held += self._view(position, len(self._chunk))
        self._need = need
        self._sent = len(self._chunk)

    def _pass(self, stop: int) -> None:
        """Forward what is not yet, up to ``stop``."""
        if stop > self._sent and not self.closed:
            whole = self._sent == 0 and stop == len(self._chunk)
            self._steps.append(Forward(self._chunk if whole else self._view(self._sent, stop)))
            self._sent = stop

    def _done(self) -> list[Step]:
        """Pass on the rest; all the steps."""
        self._pass(len(self._chunk))
        self._chunk = b""
        return self._steps

    def _break_off(self, position: int, detail: str) -> None:
        """What is at ``position`` is not to be had: nothing passes from there on."""
        self._pass(position)
        self._steps.append(Close(EndReason.PROTOCOL_ERROR, detail))
        self.closed = True

    def _view(self, start: int, stop: int) -> memoryview:
        """A part of the chunk, not copied."""
        return memoryview(self._chunk)[start:stop]
