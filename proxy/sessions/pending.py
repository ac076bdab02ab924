"""How many connections may stand open that nobody has vouched for yet: in all, and per source.

Pure counting; used by the kernel on its accept path. A connection holds a ``Place`` from the moment it is accepted
until it is logged in or gone.
"""

from collections import Counter
from collections.abc import Callable

from proxy.access.sources import source_kind
from proxy.sessions.services import Settings


class Pending:
    """``settings`` gives the bounds as they are now."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._sources: Counter[str] = Counter()
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def enter(self, source: str | None) -> "Place | None":
        """A place for a connection from ``source``; None when there is none. A source of None, a proxy whose
        client is still to be named, is counted in the total alone."""
        if self._total >= self._settings().pending:
            return None
        place = Place(self)
        if source is not None and not place.move(source):
            return None
        self._total += 1
        return place

    def _take(self, kind: str) -> bool:
        if self._sources[kind] >= self._settings().pending_per_source:
            return False
        self._sources[kind] += 1
        return True

    def _give_back(self, kind: str) -> None:
        self._sources[kind] -= 1
        if not self._sources[kind]:
            del self._sources[kind]


class Place:
    """One connection's place."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self._kind: str | None = None
        self._held = True

    def move(self, source: str) -> bool:
        """Count it under ``source`` from now on; False, and as before, where that source has no place left."""
        kind = source_kind(source)
        if not self._pending._take(kind):
            return False
        if self._kind is not None:
            self._pending._give_back(self._kind)
        self._kind = kind
        return True

    def leave(self) -> None:
        """Give the place back, once."""
        if not self._held:
            return
        self._held = False
        self._pending._total -= 1
        if self._kind is not None:
            self._pending._give_back(self._kind)
