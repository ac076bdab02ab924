"""How one session's backend is made to stop, and how that is proved: ``sessions.services.TargetControl``.

Async, over kernel streams of its own; made by ``engine`` for each session, knows nothing of the client.
"""

import asyncio

from proxy.core.errors import TidegateError, Unreachable
from proxy.protocols.postgres import messages
from proxy.protocols.postgres.upstream import Entry, LoggedIn, Targets, read_message
from proxy.sessions.dialling import connect
from proxy.sessions.transport import Stream

VERIFY = 8.0
"""Seconds a backend may take to be gone before the receipt says that it could not be verified."""
LOOK = 0.01
SURVIVED = 50
"""Looks after which a backend is terminated."""
ANSWERS_MOST = 100


class Backend:
    """One backend of a target: ``goodbye`` is Terminate."""

    goodbye = b"X\x00\x00\x00\x04"

    def __init__(self, targets: Targets, entry: Entry, logged_in: LoggedIn) -> None:
        self._targets = targets
        self._entry = entry
        self._backend = logged_in

    async def abandon(self) -> None:
        """CancelRequest on a connection of its own; returns when the target has sent the signal."""
        backend = self._backend
        if backend.key:
            await self._targets.cancel(backend.address, self._entry, backend.pid, backend.key)

    async def stopped(self) -> str:
        """Verified through the control account where the resource has one: the backend is looked for in
        pg_stat_activity, terminated if it survives, looked for again. Without one, or for a target that never told
        a pid: "" ."""
        control = self._entry.target.control
        if control is None or not self._backend.pid:
            return ""
        entry = Entry(self._entry.target, control.user, control.credential)
        try:
            async with asyncio.timeout(VERIFY):
                return await self._gone(entry, control.database)
        except (TimeoutError, OSError, TidegateError):
            return ""

    async def _gone(self, entry: Entry, database: str) -> str:
        address = self._backend.address
        stream, _ = await connect(self._targets.loop, (address.again,), 1.0)
        try:
            startup = messages.startup_packet(
                {"user": entry.user, "database": database, "application_name": "tidegate control"}
            )
            await self._targets.login(stream, address, entry, startup)
            begun = None
            terminated = False
            for attempt in range(int(VERIFY / LOOK)):
                rows = await ask(stream, self._look())
                if not rows or (begun is not None and rows[0] != begun):
                    return "pg_terminate_backend" if terminated else "pg_stat_activity"
                begun = rows[0]
                if attempt >= SURVIVED and not terminated:
                    await ask(stream, self._look("pg_catalog.pg_terminate_backend(pid)"))
                    terminated = True
                await asyncio.sleep(LOOK)
            return ""
        finally:
            stream.close()

    def _look(self, what: str = "backend_start") -> str:
        """By pid and by the role it logged in as, which a session cannot change. Its application_name it can, and
        SET ROLE and SET SESSION AUTHORIZATION leave usename as it is. ``backend_start`` tells a pid's next life."""
        role = self._entry.user.replace("'", "''")
        return (
            f"set standard_conforming_strings to on; select {what} from pg_catalog.pg_stat_activity "  # noqa: S608
            f"where pid operator(pg_catalog.=) {self._backend.pid} "
            f"and usename operator(pg_catalog.=) '{role}'::pg_catalog.name"
        )


async def ask(stream: Stream, query: str) -> list[bytes]:
    """Run a query of our own on a connection of our own; the bodies of its rows. ``Unreachable`` when the target
    refuses it or goes on for ever."""
    await stream.send(messages.query(query))
    rows: list[bytes] = []
    for _ in range(ANSWERS_MOST):
        kind, body = await read_message(stream)
        if kind == b"D":
            rows.append(body)
        elif kind == b"E":
            raise Unreachable("the target refuses to be asked", detail="control account")
        elif kind == b"Z":
            return rows
    raise Unreachable("the target does not stop answering", detail="control account")
