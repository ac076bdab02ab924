"""CancelRequests of clients: our own pid and key, the right session's running statement, and never the next one.

The key is verified by itself (``keys.CancelKeys``) before anything is looked up or published. Guesses are throttled
per source and recorded. A cancel that reached another worker travels by the feed, and its connection is closed only
when that worker has read so far: libpq takes the closing for "done". Used by ``engine``.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from proxy.access.sources import source_kind
from proxy.core.errors import TidegateError, Unavailable
from proxy.core.events import CancelRefused
from proxy.core.feed import FeedItem, FeedKind, Scope
from proxy.core.ports import Node, Reader
from proxy.core.records import Note
from proxy.protocols.postgres.control import Backend
from proxy.protocols.postgres.inspector import PostgresInspector
from proxy.protocols.postgres.keys import CancelKeys, node_number, node_of
from proxy.protocols.postgres.startup import Cancel
from proxy.sessions.relay import Relay
from proxy.sessions.services import Services
from proxy.sessions.session import Session
from proxy.sessions.waits import Hold

WINDOW = 60.0
"""Seconds over which guesses of one source are counted."""
PASSED_ON = 2.0
"""Seconds another worker has to act before the client's connection is closed all the same."""
LOOK = 0.1
WAITING_MOST = 1024


@dataclass(frozen=True, slots=True)
class Cancellable:
    """A live session as a cancel sees it."""

    session: Session
    inspector: PostgresInspector
    backend: Backend
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Cancels:
    """The cancel keys of one worker. ``guesses`` a minute and source are taken before its cancels are ignored."""

    def __init__(self, services: Services, secret: bytes, guesses: int) -> None:
        self._services = services
        self._keys = CancelKeys(secret, node_number(services.node), epoch(services.node, services.started))
        self._guesses = guesses
        self._wrong: Counter[str] = Counter()
        self._window = 0.0
        self._live: dict[int, Cancellable] = {}
        self._next = 0
        self._passed_on: asyncio.Queue[int] = asyncio.Queue(WAITING_MOST)

    # -- sessions ------------------------------------------------------------------------------------------------

    def new_key(self, length: int) -> tuple[int, bytes]:
        """(pid, key) for a session: the key has ``length`` bytes, 4 in protocol 3.0."""
        while True:
            self._next = self._keys.after(self._next)
            pid = self._keys.pid(self._next)
            if pid not in self._live:
                return pid, self._keys.key(pid, length)

    def file(self, pid: int, live: Cancellable) -> None:
        """From now on the session can be cancelled."""
        self._live[pid] = live

    def forget(self, pid: int) -> None:
        self._live.pop(pid, None)

    # -- requests ------------------------------------------------------------------------------------------------

    async def carry_out(self, asked: Cancel, source: str) -> None:
        """Do what the key proves a right to, or nothing; returns when the target was told."""
        if self._throttled(source):
            return
        if self._keys.verify(asked.pid, asked.key):
            await self.cancel(asked.pid)
        elif not await self._passed_on_to_its_owner(asked):
            await self._refused(source)

    async def cancel(self, pid: int) -> None:
        """Cancel what the session runs now. Its client is not read until the target has been told, so the signal
        cannot hit the statement after."""
        live = self._live.get(pid)
        relay = live.session.relaying if live else None
        if live is None or not isinstance(relay, Relay) or not live.inspector.running():
            return
        meant = live.inspector.in_flight()
        async with (
            live.turn
        ):  # one at a time: or the first to be done would let the next statement run into another
            if live.session.ending is not None or live.inspector.in_flight() != meant:
                return
            relay.hold(Hold.CANCEL)
            try:
                relay.note(Note("cancel", (("seq", meant),)))
                await live.backend.abandon()
            except (OSError, TidegateError) as error:
                self._services.log.warning("cancel failed", session=live.session.id, detail=str(error))
            finally:
                relay.release(Hold.CANCEL)

    # -- other workers -------------------------------------------------------------------------------------------

    async def _passed_on_to_its_owner(self, asked: Cancel) -> bool:
        """A key whose owner cannot be looked up counts as a guess: else guessing would be free meanwhile."""
        try:
            return await self._pass_on(asked)
        except Unavailable as error:
            self._services.log.warning("cancel not passed on", detail=str(error))
            return False

    async def _pass_on(self, asked: Cancel) -> bool:
        """Whether the key is another live worker's; then it is told, and has had its time."""
        node = await self._services.store.read(lambda reader: self._owner(reader, asked))
        if node is None:
            return False
        seq = await self._services.store.commit(
            lambda writer: writer.publish(FeedKind.CANCEL, Scope.NODE, node.id, data={"pid": asked.pid})
        )
        deadline = self._services.loop.time() + PASSED_ON
        while self._services.loop.time() < deadline:
            nodes = await self._services.store.read(lambda reader: reader.nodes())
            if any(each.id == node.id and each.feed_seen >= seq for each in nodes):
                break
            await asyncio.sleep(LOOK)
        return True

    def _owner(self, reader: Reader, asked: Cancel) -> Node | None:
        number = node_of(asked.pid)
        for node in reader.nodes():
            if node_number(node.id) == number and self._keys.verify(
                asked.pid, asked.key, epoch(node.id, node.started)
            ):
                return node
        return None

    def informed(self, item: FeedItem) -> None:
        """An item of the feed: a cancel that reached another worker and is for a session of this one."""
        pid = item.data.get("pid")
        if item.kind is FeedKind.CANCEL and item.key == self._services.node and isinstance(pid, int):
            try:
                self._passed_on.put_nowait(pid)
            except asyncio.QueueFull:
                self._services.log.warning("too many cancels at once")

    async def run(self) -> None:
        """Carry out what other workers passed on, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                pid = await self._passed_on.get()
                tasks.create_task(self.cancel(pid))  # apart: a target that does not answer keeps only its own

    # -- guesses -------------------------------------------------------------------------------------------------

    def _throttled(self, source: str) -> bool:
        now = self._services.clock.monotonic()
        if now - self._window > WINDOW:
            self._window = now
            self._wrong.clear()
        return self._wrong[source_kind(source)] >= self._guesses

    async def _refused(self, source: str) -> None:
        """The first wrong key of a source in a minute, and the one that closes the door, go into the trail."""
        self._wrong[source_kind(source)] += 1
        times = self._wrong[source_kind(source)]
        if times in (1, self._guesses):
            try:
                await self._services.store.commit(
                    lambda writer: writer.append(CancelRefused(actor="anonymous", source=source, times=times))
                )
            except Unavailable as error:
                self._services.log.warning("cancel refusal not stored", detail=str(error))


def epoch(node: str, started: float) -> bytes:
    """What tells one life of a worker from the next, as every node can read it in the store."""
    return f"{node}\0{started!r}".encode()
