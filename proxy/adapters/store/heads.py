"""The ends of trail and feed while one transaction holds them.

``Heads.take`` locks the one row of ``heads``: every writer does so first, so writers of all processes and nodes
go one after the other, take their locks in one order, and give out numbers that are without gaps in the order of
commits. Rows are kept here until somebody reads them back or the transaction ends, then written in one statement.
"""

import dataclasses
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from proxy.adapters.store import rows, tables
from proxy.adapters.store.prepared import Prepared
from proxy.audit.chain import PLAIN, SALT_BYTES, SALTED, linked, salted
from proxy.core.events import Event
from proxy.core.feed import EFFECTS, FeedItem, FeedKind, Scope
from proxy.core.ports import Reader
from proxy.core.trail import TrailRow
from proxy.core.vocabulary import everybody_speaks

ASKED_EVERY = 1.0
"""Seconds for which it is remembered what all live workers know."""

_LOCKED = Prepared(sa.select(tables.heads).with_for_update())
_FEED = Prepared(sa.insert(tables.feed))
_TRAIL = Prepared(sa.insert(tables.trail))
_HEADS = Prepared(
    sa.update(tables.heads).values({name: sa.bindparam(name) for name in ("trail_seq", "trail_digest", "feed_seq")})
)


class RowFormat:
    """In which format rows are added to the trail: the one that can be erased, once every live worker knows it. One
    of each store, which remembers the answer for a second: it is asked at every log-in."""

    def __init__(self) -> None:
        self._format = PLAIN
        self._until = float("-inf")

    def of(self, reader: Reader) -> int:
        """Return it, as of now."""
        now = time.monotonic()
        if now >= self._until:
            self._format = SALTED if everybody_speaks(reader, "trail-2") else PLAIN
            self._until = now + ASKED_EVERY
        return self._format


def made(format: int, row: TrailRow) -> TrailRow:
    """Return the row in this format, with its digests."""
    return linked(row) if format == PLAIN else salted(row, secrets.token_hex(SALT_BYTES))


@dataclass(slots=True)
class Heads:
    """Numbers given out so far, and the rows that are not yet written. ``rung``: the feed was published to."""

    trail_seq: int
    trail_digest: str
    feed_seq: int
    trail: list[TrailRow] = field(default_factory=list)
    feed: list[FeedItem] = field(default_factory=list)
    rung: bool = False

    @classmethod
    def take(cls, connection: sa.Connection) -> "Heads":
        """Lock the row (waits for the writer who holds it) and read it."""
        row = _LOCKED.first(connection, {})
        return cls(row.trail_seq, row.trail_digest, row.feed_seq)

    def mark(self) -> "Heads":
        """What to go back to if the next unit fails: the Python half of a savepoint."""
        return dataclasses.replace(self, trail=self.trail.copy(), feed=self.feed.copy())

    def rewind(self, mark: "Heads") -> None:
        """Be again as at ``mark``, once the transaction is back at its savepoint."""
        for each in dataclasses.fields(self):
            setattr(self, each.name, getattr(mark, each.name))

    def append(self, event: Event, at: float, node: str, format: int) -> int:
        """Chain the event to the trail as a row of ``format``; its sequence."""
        said = (at, node, event.kind, event.actor, event.subjects(), event.body(), self.trail_digest)
        row = made(format, TrailRow(self.trail_seq + 1, *said, ""))
        self.trail.append(row)
        self.trail_seq, self.trail_digest = row.seq, row.digest
        return row.seq

    def publish(
        self, at: float, kind: FeedKind, scope: Scope, key: str, said: tuple[str, str], data: Mapping[str, object]
    ) -> int:
        """Put an item on the feed; its sequence. ``said``: by whom, and the reason. KeyError for an unknown
        kind."""
        item = FeedItem(self.feed_seq + 1, at, kind, scope, key, *said, data, EFFECTS[kind])
        self.feed_seq = item.seq
        self.rung = True
        self.feed.append(item)
        return self.feed_seq

    def flush(self, connection: sa.Connection) -> None:
        """Write what is not yet written, so that statements of this transaction see it."""
        if not self.trail and not self.feed:
            return
        if self.trail:
            _TRAIL.run(connection, *(rows.trail_values(row) for row in self.trail))
        if self.feed:
            _FEED.run(connection, *(rows.feed_values(item) for item in self.feed))
        ends = {"trail_seq": self.trail_seq, "trail_digest": self.trail_digest, "feed_seq": self.feed_seq}
        _HEADS.run(connection, ends)
        self.trail, self.feed = [], []
