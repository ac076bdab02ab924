"""How long the API's server waits for a client to say what it wants, and how many of one source it keeps.

uvicorn waits for a request's head for ever, and takes no more than ``limit_concurrency`` connections: whoever opens
that many and says nothing keeps out the administrator who wants to revoke. Knows connections, not routes. Made for
``api``, once a server.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from proxy.access.sources import source_kind

HEAD_PATIENCE = 10.0
"""Seconds from a connection, or from a later request's first byte, to the end of the request's head."""


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's HTTP protocol with an end to its patience. ``sources`` counts the server's open connections."""

    sources: Counter[str]
    most_per_source: int
    patience: float

    def connection_made(self, transport: Any) -> None:
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)
        self._source = source_kind(self.client[0]) if self.client else ""
        self.sources[self._source] += 1
        self._waiting: asyncio.TimerHandle | None = self.loop.call_later(self.patience, transport.abort)
        if self.sources[self._source] > self.most_per_source:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._stop_waiting()
        self.sources[self._source] -= 1
        if not self.sources[self._source]:
            del self.sources[self._source]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``. A cycle is uvicorn's word for a request whose head is whole."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()
        elif self._waiting is None and (before is None or before.response_complete):
            self._waiting = self.loop.call_later(self.patience, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def patient(most_per_source: int, patience: float = HEAD_PATIENCE) -> Callable[..., asyncio.Protocol]:
    """The protocol for one server: at most ``most_per_source`` connections of one address (or IPv6 /64)."""
    return type(
        "Patient",
        (PatientProtocol,),
        {"sources": Counter(), "most_per_source": most_per_source, "patience": patience},
    )
