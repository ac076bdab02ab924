"""Accepts connections, bounds what is not yet authenticated, owns every session's task, ticks once a second.

One per process. Engines are given to it by the composition root; it knows their names only. Nothing here awaits a
peer on the accept path, so that a slow client stalls nobody.
"""

import asyncio
import contextlib
import math
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from proxy.core.errors import Ended, PeerError, TidegateError, Unavailable
from proxy.core.states import EndReason
from proxy.policy.networks import inside
from proxy.sessions.ending import farewell_text
from proxy.sessions.figures import Figures
from proxy.sessions.ledger import Ledger
from proxy.sessions.pending import Pending, Place
from proxy.sessions.proxy_header import announced
from proxy.sessions.services import Engine, Services
from proxy.sessions.session import Session
from proxy.sessions.silence import nothing
from proxy.sessions.transport import Stream
from proxy.sessions.turned_away import TurnedAwayLog

ACCEPTS_A_TURN = 32
"""Connections taken in one turn of the loop."""
BACKLOG = 512
REFUSAL_PATIENCE = 1.0
TOO_MANY = "too_many_pending"
"""How an admission is counted that found no place, or had to give it to others."""
ACCEPT_PAUSE = 0.2
"""Seconds a listener rests when the process is out of descriptors; it would be called again at once for nothing."""


@dataclass(frozen=True, slots=True)
class Door:
    """One listening address. Connections from the networks of ``proxies`` begin with a PROXY protocol header;
    ``strangers`` says whether others are taken at all."""

    sock: socket.socket
    engine: Engine
    proxies: tuple[str, ...] = ()
    strangers: bool = True

    def behind_proxy(self, source: str) -> bool:
        """Whether who connects from ``source`` speaks for somebody else."""
        return bool(self.proxies) and inside(source, self.proxies)


