"""A glance at a store from beside the gateway: its locks, for ``config check``. Reads; makes and migrates nothing.

Not ``open_store``: whoever checks a file must not bring a store to the schema of the program they happen to run.
"""

import asyncio
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from proxy.adapters.store.database import FAILURES, unavailable
from proxy.adapters.store.opening import sqlite_path
from proxy.adapters.store.postgresql import PostgresqlDatabase
from proxy.adapters.store.reader import SqlReader
from proxy.core.ports import Lock

WITHIN = 5.0
"""Seconds that a server has to answer."""


async def locks_in(url: str) -> list[Lock]:
    """Return the locks in the store at ``url`` (as of ``open_store``). ``Unavailable`` where it cannot be looked
    into: there is none yet, it is away, its schema is another."""
    path = sqlite_path(url)
    try:
        async with asyncio.timeout(WITHIN):
            return await _in_server(url) if path is None else _in_file(path)
    except (*FAILURES, TimeoutError) as error:
        raise unavailable(f"{type(error).__name__}: {error}") from None


async def _in_server(url: str) -> list[Lock]:
    database = PostgresqlDatabase(url)
    try:
        return await database.read(_locks)
    finally:
        await database.stop()


def _in_file(path: Path) -> list[Lock]:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=NullPool)
    with engine.connect() as connection:
        return _locks(connection)


def _locks(connection: sa.Connection) -> list[Lock]:
    return SqlReader(connection, lambda: 0.0).locks()  # a list of locks does not depend on the time
