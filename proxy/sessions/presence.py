"""This node in the store: that it is there, how far it has read the feed, and whether its clock can be trusted.

Used by the worker, which calls ``beat`` every second; knows no socket and no configuration.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy.core.events import GatewayStarted, GatewayStopped
from proxy.core.ports import Clock, Node, Store, Writer
from proxy.core.states import EndReason
from proxy.sessions.watch import Watch

SKEW = 5.0
"""Seconds this machine's clock may differ from the store's before the node admits nobody."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a sign of life told us: how far the store's clock is ahead, and whether the store still knew us."""

    skew: float
    known: bool


class Presence:
    """``started`` (epoch seconds) tells the node's lives apart; ``digest`` gives the configuration's."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        watch: Watch,
        node: str,
        started: float,
        digest: Callable[[], str],
        log: Any,
    ) -> None:
        self._store = store
        self._clock = clock
        self._watch = watch
        self._node = node
        self._started = started
        self._digest = digest
        self._log = log
        self._synchronous = True

    def may_admit(self) -> bool:
        """Whether this node hears of revocations, and knows what time it is."""
        return self._synchronous and self._watch.fresh()

    async def arrive(self, version: str) -> None:
        """Be there. ``Unavailable`` without the store."""

        def unit(writer: Writer) -> Heard:
            writer.append(GatewayStarted(actor="gateway", node=self._node, version=version, digest=self._digest()))
            return self._beat(writer)

        self._judge(await self._store.commit(unit))

    async def beat(self) -> None:
        """A sign of life. Who was taken for lost meanwhile has sessions that are ended in the eyes of all others:
        they are cut."""
        heard = await self._store.commit(self._beat)
        self._judge(heard)
        if not heard.known:
            self._log.error("this node was taken for lost")
            for session in self._watch.registry:
                session.end(EndReason.STORE_LOST, "the gateway was taken for lost")

    async def leave(self) -> None:
        """Be gone."""

        def unit(writer: Writer) -> None:
            writer.append(GatewayStopped(actor="gateway", node=self._node))
            writer.remove_node(self._node)

        await self._store.commit(unit)

    def _beat(self, writer: Writer) -> Heard:
        heard = Heard(
            skew=writer.now() - self._clock.now(), known=any(each.id == self._node for each in writer.nodes())
        )
        writer.put_node(
            Node(
                id=self._node,
                host=self._node.rpartition("-")[0],
                started=self._started,
                heartbeat=writer.now(),
                feed_seen=self._watch.position,
                digest=self._digest(),
            )
        )
        return heard

    def _judge(self, heard: Heard) -> None:
        self._synchronous = abs(heard.skew) <= SKEW
        if not self._synchronous:
            self._log.error("clock differs from the store's: admitting nobody", seconds=round(heard.skew, 1))
