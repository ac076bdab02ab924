"""The store in a PostgreSQL database, shared by nodes; asyncpg under SQLAlchemy.

Writers are serialised by the row of ``heads`` (see there), so READ COMMITTED is enough for them and a unit can
decide on what it reads. Readers have a REPEATABLE READ snapshot. ``url`` is a libpq URI, passed to asyncpg as it
is.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import cache
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from proxy.adapters.store import migrate
from proxy.adapters.store.reader import Now

T = TypeVar("T")

CHANNEL = "tidegate_feed"
ATTEMPTS = 3
READERS = 4
TIMEOUT = 10.0

# A node that stops (or is cut off) in the middle of a write holds the lock that every revocation needs: the
# server ends such a transaction, and such a connection, by itself. Keepalives in seconds, the rest in
# milliseconds.
SETTINGS: Mapping[str, str] = {
    "application_name": "tidegate store",
    "idle_in_transaction_session_timeout": "3000",
    "lock_timeout": "6000",
    "statement_timeout": "10000",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}

# Serialisation failure and deadlock: PostgreSQL manual, appendix A, class 40.
TRANSIENT = frozenset({"40001", "40P01"})

_CLOCK = sa.text("SELECT extract(epoch FROM clock_timestamp())::float8")
_NOTIFY = sa.text("SELECT pg_notify(:channel, '')")


class PostgresqlDatabase:
    """``Database`` over a PostgreSQL database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._writing = self._engine(1)  # of its own: readers cannot keep the writer waiting
        self._reading = self._engine(READERS).execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    async def start(self) -> None:
        async with self._writing.begin() as connection:
            await connection.run_sync(migrate.migrate)

    async def stop(self) -> None:
        await self._reading.dispose()
        await self._writing.dispose()

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        async def attempt() -> T:
            async with self._reading.connect() as connection:
                return await connection.run_sync(query)

        return await self._retried(attempt)

    async def write(self, run: Callable[[sa.Connection], T]) -> T:
        async with AsyncExitStack() as stack:

            async def attempt() -> tuple[AsyncConnection, T]:
                await stack.aclose()
                connection = await stack.enter_async_context(self._writing.connect())
                return connection, await connection.run_sync(run)

            connection, result = await self._retried(attempt)
            await connection.commit()  # never tried again: when its answer is lost it may have happened
            return result

    def clock(self, connection: sa.Connection) -> Now:
        """The server's, asked once a transaction."""
        return cache(lambda: float(connection.execute(_CLOCK).scalar_one()))

    def announce(self, connection: sa.Connection) -> None:
        connection.execute(_NOTIFY, {"channel": CHANNEL})

    def spoils(self, error: Exception) -> bool:
        return isinstance(error, DBAPIError) and (
            error.connection_invalidated or getattr(error.orig, "sqlstate", "") in TRANSIENT
        )

    async def _retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Again, a bounded number of times, after what left nothing behind: a deadlock, a connection that was
        gone."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await attempt()
            except DBAPIError as error:
                if not self.spoils(error):
                    raise
        return await attempt()

    def _engine(self, connections: int) -> AsyncEngine:
        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=TIMEOUT,
        )

    async def _connect(self) -> Any:
        return await asyncpg.connect(
            self._url, timeout=TIMEOUT / 2, command_timeout=TIMEOUT, server_settings=dict(SETTINGS)
        )
