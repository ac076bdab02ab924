"""A clock that stands until it is told to move, and ids that count."""


class FakeClock:
    """``core.ports.Clock`` whose three clocks move together by ``advance`` and apart by ``jump``."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._wall = now
        self._monotonic = 1_000.0

    def now(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def boottime(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self._wall += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock; no time passes."""
        self._wall += seconds


class FakeIds:
    """``core.ports.Ids``: ``grant-000001``, ``session-000002`` …: one counter, so ids order by time of making."""

    def __init__(self) -> None:
        self._made = 0

    def new(self, kind: str) -> str:
        self._made += 1
        return f"{kind}-{self._made:06}"
