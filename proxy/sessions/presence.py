"""This node in the store: that it is there, how far it has read the feed, and whether its clock can be trusted.

Used by the worker, which calls ``keep`` every second; knows no socket and no configuration.

A name is one process's. Two machines under one would each take the other's sessions for those of its own life
before, and end them in the store: so whoever comes looks whether the name is taken, and who finds that somebody
came all the same admits nobody, and cuts what has been ended under its hands.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy.core.errors import Unavailable
from proxy.core.events import GatewayStarted, GatewayStopped
from proxy.core.ports import Clock, Node, Reader, Store, Writer
from proxy.core.states import EndReason, SessionStatus
from proxy.core.vocabulary import HEARD, VOCABULARY
from proxy.sessions.watch import Watch

SKEW = 5.0
"""Seconds this machine's clock may differ from the store's before the node admits nobody."""
LOOKS = 10
BEATS = 2.0
"""Seconds from one sign of life to the next: each is a commit, which is most of what an idle worker costs."""
LISTENED = 5.0
"""Seconds in which a process of the same name, which beats every two, is heard."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a sign of life told us: how far the store's clock is ahead, whether the store still knew us, and whether
    somebody else was there under our name; ``now`` by the store's clock, and until when we are to drain (0.0: we
    serve)."""

    skew: float
    known: bool
    twin: bool
    now: float
    drains: float


class Presence:
    """``started`` (epoch seconds) tells the node's lives apart; ``digest`` gives the configuration's, ``refuses``
    the words of the grounds on which the node admits nobody."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        watch: Watch,
        node: str,
        started: float,
        digest: Callable[[], str],
        log: Any,
        refuses: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self._store = store
        self._clock = clock
        self._watch = watch
        self._node = node
        self._started = started
        self._digest = digest
        self._log = log
        self._refuses = refuses
        self._said: tuple[str, ...] = ()
        self._synchronous = True
        self._drains = 0.0
        self._drains_in: float | None = None
        self._twin_until = float("-inf")
        self._next = float("-inf")
        self._told = -1

    @property
    def alone(self) -> bool:
        """Whether nobody else has been heard under this name for a while."""
        return self._clock.monotonic() >= self._twin_until

    @property
    def synchronous(self) -> bool:
        """Whether this machine's clock was the store's, but for a little, at the last sign of life."""
        return self._synchronous

    @property
    def drains_in(self) -> float | None:
        """Seconds until those who are left are to be cut, as of the last sign of life; None while nobody said that
        this node should take nobody new."""
        return self._drains_in

    async def claim(self, before: float) -> None:
        """See that the name is free: nobody beats under it, or who did was our own life ``before`` (when it was
        started; 0.0: none is known). ``Unavailable`` where it is somebody's."""
        seen = await self._store.read(self._beating)
        if seen is None or seen.started == before:
            return
        for _ in range(LOOKS):
            await asyncio.sleep(LISTENED / LOOKS)
            now = await self._store.read(self._beating)
            if now is None:
                return
            if (now.heartbeat, now.started) != (seen.heartbeat, seen.started):
                raise Unavailable(
                    f"another gateway runs as {self._node} on this store: give each machine its own [gateway] node"
                )

    async def arrive(self, version: str) -> None:
        """Be there. ``Unavailable`` without the store."""

        def unit(writer: Writer) -> Heard:
            writer.append(GatewayStarted(actor="gateway", node=self._node, version=version, digest=self._digest()))
            return self._beat(writer)

        self._judge(await self._store.commit(unit))

    async def keep(self) -> None:
        """A sign of life where one is due, where the feed was read further, for which others wait, or where this
        node begins or ceases to refuse everybody: call it every second. One that failed is tried again the next
        time."""
        now, position = self._clock.monotonic(), self._watch.position
        if now >= self._next or position != self._told or self._refuses() != self._said:
            await self.beat()
            self._next, self._told = now + BEATS - 0.5, position  # seconds are not counted that well

    async def beat(self) -> None:
        """A sign of life. Who was taken for lost meanwhile has sessions that are ended in the eyes of all others:
        they are cut."""
        heard = await self._store.commit(self._beat)
        self._judge(heard)
        if heard.twin:
            self._twin_until = self._clock.monotonic() + LISTENED
            self._log.error("another gateway runs under this node's name: admitting nobody")
            await self._cut_what_was_ended()
        if not heard.known:
            self._log.error("this node was taken for lost")
            for session in self._watch.registry:
                session.end(EndReason.STORE_LOST, "the gateway was taken for lost")

    async def _cut_what_was_ended(self) -> None:
        """Sessions that the store has as ended; one that has just begun may not be there yet."""
        here = list(self._watch.registry)

        def ended(reader: Reader) -> set[str]:
            found = (reader.session(each.id) for each in here)
            return {each.id for each in found if each is not None and each.status is SessionStatus.ENDED}

        over = await self._store.read(ended)
        for session in here:
            if session.id in over:
                session.end(EndReason.STORE_LOST, "another gateway runs under this one's name")

    async def leave(self) -> None:
        """Be gone."""

        def unit(writer: Writer) -> None:
            writer.append(GatewayStopped(actor="gateway", node=self._node))
            writer.remove_node(self._node)

        await self._store.commit(unit)

    def _beating(self, reader: Reader) -> Node | None:
        """Whoever has been heard of under this name of late."""
        own = self._own(reader)
        return own if own is not None and own.heartbeat > reader.now() - HEARD else None

    def _own(self, reader: Reader) -> Node | None:
        return next((each for each in reader.nodes() if each.id == self._node), None)

    def _beat(self, writer: Writer) -> Heard:
        own = self._own(writer)
        twin = own is not None and own.started != self._started
        # Kept where the row is gone meanwhile: the listeners are closed for this process's life.
        drains = own.drains if own is not None and not twin and own.drains else self._drains
        now, self._said = writer.now(), self._refuses()
        heard = Heard(now - self._clock.now(), own is not None, twin, now, drains)
        writer.put_node(
            Node(
                id=self._node,
                host=self._node.rpartition("-")[0],
                started=self._started,
                heartbeat=now,
                feed_seen=self._watch.position,
                digest=self._digest(),
                drains=drains,
                refuses=self._said,
                speaks=VOCABULARY,
            )
        )
        return heard

    def _judge(self, heard: Heard) -> None:
        self._drains = heard.drains
        self._drains_in = heard.drains - heard.now if heard.drains else None
        self._synchronous = abs(heard.skew) <= SKEW
        if not self._synchronous:
            self._log.error("clock differs from the store's: admitting nobody", seconds=round(heard.skew, 1))
