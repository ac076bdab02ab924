"""How many connections may stand open that nobody has vouched for yet: in all, and per source. Where all places are
taken, whoever has most of them makes room.

Pure counting; used by the kernel on its accept path. A connection holds a ``Place`` from the moment it is accepted
until it is admitted or gone. So a crowd of silent connections keeps nobody out for longer than it takes to close
one of them.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable, Mapping

from proxy.access.sources import source_kind
from proxy.policy.networks import read_address
from proxy.sessions.services import Settings
from proxy.sessions.silence import nothing

ROUTED: Mapping[int, int] = {4: 24, 6: 48}
"""IP version -> bits of the smallest network that is routed by itself on the internet: what is larger has several
owners, and who rents addresses by the block has them side by side."""


class Pending:
    """``settings`` gives the bounds as they are now."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._sources: Counter[str] = Counter()
        self._networks: dict[str, dict[Place, None]] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def enter(self, source: str, *, for_others: bool = False) -> "Place | None":
        """A place for a connection from ``source``; None when that source has as many as it may. A proxy, which
        comes ``for_others``, has no bound of its own before it has named its client."""
        place = Place(self)
        if not for_others and not place.move(source):
            return None
        if self._total >= self._settings().pending and not self._make_room(network_of(source)):
            place.leave()
            return None
        self._total += 1
        place.stand(network_of(source))
        return place

    def _make_room(self, newcomer: str) -> bool:
        """Whether the oldest connection of the network that has most could be closed; of equals, the newcomer's own
        network has to give way."""
        size = lambda each: (len(self._networks[each]), each == newcomer)  # noqa: E731
        crowd = max(self._networks, key=size, default=None)
        if crowd is None:
            return False
        next(iter(self._networks[crowd])).give_way()
        return True


class Place:
    """One connection's place. ``evict`` closes the connection; ``evicted`` says that this was done."""

    def __init__(self, pending: Pending) -> None:
        self.evict: Callable[[], None] = nothing
        self.evicted = False
        self._pending = pending
        self._source: str | None = None
        self._network: str | None = None

    def move(self, source: str) -> bool:
        """Count it under ``source`` from now on; False, and as before, where that source has no place left."""
        pending, kind = self._pending, source_kind(source)
        if pending._sources[kind] >= pending._settings().pending_per_source:
            return False
        pending._sources[kind] += 1
        self._give_back_source()
        self._source = kind
        if self._network is not None:
            self.stand(network_of(source))
        return True

    def stand(self, network: str) -> None:
        """Count it as the newest of ``network``."""
        self._give_back_network()
        self._network = network
        self._pending._networks.setdefault(network, {})[self] = None

    def give_way(self) -> None:
        """Leave for somebody else."""
        self.leave()
        self.evicted = True
        self.evict()

    def leave(self) -> None:
        """Give the place back, once."""
        self._give_back_source()
        if self._network is not None:
            self._give_back_network()
            self._pending._total -= 1

    def _give_back_source(self) -> None:
        kind, self._source = self._source, None
        if kind is None:
            return
        sources = self._pending._sources
        sources[kind] -= 1
        if not sources[kind]:
            del sources[kind]

    def _give_back_network(self) -> None:
        network, self._network = self._network, None
        if network is None:
            return
        networks = self._pending._networks
        del networks[network][self]
        if not networks[network]:
            del networks[network]


def network_of(source: str) -> str:
    """The network that ``source`` is one of, by ``ROUTED``; "" for what is no address."""
    address = read_address(source)
    if address is None:
        return ""
    return str(ipaddress.ip_network((address, ROUTED[address.version]), strict=False))
