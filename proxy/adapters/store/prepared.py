"""Statements of the session path, compiled once and given to SQLite's driver as they are.

SQLAlchemy finds a statement compiled, but makes some hundred calls around the driver's one, and a log-in runs a
dozen of them. Another database's driver is not called like this: there SQLAlchemy runs them. Used by ``reader``,
``writer`` and ``heads``; knows no table.
"""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

Values = Mapping[str, Any]
_DIALECT = sqlite.dialect(paramstyle="qmark")


class Compiled(NamedTuple):
    """``fixed`` are the values that stand in the statement itself; ``row`` makes a row of what the driver gives."""

    sql: str
    names: tuple[str, ...]
    fixed: Values
    row: Callable[..., Any]

    def ordered(self, values: Values) -> list[Any]:
        """KeyError for a parameter without a value: it must not become NULL."""
        whole = {**self.fixed, **values}
        return [whole[name] for name in self.names]


class Prepared:
    """One statement with named parameters, which are texts, numbers and None, as its columns are: nothing is
    converted. Its rows have the columns as attributes."""

    __slots__ = ("_compiled", "_statement")

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._compiled: Compiled | None = None

    def first(self, connection: sa.Connection, values: Values) -> Any:
        """The first row, None where there is none."""
        driver = _driver(connection)
        if driver is None:
            return connection.execute(self._statement, values).first()
        compiled = self._compiled or self._compile()
        found = driver.execute(compiled.sql, compiled.ordered(values)).fetchone()
        return None if found is None else compiled.row(*found)

    def run(self, connection: sa.Connection, *values: Values) -> None:
        """Once with each of ``values``."""
        driver = _driver(connection)
        if driver is None:
            connection.execute(self._statement, values)
            return
        compiled = self._compiled or self._compile()
        driver.executemany(compiled.sql, [compiled.ordered(each) for each in values])

    def _compile(self) -> Compiled:
        compiled = self._statement.compile(dialect=_DIALECT)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        columns = [each.name for each in self._statement.selected_columns] if self._statement.is_select else []
        row = namedtuple("Row", columns)  # type: ignore[misc]
        self._compiled = Compiled(str(compiled), tuple(compiled.positiontup or ()), fixed, row)
        return self._compiled


def _driver(connection: sa.Connection) -> sqlite3.Connection | None:
    driver = connection.connection.driver_connection
    return driver if isinstance(driver, sqlite3.Connection) else None
