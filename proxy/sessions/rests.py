"""What is left to do of chunks that were read: one slice of one session in each turn of the loop.

Whoever has a rest is not read, and waits in a queue of the worker: between any two slices the loop serves every
socket that is ready, so that a session pays for what it sent with its own time. Owned by ``services``; filled by
``relay``. It must not know what a slice does.
"""

import asyncio
from collections import deque
from collections.abc import Callable


class Rests:
    """``put`` a slice; it is called in a turn of its own, when those before it had theirs. ``turns`` counts
    slices."""

    __slots__ = ("_due", "_longest", "_queue", "turns")

    def __init__(self) -> None:
        self.turns = 0
        self._queue: deque[Callable[[], None]] = deque()
        self._due = False
        self._longest = 0.0

    def put(self, piece: Callable[[], None]) -> None:
        """Have ``piece`` called once. What it leaves over it puts again, behind all others. It must not raise."""
        self._queue.append(piece)
        self._call()

    def _call(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._due = False
        piece = self._queue.popleft()
        if self._queue:
            self._call()
        self.turns += 1
        piece()

    def took(self, seconds: float) -> None:
        """A piece of work took so long."""
        if seconds > self._longest:
            self._longest = seconds

    def longest(self) -> float:
        """Seconds the longest piece took since this was asked last; 0.0 where there was none."""
        longest, self._longest = self._longest, 0.0
        return longest
