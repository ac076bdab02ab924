"""The store in a SQLite file (WAL), shared by the processes of one machine.

Why not aiosqlite: it hands every cursor, fetch and close to a thread; measured, one read cost 1.4 ms of CPU and a
commit of three inserts 3 ms, beside 0.1 and 0.3 ms here, of 6.7 ms that a whole log-in may take. So units run on
the loop (their statements touch memory: reads in WAL never wait for a writer) and only COMMIT, which waits for
the disk, runs in a thread of its own. The write lock is asked for without blocking, again and again, so the loop
never waits for it.

Durability: synchronous=FULL, one fsync a group. NORMAL would let a power cut take back a revocation that somebody
was told is done.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from proxy.adapters.store import migrate
from proxy.adapters.store.database import unavailable
from proxy.adapters.store.reader import Now
from proxy.core.ports import Clock

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.0005, 0.002  # between attempts at a lock that another process holds


class SqliteDatabase:
    """``Database`` over one file. ``patience``: seconds to wait for a lock before giving up."""

    def __init__(self, path: Path, clock: Clock, *, patience: float = 5.0) -> None:
        self._path = path
        self._clock = clock
        self._patience = patience
        self._engine = sa.create_engine("sqlite://", creator=self._connect, poolclass=NullPool)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-commit")
        self._identity = (0, 0)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._reading, self._writing = await loop.run_in_executor(self._thread, self._open)

    async def stop(self) -> None:
        self._thread.shutdown()  # waits for a commit that is still with the disk
        for name in ("_reading", "_writing"):
            if hasattr(self, name):
                getattr(self, name).close()
        self._engine.dispose()

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        self._check_file()
        async with asyncio.timeout(self._patience):
            return await self._until_free(lambda: self._snapshot(query))

    async def write(self, run: Callable[[sa.Connection], T]) -> T:
        self._check_file()
        try:
            async with asyncio.timeout(self._patience):
                await self._until_free(lambda: self._writing.exec_driver_sql("BEGIN IMMEDIATE"))
            result = run(self._writing)
            await self._commit()
        except Exception:
            self._writing.rollback()
            raise
        return result

    async def _commit(self) -> None:
        """Shielded: whoever cancels the writer waits in ``stop`` for what is already with the disk."""
        commit = asyncio.get_running_loop().run_in_executor(self._thread, self._writing.commit)
        await asyncio.shield(commit)

    def clock(self, connection: sa.Connection) -> Now:
        return self._clock.now

    def announce(self, connection: sa.Connection) -> None:
        """Readers see ``data_version`` change, or hear the doorbell."""

    def spoils(self, error: Exception) -> bool:
        return isinstance(error, DBAPIError) and error.connection_invalidated

    def _snapshot(self, query: Callable[[sa.Connection], T]) -> T:
        try:
            self._reading.exec_driver_sql("BEGIN")
            return query(self._reading)
        finally:
            self._reading.rollback()

    async def _until_free(self, attempt: Callable[[], T]) -> T:
        """Try until no other process is in the way."""
        pause = FIRST_PAUSE
        while True:
            try:
                return attempt()
            except (DBAPIError, sqlite3.Error) as error:
                if not _busy(getattr(error, "orig", error)):
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _check_file(self) -> None:
        """A file that was deleted or replaced would let this process go on alone, deaf to every revocation."""
        found = self._path.stat()
        if (found.st_dev, found.st_ino) != self._identity:
            raise unavailable("the store's file was replaced while in use")

    def _connect(self) -> sqlite3.Connection:
        """``isolation_level=None``: the driver must not begin transactions behind our back."""
        connection = sqlite3.connect(
            self._path, timeout=self._patience, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _open(self) -> tuple[sa.Connection, sa.Connection]:
        """In the thread: may wait for a lock and for the disk."""
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        found = self._path.stat()
        self._identity = (found.st_dev, found.st_ino)
        with self._alone(), self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            if not migrate.current(connection):
                connection.rollback()
                connection.exec_driver_sql("BEGIN EXCLUSIVE")
                migrate.migrate(connection)
                connection.commit()
        return self._impatient(), self._impatient()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process after the other, by a lock on the folder: SQLite answers "locked" at once, patience or not,
        to whoever finds another one turning the file to WAL."""
        folder = os.open(self._path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _impatient(self) -> sa.Connection:
        """A connection for the loop: it answers "busy" at once instead of waiting."""
        connection = self._engine.connect()
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
        connection.commit()
        return connection


def _busy(error: BaseException | None) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
