"""Following the feed: ``core.ports.Feed`` over a connection of its own, beside the store's.

A follower never misses an item, whatever wakes it: the feed is read from the last sequence seen, and sequences are
without gaps in the order of commits. What wakes it: on SQLite ``PRAGMA data_version`` every 50 ms, on PostgreSQL
NOTIFY and a look every second, and on both the doorbell. The SQLite connection is the standard library's own and
is asked on the loop: 5 us a look, where SQLAlchemy takes 200.

When the first item is not ``seq + 1``, items between were pruned: the follower must read everything again (the
store never prunes the last item, so a follower that is behind always sees this). For the same reason the last
item seen must still be there when nothing came after it: if not, the store was put back to an earlier state, and
what it tells is not to be trusted. Called by ``sessions.watch``.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import asyncpg

from proxy.adapters.doorbell import Bell, listen
from proxy.adapters.store.database import FAILURES, translated, unavailable
from proxy.adapters.store.opening import sqlite_path
from proxy.adapters.store.postgresql import CHANNEL
from proxy.adapters.store.rows import to_feed_item
from proxy.core.errors import Unavailable
from proxy.core.feed import FeedItem

POLL_SQLITE, POLL_POSTGRESQL = 0.05, 1.0
FIRST_BACKOFF, LONGEST_BACKOFF = 0.05, 2.0
TIMEOUT = 3.0
UNKNOWN = -1
NO_FILE = (0, 0)

_AFTER = 'SELECT seq, at, kind, scope, "key", "by", reason, data, effect FROM feed WHERE seq >= {} ORDER BY seq'
AFTER_SQLITE, AFTER_POSTGRESQL = _AFTER.format("?"), _AFTER.format("$1")


class Source(Protocol):
    """One database as a follower reads it. Errors: any of ``FAILURES``, after which it starts afresh by itself."""

    interval: float

    def changed(self) -> bool:
        """Whether something is known to have been committed since the last ``after``. Never raises."""
        ...

    async def prepare(self) -> None:
        """Be ready to be woken; gives up after ``interval``."""
        ...

    async def after(self, seq: int) -> list[FeedItem]: ...
    async def close(self) -> None: ...


class FeedFollower:
    """``core.ports.Feed``. Use as ``async with``; ``bell`` is the path of the doorbell it listens to."""

    def __init__(self, source: Source, wake: asyncio.Event, bell: Path | None = None) -> None:
        self._source = source
        self._wake = wake
        self._path = bell
        self._bell: Bell | None = None

    async def __aenter__(self) -> Self:
        if self._path is not None:
            self._bell = listen(self._path)
            asyncio.get_running_loop().add_reader(self._bell.fileno(), self._rung, self._bell)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bell is not None:
            asyncio.get_running_loop().remove_reader(self._bell.fileno())
            self._bell.close()
        await self._source.close()

    async def wait(self) -> None:
        # Twenty times a second in every process: a timer is a third of what a timeout and its exception cost.
        alarm = asyncio.get_running_loop().call_later(self._source.interval, self._wake.set)
        try:
            await self._source.prepare()
            if not self._source.changed():
                await self._wake.wait()
        finally:
            alarm.cancel()
            self._wake.clear()

    async def after(self, seq: int) -> list[FeedItem]:
        try:
            return await self._source.after(seq)
        except FAILURES as error:
            raise translated(error) from error

    def _rung(self, bell: Bell) -> None:
        bell.hush()
        self._wake.set()


class SqliteSource:
    """The feed in a file. Opened when first needed, and again after an error."""

    def __init__(self, path: Path, interval: float = POLL_SQLITE) -> None:
        self.interval = interval
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._identity = NO_FILE
        self._version = UNKNOWN
        self._none_after = UNKNOWN

    def changed(self) -> bool:
        if self._version == UNKNOWN:
            return False  # the last read failed, or there was none: reading at once again would spin
        try:
            return self._data_version(self._opened()) != self._version
        except (Unavailable, *FAILURES):
            self._close()
            return False

    async def prepare(self) -> None:
        """Nothing wakes but the clock and the doorbell."""

    async def after(self, seq: int) -> list[FeedItem]:
        try:
            connection = self._opened()
            # Before the read: a commit between is then seen twice, not never.
            version = self._data_version(connection)
            if version == self._version and seq == self._none_after:
                return []  # nobody has committed anything since that was read
            items = beyond(seq, connection.execute(AFTER_SQLITE, (seq,)).fetchall())
        except BaseException:
            self._close()
            raise
        self._version = version
        self._none_after = UNKNOWN if items else seq
        return items

    async def close(self) -> None:
        self._close()

    def _opened(self) -> sqlite3.Connection:
        """The connection, if the file is still the one first opened: or others would write where this one does not
        look."""
        found = self._path.stat()
        identity = found.st_dev, found.st_ino
        if self._identity not in {identity, NO_FILE}:
            raise unavailable("the store's file was replaced while in use")
        if self._connection is None:
            uri = f"{self._path.absolute().as_uri()}?mode=rw"
            self._connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
            self._identity = identity
        return self._connection

    def _data_version(self, connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA data_version").fetchone()[0])

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._version = UNKNOWN


class PostgresqlSource:
    """The feed in a server: a connection that listens, made again with growing pauses when it is lost."""

    def __init__(self, url: str, wake: asyncio.Event, interval: float = POLL_POSTGRESQL) -> None:
        self.interval = interval
        self._url = url
        self._wake = wake
        self._connection: Any = None
        self._connecting = asyncio.Lock()
        self._backoff = FIRST_BACKOFF
        self._not_before = 0.0

    def changed(self) -> bool:
        return False

    async def prepare(self) -> None:
        try:
            async with asyncio.timeout(self.interval):
                await self._opened()
        except (Unavailable, *FAILURES):
            return  # ``after`` tells; here the pause is the interval

    async def after(self, seq: int) -> list[FeedItem]:
        connection = await self._opened()
        try:
            return beyond(seq, await connection.fetch(AFTER_POSTGRESQL, seq, timeout=TIMEOUT))
        except BaseException:
            self._lost(connection)
            raise

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=TIMEOUT)
            except FAILURES:
                connection.terminate()

    async def _opened(self) -> Any:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._open()
            return self._connection

    async def _open(self) -> Any:
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before:
            raise unavailable("waiting before the next attempt to connect")
        try:
            connection = await asyncpg.connect(
                self._url, timeout=TIMEOUT, server_settings={"application_name": "tidegate feed"}
            )
            await connection.add_listener(CHANNEL, self._notified)
        except BaseException:
            self._not_before = loop.time() + self._backoff
            self._backoff = min(self._backoff * 2, LONGEST_BACKOFF)
            raise
        connection.add_termination_listener(self._lost)
        self._backoff = FIRST_BACKOFF
        return connection

    def _notified(self, *_: object) -> None:
        self._wake.set()

    def _lost(self, connection: Any) -> None:
        """Wake the follower: it finds out by reading."""
        if connection is self._connection:
            self._connection = None
            connection.terminate()
        self._wake.set()


def beyond(seq: int, found: Sequence[Any]) -> list[FeedItem]:
    """The items over ``seq`` of rows from ``seq`` on. ``Unavailable`` where there is none at all, not even
    ``seq``."""
    if not found and seq > 0:
        raise unavailable("the feed is behind what was already seen of it: the store was put back")
    return [to_feed_item(row) for row in found if row[0] > seq]


def open_feed(url: str, *, bell: Path | None = None, interval: float = POLL_SQLITE) -> FeedFollower:
    """A follower of the feed in the store at ``url`` (as for ``open_store``); ``bell`` is the path of its doorbell
    (``bells(state_dir) / "<node>.bell"``), ``interval`` the seconds between two looks at a store that notifies
    nobody (SQLite). Use as ``async with``; the store must have been opened before."""
    wake = asyncio.Event()
    path = sqlite_path(url)
    source = PostgresqlSource(url, wake) if path is None else SqliteSource(path, interval)
    return FeedFollower(source, wake, bell)
