"""Where local clients reach the relay: a private unix socket for one psql, or a port of 127.0.0.1 for any client.

Owns the tasks of the connections it takes. Called by ``commands.connecting``.
"""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.cli.connect.postgres import CHUNK, Relay
from proxy.cli.failures import Failed

LOCAL = "127.0.0.1"
SOCKET_NUMBER = 5432
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@asynccontextmanager
async def private_socket(relay: Relay) -> AsyncIterator[Path]:
    """The folder (0700) of the socket ``.s.PGSQL.5432`` (0600), gone at the end. libpq takes it as the host."""
    with tempfile.TemporaryDirectory(prefix="tidegate-") as name:
        path = Path(name) / f".s.PGSQL.{SOCKET_NUMBER}"
        async with _connections(relay) as taken:
            before = os.umask(0o177)
            try:
                server = await asyncio.start_unix_server(taken, path, limit=CHUNK)
            finally:
                os.umask(before)
            async with server:
                yield Path(name)


@asynccontextmanager
async def local_port(relay: Relay, port: int) -> AsyncIterator[int]:
    """A port of 127.0.0.1 (0: any free one); the number it got."""
    async with _connections(relay) as taken:
        try:
            server = await asyncio.start_server(taken, LOCAL, port, limit=CHUNK)
        except OSError as error:
            raise Failed(f"port {port} of {LOCAL} cannot be used: {error.strerror}", hint="name another") from None
        async with server:
            yield int(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def _connections(relay: Relay) -> AsyncIterator["_Taken"]:
    """Owns what is taken until the end; a ``Failed`` of the body comes out as itself."""
    try:
        async with asyncio.TaskGroup() as tasks:
            taken = _Taken(relay, tasks)
            yield taken
            taken.stop()
    except BaseExceptionGroup as group:
        raise alone(group) from None


def alone(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The ``Failed`` in a task group's exception, if it holds nothing else."""
    failed, rest = group.split(Failed)
    return group if failed is None or rest is not None else failed.exceptions[0]


class _Taken:
    """Starts a task for every connection, in the group that owns them all."""

    def __init__(self, relay: Relay, tasks: asyncio.TaskGroup) -> None:
        self._relay = relay
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()

    def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._tasks.create_task(self._relay.serve(reader, writer), name="local connection")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def stop(self) -> None:
        """End what is still open: who opened it has gone, or was told to go."""
        for task in self._running:
            task.cancel()


async def run_client(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a client on this terminal and give its exit code. An interrupt is the client's own affair (psql cancels
    its query with it), so here it is heard and left alone."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    try:
        child = await asyncio.create_subprocess_exec(*command, env=dict(environment))
        loop.add_signal_handler(signal.SIGTERM, child.terminate)
        code = await child.wait()
    except OSError as error:
        raise Failed(f"{command[0]} cannot be run: {error.strerror}") from None
    finally:
        for each in STOP_SIGNALS:
            loop.remove_signal_handler(each)
    return code if code >= 0 else 128 - code


async def until_stopped() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for each in STOP_SIGNALS:
        loop.add_signal_handler(each, stopped.set)
    try:
        await stopped.wait()
    finally:
        for each in STOP_SIGNALS:
            loop.remove_signal_handler(each)
