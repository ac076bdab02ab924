"""How one session's backend is made to stop, and how that is proved: ``sessions.services.TargetControl``.

Async, over kernel streams of its own; made by ``engine`` for each session, knows nothing of the client.
"""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from proxy.core.errors import PeerError, TidegateError, Unreachable
from proxy.protocols.postgres import large_objects, lives, messages
from proxy.protocols.postgres.large_objects import Function
from proxy.protocols.postgres.lives import Life
from proxy.protocols.postgres.upstream import Entry, LoggedIn, Targets, read_message
from proxy.sessions.dialling import connect
from proxy.sessions.transport import Stream

VERIFY = 8.0
"""Seconds a backend may take to be gone before the receipt says that it could not be verified."""
LOOK = 0.01
SURVIVED = 50
"""Looks after which a backend is terminated."""
ANSWERS_MOST = 100
QUESTION = f"{lives.OWN} union all {large_objects.CATALOG}"
"""What each line is asked at its log-in. The rows come in the order of their questions."""


class Backend:
    """One backend of a target: ``goodbye`` is Terminate. ``life``: which it is for sure, where that is known."""

    goodbye = b"X\x00\x00\x00\x04"

    def __init__(self, targets: Targets, entry: Entry, logged_in: LoggedIn, life: Life | None) -> None:
        self._targets = targets
        self._entry = entry
        self._backend = logged_in
        self._life = life

    async def abandon(self) -> None:
        """CancelRequest on a connection of its own; returns when the target has sent the signal."""
        backend = self._backend
        if backend.key:
            await self._targets.cancel(backend.address, self._entry, backend.pid, backend.key)

    async def stopped(self) -> str:
        """Verified through the control account where the resource has one: the backend is looked for in
        pg_stat_activity, terminated if it survives, looked for again. "" without one, and where it is not known for
        sure: no other is taken for it."""
        control, life = self._entry.target.control, self._life
        if control is None or life is None:
            return ""
        entry = Entry(self._entry.target, control.user, control.credential)
        try:
            async with asyncio.timeout(VERIFY):
                return await self._gone(entry, control.database, life)
        except (TimeoutError, OSError, TidegateError):
            return ""

    async def _gone(self, entry: Entry, database: str, life: Life) -> str:
        address, role = self._backend.address, self._entry.user
        stream, _ = await connect(self._targets.loop, (address.again,), 1.0)
        try:
            await self._targets.login(stream, address, entry, startup_of(entry, database))
            terminated = False
            for attempt in range(int(VERIFY / LOOK)):
                goes_on = lives.goes_on(await ask(stream, lives.look(life, role)), life)
                if goes_on is None:
                    return ""
                if not goes_on:
                    return "pg_terminate_backend" if terminated else "pg_stat_activity"
                if attempt >= SURVIVED and not terminated:
                    await ask(stream, lives.end(life, role))
                    terminated = True
                await asyncio.sleep(LOOK)
            return ""
        finally:
            stream.close()


def startup_of(control: Entry, database: str) -> bytes:
    """How the gateway's own role begins."""
    return messages.startup_packet(
        {"user": control.user, "database": database, "application_name": "tidegate control"}
    )


class Introduction(NamedTuple):
    """What a fresh line says of itself. ``life``: which backend is at its other end, None where that cannot be told
    for sure; ``functions``: those that may be called by oid."""

    life: Life | None
    functions: Mapping[int, Function]


async def introduced(logged_in: LoggedIn) -> Introduction:
    """Ask a fresh line who it is, in one round trip. What the target says of its settings meanwhile is added to
    what it said at the log-in. ``Unreachable`` where it goes on."""
    try:
        rows, refused = await _answer(logged_in.stream, QUESTION, logged_in.parameters)
    except PeerError as error:
        raise Unreachable("the target closed the connection during log-in", detail=str(error)) from None
    if refused:
        return Introduction(None, {})
    return Introduction(lives.own_life(rows[:1], logged_in.pid), large_objects.functions(rows[1:]))


async def life_of(logged_in: LoggedIn) -> Life | None:
    """Return which backend is at the other end of a fresh log-in. See ``Introduction``."""
    return (await introduced(logged_in)).life


async def ask(stream: Stream, query: str) -> list[str]:
    """Run a query of our own on a connection of our own; the first column of its rows. ``Unreachable`` when the
    target refuses it or goes on for ever."""
    rows, refused = await _answer(stream, query, [])
    if refused:
        raise Unreachable("the target refuses to be asked", detail="control account")
    return rows


async def _answer(stream: Stream, query: str, parameters: list[bytes]) -> tuple[list[str], bool]:
    """The first column of a query's rows, and whether it was refused; the line is in step again."""
    await stream.send(messages.query(query))
    rows: list[str] = []
    refused = False
    for _ in range(ANSWERS_MOST):
        kind, body = await read_message(stream)
        if kind == b"D":
            rows.append(body[6:].decode("utf-8", "replace"))
        elif kind == b"E":
            refused = True
        elif kind == b"S":
            parameters.append(messages.frame(kind, body))
        elif kind == b"Z":
            return rows, refused
    raise Unreachable("the target does not stop answering")
