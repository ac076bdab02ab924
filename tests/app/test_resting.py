"""The API's server wakes for nothing, stops when it is told, and its answers carry the date of their time."""

import asyncio
import signal
from email.utils import parsedate_to_datetime

import uvicorn

from proxy.app.resting import RestingServer


async def application(scope: dict[str, object], receive: object, send: object) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b"hello"})  # type: ignore[operator]


def server() -> RestingServer:
    config = uvicorn.Config(application, port=0, lifespan="off", log_config=None, server_header=False)
    return RestingServer(config)


async def test_it_looks_once_and_then_only_when_told() -> None:
    made, looks = server(), 0
    ticked = made.on_tick

    async def on_tick(counter: int) -> bool:
        nonlocal looks
        looks += 1
        return await ticked(counter)

    made.on_tick = on_tick  # type: ignore[method-assign]
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made._serve())
        while not made.started:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.35)  # uvicorn itself would have looked three times
        assert looks == 1
        made.handle_exit(signal.SIGTERM, None)
        await running
    assert looks == 2


async def test_each_answer_has_the_date_of_its_time() -> None:
    made = server()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made._serve())
        while not made.started:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        port = made.servers[0].sockets[0].getsockname()[1]
        first = await date(port)
        while await date(port) == first:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert (parsedate_to_datetime(await date(port)) - parsedate_to_datetime(first)).total_seconds() >= 1
        made.handle_exit(signal.SIGTERM, None)
        await running


async def date(port: int) -> str:
    """The only ``Date`` of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    head = (await reader.read()).decode().partition("\r\n\r\n")[0]
    writer.close()
    (found,) = [line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith("date:")]
    return found
