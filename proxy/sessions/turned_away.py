"""The log of connections that ended before anybody vouched for them: anybody can cause them in any number, so what
one network causes within ``WINDOW`` seconds for one reason is two lines, the first and a count. Used by the kernel,
which also calls ``flush``; metrics count each by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy.access.coalesce import Coalescer
from proxy.sessions.pending import network_of

WINDOW = 10.0
"""Seconds in which connections that ended alike are counted."""
NETWORKS_MOST = 256
"""Networks, each with one reason, that are told apart at a time; others share a count."""
REFERENCES_MOST = 16
"""References in one line: people may have been told them."""


@dataclass(frozen=True, slots=True)
class Away:
    """A connection that was turned away."""

    session: str
    source: str
    why: str
    detail: str


class TurnedAwayLog:
    """``now`` gives seconds that only go on; ``log`` is a structlog logger."""

    def __init__(self, now: Callable[[], float], log: Any) -> None:
        self._now = now
        self._log = log
        self._coalescer: Coalescer[tuple[Away, ...]] = Coalescer(WINDOW, NETWORKS_MOST)

    def note(self, session: str, source: str, why: str, detail: str) -> None:
        """Log that the connection ``session`` was refused, or count it."""
        kind, away = (network_of(source), why), Away(session, source, why, detail)
        before = self._coalescer.last(kind) or ()
        if self._coalescer.first(kind, (*before[1 - REFERENCES_MOST :], away), self._now()):
            self._log.info("refused", session=session, source=source, why=why, detail=detail)

    def flush(self, now: float) -> None:
        """Log the counts of windows that closed by ``now`` (seconds; ``math.inf``: all)."""
        for alike, times in self._coalescer.closed(now):
            last = alike[-1]
            self._log.info(
                "refused more",
                times=times,
                network=network_of(last.source),
                why=last.why,
                detail=last.detail,
                sessions=[each.session for each in alike],
            )
