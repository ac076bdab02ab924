"""Events that anybody could cause in any number, written so that they fill no disk: the first of a kind at once,
the rest as one event with a count. Used by ``gate``, ``requests`` and the API's log-ins; owns no task, so somebody
calls ``flush``.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from proxy.access.coalesce import Coalescer
from proxy.core.errors import Unavailable
from proxy.core.events import Event
from proxy.core.ports import Clock, Store

E = TypeVar("E", bound=Event)


class Tally(Generic[E]):
    """``repeated(last, times)`` makes the event for ``times`` more that were like ``last``."""

    def __init__(self, store: Store, clock: Clock, seconds: float, repeated: Callable[[E, int], E]) -> None:
        self._store = store
        self._clock = clock
        self._repeated = repeated
        self._coalescer: Coalescer[E] = Coalescer(seconds)

    async def note(self, kind: Hashable, event: E) -> None:
        """Write or count ``event``. ``Unavailable`` when it was to be written and could not be; it is counted."""
        if not self._coalescer.first(kind, event, self._clock.monotonic()):
            return
        try:
            await self._store.commit(lambda writer: writer.append(event))
        except Unavailable:
            self._coalescer.missed(kind, event, self._clock.monotonic())
            raise

    def count(self, kind: Hashable, event: E) -> None:
        """Count ``event`` for a later ``flush``: where nobody may wait for the store."""
        self._coalescer.missed(kind, event, self._clock.monotonic())

    async def flush(self, now: float) -> None:
        """Write the counts of windows that closed by ``now`` (monotonic seconds; ``math.inf`` for all, at a stop).

        While the store is away they are kept, and written by a later call.
        """
        counted = self._coalescer.closed(now)
        if not counted:
            return
        try:
            await self._store.commit(lambda writer: [writer.append(self._repeated(*each)) for each in counted])
        except Unavailable:
            self._coalescer.unwritten(counted, self._clock.monotonic())
