"""The machine's clocks and the ids made from them: ``core.ports.Clock`` and ``core.ports.Ids``."""

import secrets
import time
from functools import partial

from proxy.core.ports import Clock

# Crockford's base 32, lower case: no i, l, o, u, so that an id can be read aloud.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""CLOCK_BOOTTIME goes on while the machine sleeps; where there is none (not Linux), the monotonic clock."""


class SystemClock:
    """The one place that asks the system what time it is. The system's own functions, without one of ours around
    them: two are asked for every query."""

    now = staticmethod(time.time)  # noqa: TID251  this is the Clock port
    monotonic = staticmethod(time.monotonic)
    boottime = staticmethod(partial(time.clock_gettime, BOOTTIME))


class UlidIds:
    """Ids as ``grant-01jdk…``: a ULID (https://github.com/ulid/spec), 48 bits of milliseconds and 80 random ones.

    They sort by time, those of one process also within a millisecond and when the clock is set back (lists are
    paged by id). Nobody guesses the next: it is a random 64-bit step away at least.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def new(self, kind: str) -> str:
        number = int(self._clock.now() * 1000) << 80 | secrets.randbits(80)
        if number <= self._last:
            number = self._last + 1 + secrets.randbits(64)
        self._last = number
        return f"{kind}-{base32(number)}"


def base32(number: int) -> str:
    """The 26 digits of a 128-bit number, the highest first."""
    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
