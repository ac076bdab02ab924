"""How much waits in this process's memory for all sessions together, and what is done where that is too much:
messages that are not whole, what a peer has not taken yet, what statements are kept under names.

One per worker. First whoever holds more than a little is read no more, so that nothing grows. Then one at a time,
whoever holds most, may finish what it has begun; new log-ins are refused. Who stands still in its turn goes back,
and after ``GRACE`` seconds of too much whoever holds most of those is ended; after ``LAST``, whoever holds most of
all. So however many wait for each other, one after the other goes on or is gone, and it does not take for ever.
Called by the kernel and by sessions; knows no protocol.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from proxy.core.errors import Unavailable
from proxy.core.states import EndReason

LITTLE = 64 * 1024
"""Bytes of one session that are never too much where there are few: what two buffers of a line take."""
LOOK = 0.1
"""Seconds between two looks while it is too much."""
SILENCE, STANDSTILL = 0.2, 0.5
"""Seconds in which something must come of whoever has its turn, at first and from then on."""
TURN = 5.0
"""Seconds of a turn at most, however much comes."""
REFUSING = 1.0
"""Seconds of too much after which nobody new is let in."""
GRACE = 5.0
"""Seconds of too much after which whoever stood still in its turn is ended."""
LAST = 60.0
"""Seconds of too much after which whoever holds most is ended, though it only waits for its turn."""


class Holder(Protocol):
    """A session, by its ``id``: ``moved`` are bytes read of its client until now, ``holds`` those that wait for it
    in memory; ``press`` says whether its client is not to be read."""

    id: str

    @property
    def moved(self) -> int: ...
    def holds(self) -> int: ...
    def press(self, on: bool) -> None: ...
    def end(self, reason: EndReason, detail: str) -> None: ...


class Holdings:
    """``most``: bytes that may wait, as configured now; ``now``: seconds that only go on."""

    def __init__(self, most: Callable[[], int], now: Callable[[], float], log: Any) -> None:
        self.total = 0
        self._most = most
        self._now = now
        self._log = log
        self._held: dict[Holder, int] = {}
        self._tried: set[Holder] = set()
        self._turn: Turn | None = None
        self._since: float | None = None
        self._alarm: asyncio.TimerHandle | None = None

    # -- what sessions tell --------------------------------------------------------------------------------------

    def look(self, holder: Holder) -> None:
        """Much was read of a session's client just now: count again what it holds, and stop it where it is too
        much."""
        self._count(holder)
        if self.total > self._most():
            self._begin()
            mine = self._turn is not None and self._turn.holder is holder
            if self._since is not None and not mine:  # others may have given back enough meanwhile
                holder.press(self._held[holder] > self._little())

    def forget(self, holder: Holder) -> None:
        """It is over."""
        self.total -= self._held.pop(holder, 0)
        self._tried.discard(holder)
        if self._turn is not None and self._turn.holder is holder:
            self._turn = None

    def refuses(self) -> bool:
        """Whether nobody new is to be let in: it has been too much for a while."""
        return self._since is not None and self._now() - self._since >= REFUSING

    def check(self) -> None:
        """``Unavailable`` (too_busy) where nobody new is to be let in."""
        if self.refuses():
            raise Unavailable(
                "the gateway has no memory left for another session", hint="try again in a moment", code="too_busy"
            )

    def _count(self, holder: Holder) -> None:
        held = holder.holds()
        self.total += held - self._held.get(holder, 0)
        self._held[holder] = held

    # -- while it is too much ------------------------------------------------------------------------------------

    def survey(self, holders: Iterable[Holder]) -> None:
        """Count all again, for whoever grows slowly; every second."""
        for each in holders:
            self._count(each)
        if self._since is None and self.total > self._most():
            self._begin()

    def _begin(self) -> None:
        if self._since is not None:
            return
        self._since = self._now()
        self._log.warning("too much waits in memory", bytes=self.total)
        self.step()

    def _again(self) -> None:
        self._alarm = asyncio.get_running_loop().call_later(LOOK, self.step)

    def step(self) -> None:
        """Look again: whose turn it is, and whether it is still too much."""
        if self._since is None:
            return
        for each in list(self._held):
            self._count(each)
        if self.total <= self._most() * 7 // 8:
            self._relieve()
            return
        little = self._little()
        for each, held in self._held.items():
            if self._turn is None or each is not self._turn.holder:
                each.press(held > little)
        self._next_turn()
        self._again()

    def _relieve(self) -> None:
        self._since = self._turn = None
        self._tried.clear()
        for each in list(self._held):
            each.press(False)

    def _next_turn(self) -> None:
        now, turn, little = self._now(), self._turn, self._little()
        self._end_last(now)
        if turn is not None:
            if self._held[turn.holder] > little and turn.goes_on(now):
                return
            self._tried.add(turn.holder)
            self._turn = None
            turn.holder.press(True)
        large = {each for each, held in self._held.items() if held > little}
        self._tried &= large  # who has finished may have another turn
        if self._tried and self._since is not None and now - self._since >= GRACE:
            self._end(max(self._tried, key=self._held.__getitem__))
        elif self._tried == large:  # each may try once more: it may have something by now
            self._tried = set()
        # Whoever has its turn may take more before it is done. Where that is too much as well, it is whoever holds
        # most of all, and so needs least.
        room = self.total <= self._most() * 5 // 4
        next_ones = (large - self._tried if room else large) & self._held.keys()
        if next_ones:
            self._turn = Turn(max(next_ones, key=self._held.__getitem__), now)
            self._turn.holder.press(False)

    def _end_last(self, now: float) -> None:
        others = [each for each in self._held if self._turn is None or each is not self._turn.holder]
        if others and self._since is not None and now - self._since >= LAST:
            self._end(max(others, key=self._held.__getitem__))

    def _little(self) -> int:
        """Bytes of one session that are never too much: of all together, half of what there may be."""
        return min(LITTLE, self._most() // (2 * max(1, len(self._held))))

    def _end(self, holder: Holder) -> None:
        held = self._held[holder]
        self.forget(holder)
        self._log.warning("ended for memory", session=holder.id, bytes=held)
        mib = max(1, held >> 20)
        holder.end(
            EndReason.STALLED, f"it held {mib} MiB of memory, more than any other, and the gateway had none left"
        )


class Turn:
    """One session's, to finish what it has begun."""

    def __init__(self, holder: Holder, now: float) -> None:
        self.holder = holder
        self._began = self._moved_at = now
        self._moved = holder.moved

    def goes_on(self, now: float) -> bool:
        """Whether something has come of it of late."""
        moved = self.holder.moved
        if moved != self._moved:
            self._moved, self._moved_at = moved, now
        patience = STANDSTILL if self._moved_at > self._began else SILENCE
        return now - self._moved_at < patience and now - self._began < TURN
