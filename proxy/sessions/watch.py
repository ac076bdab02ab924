"""Follows the feed on this node and carries out what it says. Run by the kernel; knows no protocol, no store.

The lease: a node that could not read the feed for longer than the lease admits nobody and cuts what it holds. It is
counted on the boot-time clock (sleeping counts) from the *start* of the last good read.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from proxy.core.errors import Unavailable
from proxy.core.feed import FeedItem, FeedKind, Scope
from proxy.core.ports import Clock, Feed
from proxy.core.states import EndReason
from proxy.sessions.registry import Registry, act

REMEMBERED = 10_000
"""Items kept for sessions whose checks were read before and who are filed after; a gap wider than that refuses."""
RETRY = 0.05
STRANGE = 100
"""Unknown kinds and scopes of the feed that are told of in the log, each once."""


class Watch:
    """``position`` is the last item acted on; ``listeners`` are called with items that end no session
    (configuration, keys, cancels for this node). What one of them fails with is logged and keeps nobody from
    hearing of revocations."""

    def __init__(self, feed: Feed, registry: Registry, clock: Clock, lease: float, start: int) -> None:
        self.position = start
        self.listeners: list[Callable[[FeedItem], None]] = []
        self._feed = feed
        self.registry = registry
        self._clock = clock
        self._lease = lease
        self._good = clock.boottime()
        self._recent: deque[FeedItem] = deque(maxlen=REMEMBERED)
        self._first_remembered = start + 1
        self._strange: set[tuple[str, str]] = set()

    def fresh(self) -> bool:
        """Whether revocations made up to a lease ago would have reached this node."""
        return self._clock.boottime() - self._good <= self._lease

    @property
    def lag(self) -> float:
        """Seconds since the feed was last read whole."""
        return max(0.0, self._clock.boottime() - self._good)

    def catch_up(self, session: object, position: int, keys: set[tuple[str, str]]) -> None:
        """Apply to one session the items after ``position`` that were handled before it was filed under ``keys``.

        ``Unavailable`` when they are no longer all remembered.
        """
        if position + 1 < self._first_remembered:
            raise Unavailable("too many changes at once, try again", detail="the watch's memory is too short")
        for item in self._recent:
            if item.seq > position and (self.registry.everybody(item) or (item.scope, item.key) in keys):
                act(session, item)  # type: ignore[arg-type]

    async def run(self) -> None:
        """Follow the feed until cancelled."""
        while True:
            began = self._clock.boottime()
            try:
                items = await self._feed.after(self.position)
            except Unavailable:
                self.expire()
                await asyncio.sleep(RETRY)
                continue
            if items and items[0].seq != self.position + 1:
                self._missed(items[0].seq)
            for item in items:
                self._handle(item)
            self._good = began
            if not items:
                await self._feed.wait()

    def _handle(self, item: FeedItem) -> None:
        if len(self._recent) == REMEMBERED:
            self._first_remembered = self._recent[0].seq + 1
        self._recent.append(item)
        self.position = item.seq
        ended = self.registry.apply(item)
        if not item.is_known:
            self._wonder(item, ended if item.ends else 0)
        if item.kind in (FeedKind.RELOADED, FeedKind.KEYS, FeedKind.CANCEL):
            self._inform(item)

    def _wonder(self, item: FeedItem, ended: int) -> None:
        """Tell the operator of an item that a later version wrote: each time it ends somebody, else once a kind."""
        words = item.kind.value[:64], item.scope.value[:64]
        if not ended and (words in self._strange or len(self._strange) >= STRANGE):
            return
        self._strange.add(words)
        structlog.get_logger().warning(
            "the feed says something that this version does not know",
            seq=item.seq,
            kind=words[0],
            scope=words[1],
            ended=ended,
        )

    def _inform(self, item: FeedItem) -> None:
        for listener in self.listeners:
            try:
                listener(item)
            except Exception:
                structlog.get_logger().exception("feed item not acted on", seq=item.seq, kind=item.kind)

    def _missed(self, first: int) -> None:
        """Items were pruned before this node read them: whoever they were about can no longer be known, and
        configuration and keys may be others."""
        self._first_remembered = first
        self._recent.clear()
        for session in self.registry:
            session.end(EndReason.STORE_LOST, "the gateway missed revocations")
        for kind in (FeedKind.RELOADED, FeedKind.KEYS):
            self._inform(FeedItem(first, self._clock.now(), kind, Scope.ALL, ""))

    def expire(self) -> None:
        """End every session if the lease is over. The kernel asks every second too: a read that hangs must not
        keep them."""
        if not self.fresh():
            for session in self.registry:
                session.end(EndReason.STORE_LOST, "the gateway cannot see revocations any more")
