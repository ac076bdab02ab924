"""How fast a revocation cuts: ``python -m benchmarks.cuts``. 500 live sessions; from the request's last byte to the
client's end of file, default deployment.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from benchmarks.series import Round, Series, options, spread
from benchmarks.world import World, median, quantile, world
from tests.peers.gateway import Gateway
from tests.peers.postgres import SUPERUSER


@dataclass
class Line:
    """One idle session, watched for its end."""

    connection: psycopg.Connection[object]
    grant: str


def main() -> None:
    """One by one, all at once, and a running query."""
    asked = options(__doc__, runs=1)
    asked.add_argument("--sessions", type=int, default=500)
    chosen = asked.parse_args()
    series = Series(f"Cuts, {chosen.sessions} sessions live", chosen.runs, once=chosen.once)
    with world(limits={"sessions_per_grant": "0"}) as made:
        for each in series.rounds():
            asyncio.run(measure(each, made, chosen.sessions))
    told(series, "one at a time")
    told(series, "all at once")
    told(series, "a running pg_sleep gone from pg_stat_activity")
    series.finish()


def note_cuts(each: Round, name: str, took: Sequence[float]) -> None:
    """Of many cuts what is told of them: milliseconds."""
    figures = {"median": median(took), "p99": quantile(took, 0.99), "worst": max(took)}
    each.note(name, **{what: value * 1000 for what, value in figures.items()})


def told(series: Series, name: str) -> None:
    figures = (f"{what} {spread(series.values(name, what), '{:.1f}')} ms" for what in ("median", "p99", "worst"))
    print(f"{name}: {', '.join(figures)}")


async def measure(each: Round, made: World, count: int) -> None:
    lines = [open_line(made, made.gateway.grant(SUPERUSER)) for _ in range(count)]
    half = lines[: count // 2]
    note_cuts(each, "one at a time", [await cut_one(made, line) for line in half])
    for line in half:
        line.connection.close()
    rest = lines[count // 2 :] + [open_line(made, made.gateway.grant(SUPERUSER)) for _ in half]
    note_cuts(each, "all at once", await cut_all(made, rest))
    for line in rest:
        line.connection.close()
    stopped = [await stop_running(made) for _ in range(10)]
    note_cuts(each, "a running pg_sleep gone from pg_stat_activity", stopped)


def open_line(made: World, grant: str) -> Line:
    token = made.gateway.token(grant=grant)
    connection = psycopg.connect(made.gateway.dsn(SUPERUSER, token=token), autocommit=True)
    connection.execute("select 1")
    return Line(connection, grant)


async def cut_one(made: World, line: Line) -> float:
    async with asyncio.TaskGroup() as tasks:
        ended = tasks.create_task(end_of(line))
        await asyncio.sleep(0.01)
        sent = await post(made.gateway, f"/v1/grants/{line.grant}/revoke", {"reason": "benchmark"})
    return ended.result() - sent


async def cut_all(made: World, lines: list[Line]) -> list[float]:
    async with asyncio.TaskGroup() as tasks:
        ends = [tasks.create_task(end_of(line)) for line in lines]
        await asyncio.sleep(0.1)
        sent = await post(
            made.gateway, "/v1/revocations", {"scope": "resource", "key": "shop", "reason": "benchmark"}
        )
    return [each.result() - sent for each in ends]


async def end_of(line: Line) -> float:
    """When the client's socket had its first news; of an idle session that is its end."""
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    descriptor = line.connection.fileno()
    loop.add_reader(descriptor, lambda: readable.done() or readable.set_result(time.monotonic()))
    try:
        async with asyncio.timeout(20):
            return float(await readable)
    finally:
        loop.remove_reader(descriptor)


async def post(gate: Gateway, path: str, body: dict[str, str]) -> float:
    """When the request's last byte was sent."""
    token = gate._login("dave")
    content = json.dumps(body).encode()
    context = ssl.create_default_context(cafile=str(gate.ca))
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.api_port, ssl=context)
    writer.write(
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n".encode()
        + content
    )
    sent = time.monotonic()
    answer = await reader.read()
    writer.close()
    if b" 200 " not in answer[:20]:
        raise SystemExit(answer.decode())
    return sent


async def stop_running(made: World) -> float:
    grant = made.gateway.grant(SUPERUSER)
    line = open_line(made, grant)
    line.connection.pgconn.send_query(f"select pg_sleep(60) /* {grant} */".encode())
    line.connection.pgconn.flush()
    with psycopg.connect(made.target.uri(SUPERUSER), autocommit=True) as watcher:
        look = (
            f"select 1 from pg_stat_activity where state = 'active' and query like '%{grant}%' "
            "and pid <> pg_backend_pid()"
        ).encode()
        while not watcher.execute(look).fetchall():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        sent = await post(made.gateway, f"/v1/grants/{grant}/revoke", {"reason": "benchmark"})
        while watcher.execute(look).fetchall():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    line.connection.close()
    return time.monotonic() - sent


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    main()
