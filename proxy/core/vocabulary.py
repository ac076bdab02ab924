"""Which stored words this version knows, and whether everybody who reads the store knows one.

To write something new into the store: put its word into ``VOCABULARY`` in the version that can *read* it, and write
it only where ``everybody_speaks`` says so, asked in the very unit that writes: ::

    seal = 2 if everybody_speaks(writer, "seal-2") else 1

Every worker says with each sign of life what it knows (``Node.speaks``); a worker of 2881ff7 says nothing and knows
nothing of this list. API processes are of no node: each runs beside workers of its own version, and reads what it
does not know as ``core.words`` says. A version is never asked for by number: who takes up one word from another
branch says that word and no other.
"""

from proxy.core.feed import FeedKind
from proxy.core.ports import Reader

HEARD = 60.0
"""Seconds since its last sign of life for which a worker counts as live: far longer than the lease after which it
has cut everything, so that one that hangs and comes back is counted too."""

VOCABULARY: frozenset[str] = frozenset({*(f"feed:{kind}" for kind in FeedKind), "seal-2", "trail-2"})
"""``feed:KIND`` for each kind of the feed, and the names of other things that are stored in a new form."""


def everybody_speaks(reader: Reader, word: str) -> bool:
    """Return whether all live workers know ``word``. One small read of ``nodes``: where it would be asked at every
    log-in, keep the answer for a second."""
    since = reader.now() - HEARD
    return all(word in node.speaks for node in reader.nodes() if node.heartbeat > since)
