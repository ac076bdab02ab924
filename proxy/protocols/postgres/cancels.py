"""CancelRequests of clients: the right session's running statement, and never the next one.

Whose a key is, is found by its pid: among the sessions here, then, for a source that has not guessed too often, in
the store, where every session with that pid is tried. A cancel for another worker's session travels by the feed,
and its connection is closed only when that worker has read so far: libpq takes the closing for "done". Used by
``engine``; ``keys`` knows what a key is made of.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from proxy.access.sources import source_kind
from proxy.core.errors import TidegateError, Unavailable
from proxy.core.events import CancelRefused
from proxy.core.feed import FeedItem, FeedKind, Scope
from proxy.core.ports import Page, Reader
from proxy.core.records import Note
from proxy.core.sessions import SessionRecord
from proxy.protocols.postgres.control import Backend
from proxy.protocols.postgres.inspector import PostgresInspector
from proxy.protocols.postgres.keys import CancelKeys, own_pid
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
ANY_PID, PROVEN = 0, -1
"""Beside pids, what wrong keys of a source are counted for: those that are looked up in the store, and those that
prove that this cluster made them, whose session is over. A proof cannot be guessed, so no flood closes its door."""
WAITING_MOST = 1024
CANDIDATES = 500
"""Live sessions of one pid that are read at a time. All are tried: a target that gives each the same pid keeps no
other target's sessions from being found."""


@dataclass(frozen=True, slots=True)
class Cancellable:
    """A live session as a cancel sees it."""

    session: Session
    inspector: PostgresInspector
    backend: Backend
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Cancels:
    """The cancel keys of one worker. Of wrong keys ``guesses`` a minute are taken from each source, and no more are
    looked up in the store then; as many for each pid of this worker's sessions, so that a flood from one address
    takes the cancel from nobody else there who has a session here."""

    def __init__(self, services: Services, secret: bytes, guesses: int) -> None:
        self._services = services
        self._keys = CancelKeys(secret)
        self._guesses = guesses
        self._wrong: Counter[tuple[str, int]] = Counter()
        self._window = 0.0
        self._live: dict[str, Cancellable] = {}
        self._sessions: dict[int, set[str]] = {}
        self._passed_on: asyncio.Queue[str] = asyncio.Queue(WAITING_MOST)

    # -- sessions ------------------------------------------------------------------------------------------------

    def pid(self, of_target: int) -> int:
        """Return the pid for a session: the target's own, or, where that is not known (0), one of ours."""
        pid = of_target or own_pid()
        while not of_target and pid in self._sessions:
            pid = own_pid()
        return pid

    def key(self, session: str, pid: int, length: int) -> bytes:
        """Return the key for a session of this worker: ``length`` bytes, 4 in protocol 3.0 and 32 in 3.2."""
        return self._keys.key(self._services.node, session, pid, length)

    def file(self, pid: int, live: Cancellable) -> None:
        """From now on the session can be cancelled."""
        self._live[live.session.id] = live
        self._sessions.setdefault(pid, set()).add(live.session.id)

    def forget(self, pid: int, session: str) -> None:
        """The session has ended: its key is nobody's."""
        self._live.pop(session, None)
        others = self._sessions.get(pid, set())
        others.discard(session)
        if not others:
            self._sessions.pop(pid, None)

    # -- requests ------------------------------------------------------------------------------------------------

    async def carry_out(self, asked: Cancel, source: str) -> None:
        """Do what the key proves a right to, or nothing; returns when the target was told."""
        kind = source_kind(source)
        session = self._here(asked, kind)
        if session is not None:
            await self.cancel(session)
            return
        guessed = kind, PROVEN if self._keys.proves_itself(asked.pid, asked.key) else ANY_PID
        if not self._throttled(guessed) and not await self._passed_on_to_its_owner(asked):
            await self._refused(guessed, source)

    def _here(self, asked: Cancel, kind: str) -> str | None:
        """The session of this worker whose key it is. What is no key of a session's counts as a guess at its pid;
        of pids that nobody has here nothing is kept."""
        guessed = kind, asked.pid
        if asked.pid not in self._sessions or self._throttled(guessed):
            return None
        found = self._fitting(asked)
        if found is None and not self._keys.proves_itself(asked.pid, asked.key):
            self._wrong[guessed] += 1
        return found

    def _fitting(self, asked: Cancel) -> str | None:
        if not self._keys.may_fit(asked.pid, asked.key):
            return None
        node, here = self._services.node, self._sessions.get(asked.pid, ())
        return next((each for each in here if self._keys.fits(node, each, asked.pid, asked.key)), None)

    async def cancel(self, session: str) -> None:
        """Cancel what the session runs now. Its client is not read until the target has been told, so the signal
        cannot hit the statement after."""
        live = self._live.get(session)
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
        """Whether the key is a live session's; then its worker is told, and has had its time."""
        if not self._keys.may_fit(asked.pid, asked.key):
            return False
        store = self._services.store
        found = await store.read(lambda reader: self._owner(reader, asked))
        if found is None:
            return False
        if found.node == self._services.node:  # it ends, or is about to begin: nothing runs in it
            return True
        seq = await store.commit(
            lambda writer: writer.publish(FeedKind.CANCEL, Scope.NODE, found.node, data={"session": found.id})
        )
        deadline = self._services.loop.time() + PASSED_ON
        while self._services.loop.time() < deadline:
            nodes = await store.read(lambda reader: reader.nodes())
            if any(each.id == found.node and each.feed_seen >= seq for each in nodes):
                break
            await asyncio.sleep(LOOK)
        return True

    def _owner(self, reader: Reader, asked: Cancel) -> SessionRecord | None:
        """The live session whose key it is, of any worker."""
        page = Page(limit=CANDIDATES)
        while found := reader.sessions(page, live=True, pid=asked.pid):
            for each in found:
                if self._keys.fits(each.node, each.id, asked.pid, asked.key):
                    return each
            page = Page(limit=CANDIDATES, before=found[-1].id)
        return None

    def informed(self, item: FeedItem) -> None:
        """An item of the feed: a cancel that reached another worker and is for a session of this one."""
        session = item.data.get("session")
        if item.kind is FeedKind.CANCEL and item.key == self._services.node and isinstance(session, str):
            try:
                self._passed_on.put_nowait(session)
            except asyncio.QueueFull:
                self._services.log.warning("too many cancels at once")

    async def run(self) -> None:
        """Carry out what other workers passed on, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                session = await self._passed_on.get()
                tasks.create_task(self.cancel(session))  # apart: a target that does not answer keeps only its own

    # -- guesses -------------------------------------------------------------------------------------------------

    def _throttled(self, guessed: tuple[str, int]) -> bool:
        now = self._services.clock.monotonic()
        if now - self._window > WINDOW:
            self._window = now
            self._wrong.clear()
        return self._wrong.get(guessed, 0) >= self._guesses

    async def _refused(self, guessed: tuple[str, int], source: str) -> None:
        """The first wrong key of a source in a minute, and the one that closes the door, go into the trail."""
        self._wrong[guessed] += 1
        times = self._wrong[guessed]
        if times in (1, self._guesses):
            try:
                await self._services.store.commit(
                    lambda writer: writer.append(CancelRefused(actor="anonymous", source=source, times=times))
                )
            except Unavailable as error:
                self._services.log.warning("cancel refusal not stored", detail=str(error))
