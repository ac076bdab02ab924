"""How fast a revocation cuts: ``python -m benchmarks.cuts``. 500 live sessions; from the request's last byte to the
client's end of file, default deployment.
"""

import argparse
import asyncio
import json
import ssl
import time
from dataclasses import dataclass

import psycopg

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
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sessions", type=int, default=500)
    chosen = options.parse_args()
    with world(limits={"sessions_per_grant": "0"}) as made:
        asyncio.run(measure(made, chosen.sessions))


async def measure(made: World, count: int) -> None:
    lines = [open_line(made, made.gateway.grant(SUPERUSER)) for _ in range(count)]
    half = lines[: count // 2]
    one_by_one = [await cut_one(made, line) for line in half]
    print(
        f"one at a time, {count} live, n = {len(half)}: median {ms(median(one_by_one))}, "
        f"p99 {ms(quantile(one_by_one, 0.99))}"
    )
    for line in half:
        line.connection.close()
    rest = lines[count // 2 :] + [open_line(made, made.gateway.grant(SUPERUSER)) for _ in half]
    took = await cut_all(made, rest)
    print(f"all {len(rest)} at once: first {ms(min(took))}, last {ms(max(took))}")
    stopped = [await stop_running(made) for _ in range(10)]
    print(f"a running pg_sleep gone from pg_stat_activity: median {ms(median(stopped))}, worst {ms(max(stopped))}")


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
