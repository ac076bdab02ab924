"""Counts what repeats, so that a flood cannot fill a trail that nobody can delete.

The first of a kind is to be written at once; what follows within the window is counted, and the count is to be
written when the window closes. Pure but for its own memory, which is bounded. Used by ``gate`` and ``requests``;
knows neither store nor event.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Window(Generic[T]):
    """``last`` is the newest of its kind, ``times`` how many came after the first."""

    closes: float
    last: T
    times: int = 0


class Coalescer(Generic[T]):
    """Windows of ``seconds``, at most ``limit`` kinds at once; beyond that, kinds share one ``overflow`` window."""

    OVERFLOW = "overflow"

    def __init__(self, seconds: float, limit: int = 256) -> None:
        self._seconds = seconds
        self._limit = limit
        self._windows: dict[Hashable, Window[T]] = {}

    def first(self, kind: Hashable, item: T, now: float) -> bool:
        """Whether ``item`` is to be written at once; else it has been counted. ``now`` is monotonic seconds."""
        kind = self._kept(kind)
        window = self._windows.get(kind)
        if window is None:
            self._windows[kind] = Window(now + self._seconds, item)
            return True
        window.last = item
        window.times += 1
        return False

    def _kept(self, kind: Hashable) -> Hashable:
        return self.OVERFLOW if kind not in self._windows and len(self._windows) >= self._limit else kind

    def last(self, kind: Hashable) -> T | None:
        """The newest that counts as one with what is of this ``kind``; None where there is none."""
        window = self._windows.get(self._kept(kind))
        return window.last if window is not None else None

    def missed(self, kind: Hashable, item: T, now: float) -> None:
        """What was to be written could not be: count it, so that it is written with the rest."""
        if not self.first(kind, item, now):
            return
        self._windows[kind if kind in self._windows else self.OVERFLOW].times += 1

    def closed(self, now: float) -> list[tuple[T, int]]:
        """What is to be written of the windows that closed by ``now``: (the newest, how many); they are gone."""
        done = [kind for kind, window in self._windows.items() if window.closes <= now]
        windows = [self._windows.pop(kind) for kind in done]
        return [(window.last, window.times) for window in windows if window.times]

    def unwritten(self, items: list[tuple[T, int]], now: float) -> None:
        """Take back what ``closed`` gave and nobody could write; bounded, as everything here."""
        for index, (item, times) in enumerate(items[: self._limit]):
            kind = ("unwritten", index)
            window = self._windows.setdefault(kind, Window(now + self._seconds, item))
            window.last, window.times = item, window.times + times
