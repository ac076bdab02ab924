"""Durations as people write them: ``10m``, ``1h30m``, ``90s``. Pure, and the standard library alone.

Apart from ``values``, which is pydantic's: the client reads ``--for`` by this, and its install may have none.
"""

import re
from collections.abc import Mapping

LONGEST = 1e12
"""Seconds; more is no duration, and would not do as a number with a fraction."""
_UNITS: Mapping[str, float] = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(?:[0-9]{1,12}(?:d|h|ms|m|s))+")
_PART = re.compile(r"([0-9]+)(d|h|ms|m|s)")


def duration(value: object) -> float:
    """Seconds, from a number of seconds or text such as ``10m``, ``1h30m``, ``90s``, ``50ms``."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST:
        return float(value)
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(value))
    raise ValueError('should be a duration, such as "10m", "1h30m", "90s", or a number of seconds')
