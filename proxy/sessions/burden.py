"""What one session holds in memory, and how its client is not read for a while. Made by ``session`` for
``holdings``; knows no protocol.
"""

from collections.abc import Callable
from typing import Protocol

from proxy.core.states import EndReason
from proxy.sessions.relay import Relay
from proxy.sessions.transport import Stream
from proxy.sessions.waits import Hold


class Weight(Protocol):
    """A conversation's part of it: what waits besides the two lines' own buffers."""

    def holds(self) -> int:
        """Bytes of messages that are not whole, and of what is kept."""
        ...

    def press(self, on: bool) -> None:
        """Do not read the client for now; or do again."""
        ...


class RelayWeight:
    """``Weight`` of a relay."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def holds(self) -> int:
        return self._relay.inspector.holds()

    def press(self, on: bool) -> None:
        if on:
            self._relay.hold(Hold.MEMORY)
        else:
            self._relay.release(Hold.MEMORY)


class Burden:
    """``holdings.Holder`` for the session ``id``, whose ``end`` ends it."""

    def __init__(
        self, id: str, client: Stream, target: Stream, weight: Weight, end: Callable[[EndReason, str], None]
    ) -> None:
        self.id = id
        self._client = client
        self._target = target
        self._weight = weight
        self._end = end

    @property
    def moved(self) -> int:
        return self._client.bytes_read

    def holds(self) -> int:
        return len(self._client.unsent) + len(self._target.unsent) + self._weight.holds()

    def press(self, on: bool) -> None:
        self._weight.press(on)

    def end(self, reason: EndReason, detail: str) -> None:
        self._end(reason, detail)
