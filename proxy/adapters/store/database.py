"""What the store asks of a database: a snapshot to read, a transaction to write, and its clock.

``sqlite`` and ``postgresql`` implement it; ``store`` groups units over it. Functions given to ``read`` and
``write`` are synchronous and may be run again after a failure that left nothing behind.
"""

import sqlite3
from collections.abc import Callable
from typing import Protocol, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from proxy.adapters.store.reader import Now
from proxy.core.errors import Unavailable

T = TypeVar("T")

# Drivers' own errors reach us where SQLAlchemy does not stand between: at connecting, and on raw connections.
FAILURES = (SQLAlchemyError, sqlite3.Error, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class Database(Protocol):
    """One database that holds a store."""

    async def start(self) -> None:
        """Open it and bring its schema up to date."""
        ...

    async def stop(self) -> None: ...

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run ``query`` on one snapshot."""
        ...

    async def write(self, run: Callable[[sa.Connection], T]) -> T:
        """Run ``run`` in one transaction; back after COMMIT. Nothing is kept when it raises."""
        ...

    def clock(self, connection: sa.Connection) -> Now:
        """The store's clock within one transaction."""
        ...

    def announce(self, connection: sa.Connection) -> None:
        """Have readers of the feed told, by this transaction's commit, to look now."""
        ...

    def spoils(self, error: Exception) -> bool:
        """Whether after this error the whole transaction is lost, not only the unit that met it."""
        ...


def translated(error: BaseException) -> BaseException:
    """What a caller of the store gets: ``Unavailable`` for what the database said, anything else as it is.

    A unit's own errors (``TidegateError`` and whatever else it raises) pass; the text of a database error may name
    hosts and values, so it is detail.
    """
    if isinstance(error, DBAPIError):
        return unavailable(f"{type(error.orig).__name__}: {error.orig}")
    if isinstance(error, FAILURES):
        return unavailable(f"{type(error).__name__}: {error}")
    return error


def unavailable(detail: str) -> Unavailable:
    return Unavailable("the store cannot be reached", detail=detail, code="store_lost")
