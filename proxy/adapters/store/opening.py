"""Opens a store from its URL. Called by the composition root."""

from pathlib import Path

from proxy.adapters.store.database import Database
from proxy.adapters.store.postgresql import PostgresqlDatabase
from proxy.adapters.store.sqlite import SqliteDatabase
from proxy.adapters.store.store import SqlStore
from proxy.core.ports import Clock, Doorbell


def open_store(url: str, *, node: str, clock: Clock, bell: Doorbell | None = None) -> SqlStore:
    """The store at ``sqlite:///relative/path``, ``sqlite:////absolute/path`` or ``postgresql://…`` (a libpq URI).

    Use as ``async with open_store(…) as store``: entering makes or migrates the schema (``Unavailable`` when the
    database is away, or a later program's). ``clock`` is the store's clock on SQLite; PostgreSQL has its own.
    Errors: ValueError for another URL.
    """
    return SqlStore(open_database(url, clock), node=node, bell=bell)


def open_database(url: str, clock: Clock) -> Database:
    path = sqlite_path(url)
    return PostgresqlDatabase(url) if path is None else SqliteDatabase(path, clock)


def sqlite_path(url: str) -> Path | None:
    """The file that a store's URL names, None when it names a server. Errors: ValueError."""
    if url.startswith(("postgresql://", "postgres://")):
        return None
    path = url.removeprefix("sqlite:///")
    if path in {url, "", ":memory:"}:
        raise ValueError("a store is sqlite:///path or postgresql://…")
    return Path(path)
