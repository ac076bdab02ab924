"""Lines of the log that anybody can cause without a log-in, and in any number: the first of a kind is written, and
what follows within ``WINDOW`` seconds is counted. For those of libraries, which log by themselves, and of the API.
Attached to the log's handler by ``logs``; the kernel counts its own.
"""

import logging
import math
from collections.abc import Callable, Sequence
from http import HTTPStatus

from proxy.access.coalesce import Coalescer

WINDOW = 10.0
"""Seconds in which lines of a kind are counted."""
ANYBODYS: Sequence[tuple[str, str]] = (
    ("uvicorn.error", "Invalid HTTP request"),
    ("uvicorn.error", "Unsupported upgrade"),
    ("uvicorn.error", "No supported WebSocket"),
    ("uvicorn.error", "Exceeded concurrency limit"),
    ("asyncio", "SSL"),
    ("asyncssh", ""),
)
"""Loggers, and how their lines begin that anybody causes."""
API = "tidegate.api"
UNKNOWN = frozenset({HTTPStatus.UNAUTHORIZED.value, HTTPStatus.TOO_MANY_REQUESTS.value})
"""Answers of the API to whoever has not logged in."""


class RepeatedLines(logging.Filter):
    """``now`` gives seconds that only go on; ``write`` writes a count."""

    def __init__(self, now: Callable[[], float], write: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._now = now
        self._write = write
        self._coalescer: Coalescer[tuple[str, str]] = Coalescer(WINDOW)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be written."""
        now = self._now()
        self.flush(now)
        kind = kind_of(record)
        return kind is None or self._coalescer.first(kind, kind, now)

    def flush(self, now: float = math.inf) -> None:
        """Write the counts of windows that closed by ``now``."""
        for (name, text), times in self._coalescer.closed(now):
            self._write(logging.LogRecord(name, logging.INFO, "", 0, f"{text}: {times} more alike", None, None))


def kind_of(record: logging.LogRecord) -> tuple[str, str] | None:
    """The logger and what the line is about; None for one that is written in any case."""
    said = record.msg
    if isinstance(said, dict):  # structlog's
        if record.name != API or said.get("status") not in UNKNOWN:
            return None
        return API, f"{said.get('event')} {said.get('code')}"
    text = str(said).partition("\n")[0]
    for name, beginning in ANYBODYS:
        if record.name == name and text.startswith(beginning):
            return name, text[:100] if beginning else "ssh"
    return None
