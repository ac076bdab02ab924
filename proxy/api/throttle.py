"""How often a thing may be tried: refusals of log-ins per source and per name, in bounded memory.

Pure but for the clock it is given. Called by the log-in route. A name is throttled as well as a source, so that
many machines cannot guess at one person; it only slows (seconds to a minute), since a lock-out would be a gift to
whoever wants somebody locked out.
"""

from collections import OrderedDict
from dataclasses import dataclass

from proxy.core.ports import Clock


@dataclass(slots=True)
class Bucket:
    """``left`` tries at ``at`` (monotonic seconds)."""

    left: float
    at: float


class Throttle:
    """A token bucket per key: ``burst`` tries at once, one more every ``every`` seconds. At most ``keys`` keys are
    remembered, the least recently used forgotten first."""

    def __init__(self, clock: Clock, *, burst: int, every: float, keys: int = 4096) -> None:
        self._clock = clock
        self._burst = burst
        self._every = every
        self._keys = keys
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def wait_for(self, key: str) -> float:
        """Seconds until ``key`` may try again: 0 when it may now."""
        bucket = self._fill(key)
        return 0.0 if bucket.left >= 1 else (1 - bucket.left) * self._every

    def spend(self, key: str) -> None:
        """Count one refused try."""
        bucket = self._fill(key)
        bucket.left = max(0.0, bucket.left - 1)

    def forget(self, key: str) -> None:
        """It succeeded: its past is forgiven."""
        self._buckets.pop(key, None)

    def __len__(self) -> int:
        return len(self._buckets)

    def _fill(self, key: str) -> Bucket:
        now = self._clock.monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(float(self._burst), now)
        bucket.left = min(float(self._burst), bucket.left + (now - bucket.at) / self._every)
        bucket.at = now
        self._buckets.move_to_end(key)
        while len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        return bucket
