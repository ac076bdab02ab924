"""asyncpg through the gateway, which speaks the extended protocol in binary alone: what it gets equals what it gets
directly."""

import asyncio
import io
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.peers.gateway import Gateway

Connection = Any
PARAMETERS: list[tuple[str, Any]] = [
    ("int2", -5), ("int4", 2**31 - 1), ("int8", -(2**63)), ("bool", True), ("float4", 0.5), ("float8", 5e-324),
    ("float8", float("-inf")), ("numeric", Decimal("-12345678901234567890.1234")), ("text", "naïve \U0001d11e"),
    ("varchar", ""), ("bytea", b"\x00\xff"), ("date", date(1, 1, 1)), ("time", time(23, 59, 59, 999999)),
    ("timestamp", datetime.fromisoformat("2024-02-29T01:00:00")),
    ("timestamptz", datetime(2024, 3, 31, 1, 30, tzinfo=UTC)), ("interval", timedelta(days=-3, microseconds=1)),
    ("uuid", UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")), ("json", '{"a": 1}'), ("jsonb", '{"a": [1, null]}'),
    ("int4[]", [1, None, 3]), ("text[]", [["a", 'b"'], [None, ""]]), ("int4range", asyncpg.Range(1, 5)),
    ("tstzrange", asyncpg.Range(datetime(2024, 1, 1, tzinfo=UTC), None)),
    ("int8multirange", [asyncpg.Range(1, 2), asyncpg.Range(5, 7)]), ("numrange", asyncpg.Range(empty=True)),
    ("point", asyncpg.Point(1, 2)), ("box", asyncpg.Box((1, 1), (0, 0))),
    ("polygon", asyncpg.Polygon((0, 0), (1, 1), (2, 0))), ("circle", asyncpg.Circle((1, 2), 3)),
    ("line", asyncpg.Line(1, 2, 3)), ("varbit", asyncpg.BitString("10110")), ("inet", "10.0.0.1"),
    ("macaddr", "08:00:2b:01:02:03"), ("money", "$12.34"), ("text", None),
]  # fmt: skip


@asynccontextmanager
async def connected(gateway: Gateway, *, around: bool = False, token: str = "") -> Any:
    if around:
        where = {"port": gateway.cluster.port, "password": gateway.cluster.passwords["postgres"], "ssl": False}
    else:
        token = token or await asyncio.to_thread(gateway.token, "postgres")
        where = {
            "port": gateway.port,
            "password": token,
            "ssl": ssl.create_default_context(cafile=str(gateway.ca)),
        }
    connection = await asyncpg.connect(host="127.0.0.1", user="postgres", database="shop", **where)
    try:
        yield connection
    finally:
        await connection.close()


async def same(gateway: Gateway, work: Callable[[Connection], Awaitable[Any]]) -> Any:
    """What the work gives through the gateway; around it it must be the same."""
    found = []
    for around in (False, True):
        async with connected(gateway, around=around) as connection:
            found.append(await work(connection))
    assert found[0] == found[1]
    return found[0]


async def test_values_go_there_and_back(every_gateway: Gateway) -> None:
    asked = "select " + ", ".join(f"${number}::{type_}" for number, (type_, _) in enumerate(PARAMETERS, 1))
    values = [value for _, value in PARAMETERS]

    async def work(connection: Connection) -> Any:
        statement = await connection.prepare(asked)
        return [tuple(await statement.fetchrow(*values)) for _ in range(3)] + [
            [(each.type.name, each.name) for each in statement.get_attributes()],
            [each.name for each in statement.get_parameters()],
        ]

    row = (await same(every_gateway, work))[0]
    for (type_, sent), came in zip(PARAMETERS, row, strict=True):
        if type_ not in ("inet", "line"):
            assert came == sent, type_


async def test_prepared_statements_cursors_and_transactions(every_gateway: Gateway) -> None:
    async def work(connection: Connection) -> Any:
        found: list[Any] = []
        async with connection.transaction():
            cursor = await connection.cursor("select generate_series(1, 100)")
            found.append([[row[0] for row in await cursor.fetch(30)] for _ in range(4)])
            found.append(await cursor.forward(5))
            rows = connection.cursor("select generate_series(1, $1)", 100, prefetch=7)
            found.append([row[0] async for row in rows])
        await connection.execute("create temp table t (i int primary key, s text)")
        await connection.executemany("insert into t values ($1, $2)", [(n, f"s{n}") for n in range(300)])
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await connection.executemany("insert into t values ($1, $2)", [(1000, "new"), (5, "old")])
        found.append(caught.value.as_dict())
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await connection.execute("delete from t")
                async with connection.transaction():  # a savepoint
                    await connection.execute("insert into t values (1, 'x')")
                raise ZeroDivisionError
        found.append(await connection.fetch("select count(*), max(s), min(i) from t"))
        found.append(await connection.execute("select 1; update t set s = 'y'; select 2"))
        return _without_temporary(found)

    found = await same(every_gateway, work)
    assert found[2] == list(range(1, 101))


def _without_temporary(found: list[Any]) -> list[Any]:
    """Temporary schemas have a number of their session's."""
    return [{**each, "schema_name": ""} if isinstance(each, dict) else each for each in found]


async def test_a_close_with_a_time_of_its_own_is_in_time(every_gateway: Gateway) -> None:
    """asyncpg's close waits until the server has closed the line, and cuts it off when that takes too long."""
    for _ in range(3):
        async with connected(every_gateway) as connection:
            await connection.fetchval("select 1")
            await connection.close(timeout=1)  # far under what a cut waits


async def test_copy_in_and_out(every_gateway: Gateway) -> None:
    records = [(number, "x" * (number % 50), None if number % 3 else number / 7) for number in range(5000)]

    async def work(connection: Connection) -> Any:
        await connection.execute("create temp table t (i int, s text, f float8)")
        found: list[Any] = [await connection.copy_records_to_table("t", records=records)]
        text, binary, query = io.BytesIO(), io.BytesIO(), io.BytesIO()
        found.append(await connection.copy_from_table("t", output=text, format="csv", header=True))
        found.append(await connection.copy_from_table("t", output=binary, format="binary"))
        found.append(await connection.copy_from_query("select $1::int, i from t limit 3", 7, output=query))
        found.append([text.getvalue(), binary.getvalue(), query.getvalue()])
        text.seek(0)
        found.append(await connection.copy_to_table("t", source=text, format="csv", header=True))
        with pytest.raises(asyncpg.BadCopyFileFormatError):
            await connection.copy_to_table("t", source=io.BytesIO(b"1\n"), format="text")
        with pytest.raises(ZeroDivisionError):  # the client gives up in the middle: CopyFail
            await connection.copy_to_table("t", source=_broken())
        found.append(await connection.fetchval("select count(*) from t"))
        return found

    assert (await same(every_gateway, work))[-1] == 10_000


async def _broken() -> Any:
    yield b"1\tx\t\\N\n"
    raise ZeroDivisionError


async def test_notifications_and_notices(every_gateway: Gateway) -> None:
    async def work(connection: Connection) -> Any:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        await connection.add_listener("here", lambda _, pid, channel, payload: heard.put_nowait((channel, payload)))
        connection.add_log_listener(lambda _, notice: heard.put_nowait(notice.as_dict()))
        await connection.execute("notify here, 'ü'")
        await connection.execute("do $$ begin raise warning 'careful' using hint = 'h', detail = 'd'; end $$")
        async with asyncio.timeout(10):
            return [await heard.get() for _ in range(2)]

    assert (await same(every_gateway, work))[0] == ("here", "ü")


async def running(gateway: Gateway, mark: str, count: int) -> None:
    look = (
        f"select count(*) from pg_stat_activity where query like '%{mark}%' "
        "and state = 'active' and pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(10):
        while await asyncio.to_thread(gateway.cluster.execute, look) != [(count,)]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("timed", [False, True])
async def test_what_is_given_up_stops_on_the_target(every_gateway: Gateway, timed: bool) -> None:
    """A task that is cancelled, and a time that runs out: the query is gone, and the session can be used."""
    mark = f"given up {timed}"
    async with connected(every_gateway) as connection:
        asked = connection.fetch(f"select pg_sleep(60) /* {mark} */", timeout=1 if timed else None)
        given_up = await _given_up(asked, every_gateway, mark, timed)
        assert isinstance(given_up, TimeoutError if timed else asyncio.CancelledError)
        await running(every_gateway, mark, 0)
        assert await connection.fetchval("select 40 + 2") == 42


async def _given_up(asked: Any, gateway: Gateway, mark: str, timed: bool) -> BaseException | None:
    """What the query ended with; it is cancelled as soon as it runs, unless it is ``timed``."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_ended(asked))
        if not timed:
            await running(gateway, mark, 1)
            task.cancel()
    return task.result()


async def _ended(asked: Any) -> BaseException | None:
    try:
        await asked
    except (TimeoutError, asyncio.CancelledError) as error:
        return error
    return None