class Kernel:
    """``run`` serves until ``stop`` and returns when the last session is concluded."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._pending = Pending(lambda: services.settings)
        self._doors: list[Door] = []
        self._sessions: set[Session] = set()
        self._ledger = Ledger(services.store, services.clock, services.log)
        self._figures = Figures(services.metrics)
        self._turned_away = TurnedAwayLog(services.clock.monotonic, services.log)
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: asyncio.TaskGroup | None = None
        self.every_second: list[Callable[[], Awaitable[None]]] = [self._tell]
        self.background: list[Callable[[], Awaitable[object]]] = []

    def memory_is_short(self) -> bool:
        """Whether nobody new is let in because of what waits in memory."""
        return self._services.holdings.refuses()

    def closed(self) -> bool:
        """Whether no connection is taken any more, or yet."""
        return not self._doors or self._stopping.is_set()

    def known(self) -> frozenset[str]:
        """The ids of the sessions that are here, or whose end the store has not taken yet."""
        return frozenset((*self._ledger.untold(), *(each.id for each in self._sessions)))

    # -- listening -----------------------------------------------------------------------------------------------

    def listen(self, door: Door) -> None:
        """Take connections of a bound socket for an engine. Before or during ``run``."""
        door.sock.setblocking(False)
        door.sock.listen(BACKLOG)
        self._doors.append(door)
        self._services.loop.add_reader(door.sock.fileno(), self._accept, door)

    def _accept(self, door: Door) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, address = door.sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:  # the peer is gone already
                continue
            except OSError as error:  # out of descriptors or memory
                self._services.log.warning("accept failed", error=str(error))
                self._rest(door)
                return
            source = _plain(address[0]) if isinstance(address, tuple) else "local"
            place = self._let_in(door, source)
            if place is None or self._tasks is None:
                sock.close()
                continue
            self._tasks.create_task(self._serve(door, sock, source, place))

    def _rest(self, door: Door) -> None:
        loop = self._services.loop
        loop.remove_reader(door.sock.fileno())
        loop.call_later(ACCEPT_PAUSE, self._wake, door)

    def _wake(self, door: Door) -> None:
        if door in self._doors:
            self._services.loop.add_reader(door.sock.fileno(), self._accept, door)

    def _let_in(self, door: Door, source: str) -> Place | None:
        """A place for a connection that was accepted; None where it is to be closed at once."""
        if self._stopping.is_set():
            return None
        behind_proxy = door.behind_proxy(source)
        if not behind_proxy and not door.strangers:
            return None
        place = self._pending.enter(source, for_others=behind_proxy)
        if place is None:
            self._services.metrics.count("tidegate_admissions_total", result=TOO_MANY)
        return place

    # -- one session ---------------------------------------------------------------------------------------------

    async def _serve(self, door: Door, sock: socket.socket, source: str, place: Place) -> None:
        if place.evicted:  # before it was anybody's turn
            sock.close()
            return
        services = self._services
        session = Session(services, self._ledger, Stream(services.loop, sock), source)
        self._sessions.add(session)
        self._idle.clear()
        alarm = services.loop.call_later(services.settings.login_timeout, session.took_too_long)
        place.evict = partial(_crowded_out, session)
        session.vouched, session.logged_in = place.leave, alarm.cancel
        try:
            await self._guarded(door, session, place)
        finally:
            place.leave()
            place.evict = nothing
            alarm.cancel()
            await self._closed(session)
            self._figures.ended(session)
            session.relayed = None  # which knows the session too
            self._sessions.discard(session)
            if not self._sessions:
                self._idle.set()

    async def _introduce(self, door: Door, session: Session, place: Place) -> bool:
        """Learn from a proxy who its client is; whether that client may go on."""
        if not door.behind_proxy(session.source):
            return True
        try:
            async with asyncio.timeout_at(session.startup_by):
                client = await announced(session.client)
        except TimeoutError:
            raise PeerError("no PROXY protocol header came in time", code="protocol") from None
        session.source = session.source if client is None else client
        if place.move(session.source):
            return True
        self._services.metrics.count("tidegate_admissions_total", result=TOO_MANY)
        return False

    async def _closed(self, session: Session) -> None:
        """Close a session; what goes wrong there must not take the others along with it."""
        try:
            await session.close()
        except Exception:
            self._services.log.exception("session not closed well", session=session.id)

    async def _guarded(self, door: Door, session: Session, place: Place) -> None:
        """Run the engine; word for the client whatever ended the log-in."""
        engine = door.engine
        try:
            if await self._introduce(door, session, place):
                await engine.serve(session)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if session.ending is None or task is None:
                raise
            task.uncancel()
            text, hint = farewell_text(session.ending)
            code = TOO_MANY if place.evicted else session.ending.reason
            await self._refuse(engine, session, Ended(text, hint=hint, code=code))
        except TidegateError as error:
            session.fail(error)
            await self._refuse(engine, session, error)
        except Exception as error:
            self._services.log.exception("session failed", session=session.id)
            session.fail(error)
            await self._refuse(engine, session, Unavailable("internal error", hint=f"quote {session.id}"))

    async def _refuse(self, engine: Engine, session: Session, error: TidegateError) -> None:
        services = self._services
        left = isinstance(error, PeerError) and error.code == "closed"
        if not left and session.admission is None:
            self._turned_away.note(session.id, session.source, error.code, error.detail)
        elif not left:
            services.log.info(
                "refused", session=session.id, source=session.source, why=error.code, detail=error.detail
            )
        if not session.started:  # else it was counted as allowed
            services.metrics.count("tidegate_admissions_total", result=error.code)
        client = session.client
        if client.closed:
            return
        with contextlib.suppress(PeerError, TimeoutError, OSError):
            async with asyncio.timeout(REFUSAL_PATIENCE):
                before = client.bytes_written
                await client.send(b"" if left else engine.refusal(error, session))
                said = client.bytes_written > before  # else nobody is left to read, or there are no words for it
                await client.finish(REFUSAL_PATIENCE)
                await client.drain(REFUSAL_PATIENCE if said else 0.0)

    # -- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until ``stop``; then let sessions end by themselves, and cut those that have not."""
        async with asyncio.TaskGroup() as background:
            running: list[asyncio.Task[None]] = [
                background.create_task(each())  # type: ignore[arg-type]
                for each in (self._services.watch.run, self._tick, self._do_duties, *self.background)
            ]
            async with asyncio.TaskGroup() as self._tasks:
                await self._stopping.wait()
                self._close_listeners()
                await self._wait_for_sessions(self._services.settings.shutdown_grace)
                for session in list(self._sessions):
                    session.end(EndReason.SHUTDOWN)
            self._tasks = None
            for task in running:
                task.cancel()
        self._services.workshop.close()
        await self._last_words()

    async def _last_words(self) -> None:
        """Nobody is left to try again later."""
        self._turned_away.flush(math.inf)
        try:
            await self._services.gate.flush(math.inf)
            await self._ledger.catch_up(math.inf)
        except Unavailable as error:
            self._services.log.error("ends of sessions not stored", left=len(self.known()), detail=str(error))

    async def _tell(self) -> None:
        now = self._services.clock.monotonic()
        self._turned_away.flush(now)
        await self._services.gate.flush(now)
        await self._ledger.catch_up(now)

    def stop(self) -> None:
        """Stop accepting, wait for the grace, cut what is left (SIGTERM)."""
        self._stopping.set()

    def drain(self, left: float) -> None:
        """Take nobody new, and in ``left`` seconds cut who is still here. May be said again with another time; the
        process stays until it is stopped."""
        if self._doors:
            self._services.log.info("draining", seconds=round(left))
            for door in self._doors:
                self._accept(door)  # whose connection stands already would be reset
            self._close_listeners()
        if left <= 0:
            for session in list(self._sessions):
                session.end(EndReason.SHUTDOWN)

    def _close_listeners(self) -> None:
        for door in self._doors:
            self._services.loop.remove_reader(door.sock.fileno())
            door.sock.close()
        self._doors.clear()

    async def _wait_for_sessions(self, grace: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._idle.wait()

    async def _tick(self) -> None:
        while True:
            due = self._services.loop.time() + 1.0
            await asyncio.sleep(1.0)
            self._look_after_all(due)

    def _look_after_all(self, due: float) -> None:
        """No part of ``_tick``, whose frame stays and would keep the last session that it had seen."""
        services = self._services
        services.watch.expire()
        monotonic = services.loop.time()
        services.metrics.observe("tidegate_turn_seconds", max(services.rests.longest(), monotonic - due))
        for session in list(self._sessions):
            try:
                session.tick(monotonic)
            except Exception as error:  # one that cannot be looked after ends, and no other
                services.log.exception("tick failed", session=session.id)
                session.fail(error)
        services.holdings.survey(
            each.burden for each in self._sessions if each.burden is not None and each.ending is None
        )
        services.metrics.gauge("tidegate_waiting_bytes", services.holdings.total)
        self._figures.look(self._sessions)
        services.metrics.gauge("tidegate_feed_lag_seconds", services.watch.lag)

    async def _do_duties(self) -> None:
        """Apart from the tick, which must go on while a store that hangs keeps a duty waiting."""
        while True:
            await asyncio.sleep(1.0)
            for duty in self.every_second:
                try:
                    await duty()
                except Unavailable as error:
                    self._services.log.warning("duty failed", detail=str(error))
                except Exception:
                    self._services.log.exception("duty failed")


def _crowded_out(session: Session) -> None:
    """Close a connection that nobody has vouched for: at once, since what lingers would be as many as come."""
    session.client.close(reset=True)
    session.end(EndReason.PROTOCOL_ERROR, "others wait, and this one had not logged in yet")


def _plain(address: str) -> str:
    """An IPv4 address that came through an IPv6 socket, as IPv4."""
    return address.removeprefix("::ffff:") if "." in address else address
