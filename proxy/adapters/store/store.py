"""The store: units in, groups out. Implements ``core.ports.Store`` over a ``Database``; one per process.

Commits wait in a queue; one task takes all that wait (up to ``GROUP``), runs them in one transaction, and releases
each waiter after the COMMIT that holds its unit. A unit that raises is rolled back alone: where there are several,
all are rolled back and run again, each behind a savepoint of its own. Units are synchronous, and one may be run
again too when the database rolled its group back.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import sqlalchemy as sa

from proxy.adapters.store.database import Database, translated
from proxy.adapters.store.heads import Heads, RowFormat
from proxy.adapters.store.reader import SqlReader
from proxy.adapters.store.writer import SqlWriter
from proxy.core.errors import Unavailable
from proxy.core.ports import Doorbell, Reader, Writer

T = TypeVar("T")
Unit = Callable[[Writer], Any]

GROUP = 64
QUEUE = 4096


@dataclass(slots=True, eq=False)
class Waiting(Generic[T]):
    """A unit, and who waits for it."""

    unit: Callable[[Writer], T]
    done: "asyncio.Future[T]"


@dataclass(slots=True)
class Outcome:
    """What a unit gave, known before the COMMIT and told after it."""

    value: Any = None
    error: BaseException | None = None


class SqlStore:
    """``core.ports.Store``. Use as ``async with``; after it every commit is refused.

    ``node`` is named in the trail rows written here; ``bell`` is rung after each commit that published to the feed.
    """

    def __init__(self, database: Database, *, node: str, bell: Doorbell | None = None) -> None:
        self._database = database
        self._node = node
        self._format = RowFormat()
        self._bell = bell
        self._queue: deque[Waiting[Any]] = deque()
        self._wake = asyncio.Event()
        self._closing = True
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        try:
            await self._database.start()
        except Exception as error:
            await self._database.stop()
            raise translated(error) from error
        await self._tasks.__aenter__()
        self._tasks.create_task(self._serve(), name="store-writer")
        self._closing = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commits what still waits, then closes."""
        self._closing = True
        self._wake.set()
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            await self._database.stop()

    async def read(self, query: Callable[[Reader], T]) -> T:
        def run(connection: sa.Connection) -> T:
            return query(SqlReader(connection, self._database.clock(connection)))

        try:
            return await self._database.read(run)
        except Exception as error:
            raise translated(error) from error

    async def commit(self, unit: Callable[[Writer], T]) -> T:
        """Errors: ``Unavailable`` when the store is lost or too many commits wait. After a lost COMMIT it is not
        known whether the unit was kept."""
        if self._closing or len(self._queue) >= QUEUE:
            raise Unavailable("the store takes no changes now", code="store_lost")
        waiting: Waiting[T] = Waiting(unit, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._wake.set()
        return await waiting.done

    async def _serve(self) -> None:
        while not self._closing or self._queue:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._commit_group([self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))])

    async def _commit_group(self, group: list[Waiting[Any]]) -> None:
        wanted = [waiting for waiting in group if not waiting.done.done()]  # the rest gave up before their turn
        try:
            outcomes, rung = await self._database.write(lambda connection: self._run(connection, wanted))
        except Exception as error:
            outcomes, rung = [Outcome(error=error) for _ in wanted], False
        except BaseException:
            release(wanted, [Outcome(error=Unavailable("the store is closing")) for _ in wanted])
            raise
        if rung and self._bell is not None:
            self._bell.ring()
        release(wanted, outcomes)

    def _run(self, connection: sa.Connection, group: list[Waiting[Any]]) -> tuple[list[Outcome], bool]:
        """The group in one transaction: what each unit gave, and whether the feed was published to."""
        heads = Heads.take(connection)
        writer = SqlWriter(connection, self._database.clock(connection), heads, self._node, self._format)
        units = [waiting.unit for waiting in group]
        if len(units) == 1:
            outcomes = [Outcome(units[0](writer))]
        else:
            outcomes = self._run_several(connection, heads, writer, units)
        heads.flush(connection)
        if heads.rung:
            self._database.announce(connection)
        return outcomes, heads.rung

    def _run_several(
        self, connection: sa.Connection, heads: Heads, writer: Writer, units: Sequence[Unit]
    ) -> list[Outcome]:
        """All behind one savepoint, which is enough as long as none fails."""

        def together() -> list[Outcome]:
            return [Outcome(unit(writer)) for unit in units]

        def apart(error: Exception) -> list[Outcome]:
            return [self._run_apart(connection, heads, writer, unit) for unit in units]

        return self._behind_savepoint(connection, heads, together, apart)

    def _run_apart(self, connection: sa.Connection, heads: Heads, writer: Writer, unit: Unit) -> Outcome:
        """One unit: if it fails, the others do not."""
        return self._behind_savepoint(
            connection, heads, lambda: Outcome(unit(writer)), lambda error: Outcome(error=error)
        )

    def _behind_savepoint(
        self, connection: sa.Connection, heads: Heads, run: Callable[[], T], otherwise: Callable[[Exception], T]
    ) -> T:
        """What ``run`` gives, or, with nothing of it kept, what ``otherwise`` makes of its failure."""
        mark = heads.mark()
        connection.exec_driver_sql("SAVEPOINT unit")
        try:
            result = run()
        except Exception as error:
            if self._database.spoils(error):
                raise
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT unit")
            heads.rewind(mark)
            result = otherwise(error)
        connection.exec_driver_sql("RELEASE SAVEPOINT unit")
        return result


def release(group: list[Waiting[Any]], outcomes: list[Outcome]) -> None:
    """Tell each waiter; one that was cancelled meanwhile is not told."""
    for waiting, outcome in zip(group, outcomes, strict=True):
        if waiting.done.done():
            continue
        if outcome.error is None:
            waiting.done.set_result(outcome.value)
        else:
            waiting.done.set_exception(told(outcome.error))


def told(error: BaseException) -> BaseException:
    """As ``translated``, with the cause kept: each waiter gets an error of its own."""
    answer = translated(error)
    if answer is not error:
        answer.__cause__ = error
    return answer
