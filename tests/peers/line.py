"""The hostile line: a TCP relay that does to a connection what networks and bad peers do.

``async with line(host, port) as hostile`` listens on loopback and carries every connection to ``host:port``. Each
direction (``up`` to the target, ``down`` to the client) has faults of its own, which may change while connections
live. Sockets are plain and unbuffered, so one slice is one segment (TCP_NODELAY) as far as the kernel allows.
``line_apart`` is the same in a thread of its own, for tests that block.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, fields

CHUNK = 65_536
TAIL = 1024
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _CutHere(Exception):
    """This connection is to be reset now."""


@dataclass(slots=True)
class Way:
    """One direction and its faults; 0 and None mean "no such fault".

    ``slice``: bytes a write; ``delay``: seconds before each write; ``bandwidth``: bytes a second;
    ``reset_after``/``half_close_after``: bytes of a connection after which it is reset (RST both ways) or this
    direction is closed (FIN) while the other one lives on. ``carried`` counts bytes passed on, all connections;
    ``tail`` are the last of them.
    """

    slice: int = 0
    delay: float = 0.0
    bandwidth: float = 0.0
    reset_after: int | None = None
    half_close_after: int | None = None
    carried: int = 0
    tail: bytes = b""
    _passable: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def __post_init__(self) -> None:
        self._passable.set()

    def freeze(self) -> None:
        """Read no more and pass nothing on: a black hole, or a peer that does not read."""
        self._passable.clear()

    def thaw(self) -> None:
        self._passable.set()

    def mend(self) -> None:
        """No fault any more."""
        for each in fields(self):
            if each.name not in {"carried", "tail", "_passable"}:
                setattr(self, each.name, each.default)
        self.thaw()

    async def carry(self, source: socket.socket, sink: socket.socket, alive: asyncio.Event) -> None:
        """Pass bytes on until the source ends or a fault does; while ``alive`` is not set nothing is."""
        loop, passed = asyncio.get_running_loop(), 0
        while True:
            await self._passable.wait()
            chunk = await loop.sock_recv(source, CHUNK)
            await alive.wait()
            if not chunk:
                break
            for piece in self._pieces(chunk):
                allowed = self._allowed(piece, passed)
                await self._hinder(allowed)
                await alive.wait()
                await loop.sock_sendall(sink, allowed)
                passed += len(allowed)
                self.carried += len(allowed)
                self.tail = allowed[-TAIL:] if len(allowed) >= TAIL else (self.tail + allowed)[-TAIL:]
                if self.reset_after is not None and passed >= self.reset_after:
                    raise _CutHere
                if self.half_close_after is not None and passed >= self.half_close_after:
                    sink.shutdown(socket.SHUT_WR)
                    return
        sink.shutdown(socket.SHUT_WR)

    def _pieces(self, chunk: bytes) -> Iterator[bytes]:
        position = 0
        while position < len(chunk):
            step = self.slice or len(chunk)
            yield chunk[position : position + step]
            position += step

    def _allowed(self, piece: bytes, passed: int) -> bytes:
        """``piece`` up to the byte at which this connection is to end."""
        ends = [end for end in (self.reset_after, self.half_close_after) if end is not None]
        return piece[: max(0, min(ends) - passed)] if ends else piece

    async def _hinder(self, piece: bytes) -> None:
        pause = self.delay + (len(piece) / self.bandwidth if self.bandwidth else 0.0)
        if pause:
            await asyncio.sleep(pause)
        await self._passable.wait()


@dataclass(frozen=True, slots=True, eq=False)
class _Carried:
    """One connection: ``cut`` ends it, and nothing passes while it is not ``alive``."""

    cut: asyncio.Event = field(default_factory=asyncio.Event)
    alive: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Line:
    """A running hostile line. Clients connect to ``host:port``; ``live`` connections are carried just now.
    ``refusing``: new ones are reset at once, as where nobody listens."""

    host: str
    port: int
    up: Way
    down: Way
    target: tuple[str, int]
    buffer: int
    accepted: int = 0
    refusing: bool = False
    _carried: set[_Carried] = field(default_factory=set, repr=False)

    @property
    def live(self) -> int:
        return len(self._carried)

    def reset(self) -> None:
        """Reset every live connection now, both ways."""
        for each in self._carried:
            each.cut.set()

    def freeze(self) -> None:
        """Pass nothing on of the connections that are live now, neither bytes nor their end; new ones are well."""
        for each in self._carried:
            each.alive.clear()

    def mend(self) -> None:
        """No fault any more, and what was frozen goes on."""
        self.refusing = False
        self.up.mend()
        self.down.mend()
        for each in self._carried:
            each.alive.set()

    async def serve(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            self.accepted += 1
            if self.refusing:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                client.close()
                continue
            group.create_task(self._carry_both(client))

    async def _carry_both(self, client: socket.socket) -> None:
        target, carried = _socket(self.buffer), _Carried()
        carried.alive.set()
        self._carried.add(carried)
        try:
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(target, self.target)
            await self._until_over(client, target, carried)
        except* (_CutHere, OSError):
            for each in (client, target):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        finally:
            self._carried.discard(carried)
            client.close()
            target.close()

    async def _until_over(self, client: socket.socket, target: socket.socket, carried: _Carried) -> None:
        async with asyncio.TaskGroup() as watched:
            watcher = watched.create_task(_raise_when(carried.cut))
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self.up.carry(client, target, carried.alive))
                ways.create_task(self.down.carry(target, client, carried.alive))
            watcher.cancel()


async def _raise_when(cut: asyncio.Event) -> None:
    await cut.wait()
    raise _CutHere


@asynccontextmanager
async def line(
    host: str, port: int, *, up: Way | None = None, down: Way | None = None, buffer: int = 0
) -> AsyncIterator[Line]:
    """A hostile line to ``host:port``. ``buffer`` bounds the sockets' kernel buffers (bytes), so that a frozen
    direction is felt soon. At the end every connection is closed."""
    with _socket(buffer) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        hostile = Line("127.0.0.1", listener.getsockname()[1], up or Way(), down or Way(), (host, port), buffer)
        failure: BaseException | None = None
        async with asyncio.TaskGroup() as group:
            server = group.create_task(_until_cancelled(hostile, listener))
            try:
                yield hostile
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # what a test raised is raised as it is, not wrapped in a group
                failure = error
            finally:
                server.cancel()
        if failure is not None:
            raise failure


@dataclass(frozen=True, slots=True)
class Apart:
    """A line on a loop of its own. Faults that are plain values may be set from anywhere."""

    line: Line
    loop: asyncio.AbstractEventLoop

    @property
    def port(self) -> int:
        return self.line.port

    def do(self, action: Callable[[], None]) -> None:
        """Run what touches the line's connections where they run, and wait for it."""

        async def run() -> None:
            action()

        asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)


@contextmanager
def line_apart(host: str, port: int, *, buffer: int = 0) -> Iterator[Apart]:
    """A hostile line in a thread of its own, for tests that block."""
    started: Future[Apart] = Future()
    over = asyncio.Event()

    async def run() -> None:
        async with line(host, port, buffer=buffer) as made:
            started.set_result(Apart(made, asyncio.get_running_loop()))
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    apart = started.result(10)
    try:
        yield apart
    finally:
        apart.loop.call_soon_threadsafe(over.set)
        thread.join(10)


async def _until_cancelled(hostile: Line, listener: socket.socket) -> None:
    """Connections are children of this task, so that one cancellation ends them all."""
    async with asyncio.TaskGroup() as connections:
        await hostile.serve(listener, connections)


def _socket(buffer: int) -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    return made
