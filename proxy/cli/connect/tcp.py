"""The local side of ``tidegate connect RESOURCE --listen`` for TCP: any program, through the gateway by CONNECT.

Each local connection gets one of its own to the gateway: TLS, CONNECT with a *fresh* token, then bytes both ways,
half-close included. Raw TCP has no place to ask for a password: whoever can reach the port can use it, so it is one
of 127.0.0.1, or a unix socket that only its owner can open. Called by ``commands.connecting``.
"""

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from proxy.cli.connect.local import LOCAL, alone, until_stopped
from proxy.cli.failures import Failed
from proxy.core.errors import TidegateError, Unreachable
from proxy.sessions.dialling import connect
from proxy.sessions.measures import up_to
from proxy.sessions.transport import Stream

HEAD_MOST = 16 * 1024
BODY_MOST = 64 * 1024
LOGIN_DEADLINE = 30.0
DIAL = 10.0
REFUSAL_PATIENCE = 2.0
CONNECTIONS_MOST = 200
ACCEPT_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class Far:
    """Where the gateway listens for CONNECT, how it is verified, and the resource that is asked for."""

    host: str
    port: int
    tls: ssl.SSLContext
    resource: str


class Tunnels:
    """Serves local connections. ``fresh`` gives a token for each; ``tell`` is told why one was refused, since the
    program itself cannot be."""

    def __init__(self, far: Far, fresh: Callable[[], Awaitable[str]], tell: Callable[[str], None]) -> None:
        self._far = far
        self._fresh = fresh
        self._tell = tell
        self._open = 0

    async def serve(self, sock: socket.socket) -> None:
        """One local connection, until both sides have ended."""
        near = Stream(asyncio.get_running_loop(), sock)
        self._open += 1
        far: Stream | None = None
        try:
            if self._open > CONNECTIONS_MOST:
                raise Failed("too many connections to this port")
            async with asyncio.timeout(LOGIN_DEADLINE):
                far = await self._entered()
            await Pair(near, far).run()
        except Failed as failed:
            self._tell(f"{failed.what}{f' (next: {failed.hint})' if failed.hint else ''}")
        except TimeoutError:
            self._tell("the gateway took too long to answer")
        finally:
            self._open -= 1
            near.close(reset=far is None)
            if far is not None:
                far.close()

    async def _entered(self) -> Stream:
        """A tunnel to the resource; ``Failed`` with the gateway's own words where it gives none."""
        where = self._far
        token = await self._fresh()
        try:
            far, _ = await connect(asyncio.get_running_loop(), ((where.host, where.port),), DIAL)
        except Unreachable as error:
            what = f"the gateway at {where.host}:{where.port} cannot be reached: {error.detail}"
            raise Failed(what, hint="is it running?") from None
        try:
            await far.start_tls(where.tls, server_side=False, server_name=where.host)
            await far.send(asked(where.resource, token))
            head = await far.read_one(up_to(b"\r\n\r\n"), HEAD_MOST)
            if not head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 ")):
                raise await refusal(head, far)
        except TidegateError as error:
            far.close()
            what = f"the gateway let nobody in: {error.public}: {error.detail}"
            raise Failed(what, hint="set TIDEGATE_CA to the file of the authority that signed it") from None
        except BaseException:
            far.close()
            raise
        return far


def asked(resource: str, token: str) -> bytes:
    """The request."""
    where = f"{resource}:0"
    return (
        f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\nUser-Agent: tidegate connect\r\n"
        f"Proxy-Authorization: Bearer {token}\r\n\r\n"
    ).encode()


async def refusal(head: bytes, far: Stream) -> Failed:
    """The gateway's problem document as an error; its status line where there is none."""
    body = bytearray()
    over = asyncio.Event()

    def more(chunk: bytes) -> None:
        body.extend(chunk[: BODY_MOST - len(body)])

    far.attach(more, lambda error: over.set(), lambda: None)
    with suppress(TimeoutError):
        async with asyncio.timeout(REFUSAL_PATIENCE):
            await over.wait()
    try:
        problem = json.loads(body)
        return Failed(str(problem["detail"]), hint=str(problem.get("hint", "")), problem=problem)
    except (ValueError, TypeError, LookupError):
        line = head.partition(b"\r")[0].decode("latin-1")
        return Failed(f"the gateway answered: {line}")


class Pair:
    """Two streams and what passes between them, whole chunks, each side's end after its last byte. Not reading one
    side is what holds it back."""

    def __init__(self, near: Stream, far: Stream) -> None:
        self._streams = near, far
        self._left = len(self._streams)
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Until both have ended well, or one badly: then the other is not told of a good end."""
        near, far = self._streams
        for source, sink in ((near, far), (far, near)):
            source.attach(partial(self._pass, source, sink), partial(self._ended, sink), sink.release)
        await self._over

    def _pass(self, source: Stream, sink: Stream, chunk: bytes) -> None:
        sink.write(chunk)
        if sink.congested:
            source.hold()

    def _ended(self, sink: Stream, error: Exception | None) -> None:
        if error is None:
            sink.shut(self._told)
            return
        for each in self._streams:
            each.close(reset=True)
        self._finish()

    def _told(self) -> None:
        self._left -= 1
        if not self._left:
            self._finish()

    def _finish(self) -> None:
        if not self._over.done():
            self._over.set_result(None)


@asynccontextmanager
async def local_tunnels(tunnels: Tunnels, at: int | Path) -> AsyncIterator[str]:
    """Listens on a port of 127.0.0.1 (0: any free one), or a unix socket (0600) at a path; where, as text. Owns
    what it takes until the end."""
    listening = _bound(at)
    try:
        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(_take(listening, tunnels))
            if isinstance(at, Path):
                yield str(at)
            else:
                yield f"{LOCAL}:{listening.getsockname()[1]}"
            taking.cancel()
    except BaseExceptionGroup as group:
        raise alone(group) from None
    finally:
        listening.close()
        _forget(at)


def _bound(at: int | Path) -> socket.socket:
    try:
        if isinstance(at, int):
            return socket.create_server((LOCAL, at), backlog=128)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listening.bind(str(at))
        finally:
            os.umask(before)
        listening.listen(128)
        return listening
    except OSError as error:
        raise Failed(f"{at} cannot be listened on: {error.strerror or error}", hint="name another") from None


def _forget(at: int | Path) -> None:
    if isinstance(at, Path):
        at.unlink(missing_ok=True)


async def _take(listening: socket.socket, tunnels: Tunnels) -> None:
    """Connections are children of this task, so that one cancellation ends them all."""
    listening.setblocking(False)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as connections:
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError:  # gone already, or out of descriptors: asked again at once for nothing
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            connections.create_task(tunnels.serve(sock), name="local connection")


async def until_told(tunnels: Tunnels, at: int | Path, ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; ``ready`` is told where."""
    async with local_tunnels(tunnels, at) as where:
        ready(where)
        await until_stopped()
