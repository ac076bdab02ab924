"""When a session's grant ends, by two clocks. Owned by one session; knows neither grant nor store.

The end is an instant of the store's clock. The wall clock of this machine tells when it has come, and so do the
seconds since the admission, sleep included: who sets the wall clock back prolongs nothing.
"""

import asyncio
from collections.abc import Callable

from proxy.core.ports import Clock
from proxy.sessions.silence import nothing

LOOK_MOST = 86_400.0
"""Seconds until the alarm looks again at the latest: the wall clock may have moved."""


class Deadline:
    """``due`` is called when the end has come; ``ends`` is that instant (epoch seconds)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, due: Callable[[], None]) -> None:
        self.ends = float("inf")
        self._loop = loop
        self._clock = clock
        self._due = due
        self._zero = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    def start(self, ends: float, admitted: float) -> None:
        """Watch from now on; ``admitted`` is what the store's clock says now."""
        self._zero = self._clock.boottime() - admitted
        self.move(ends)

    def move(self, ends: float) -> None:
        """Another end, by the same two clocks."""
        self._silence()
        self.ends = ends
        self._alarm = self._loop.call_later(min(self.left(), LOOK_MOST), self._look)

    def left(self) -> float:
        """Seconds to the end, by the clock that says less; 0 when it has come."""
        clock = self._clock
        return max(0.0, min(self.ends - clock.now(), self.ends + self._zero - clock.boottime()))

    def over(self) -> bool:
        """Whether the end has come, by either clock."""
        return not self.left()

    def close(self) -> None:
        """Call nobody any more, and know nobody."""
        self._silence()
        self._due = nothing

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def _look(self) -> None:
        if self.over():
            self._due()
        else:
            self.move(self.ends)
