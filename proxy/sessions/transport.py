"""One socket, plain or TLS. Used by sessions, engines and the listener; ``dialling`` makes those to targets.

Why not asyncio's transports: with TLS they cost a quarter more CPU a query, cannot half-close (so the last words of
a cut are lost in a reset), and their ``start_tls`` lets plaintext sent behind an SSLRequest through
(CVE-2021-3935). Here the kernel socket stays ours: nothing is read ahead of a TLS handshake, a write goes out at
once, and back-pressure is simply not reading. It must not know any protocol.

A stream has two modes. Before ``attach``: pull (``read_exactly``, ``read_one``, ``send``), for log-ins. After it:
push, where every chunk is handed to a callback in the turn of the loop that read it.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from proxy.core.errors import PeerError, Unreachable
from proxy.sessions import tls
from proxy.sessions.half_close import close_notify
from proxy.sessions.measures import Measure
from proxy.sessions.sizes import (
    BULK_READ_SIZE,
    CALM,
    DRAINED_MOST,
    HIGH_WATER,
    READ_SIZE,
    READS_A_TURN,
    RECORDS_A_TURN,
    RECORDS_GATHERED,
    SMALL_READ,
)

_BLOCKED = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Stream:
    """A connected socket. Errors of the operating system become ``PeerError`` in pull mode; in push mode they end
    in ``on_end``. Not safe to use from two threads."""

    __slots__ = (
        "__weakref__", "_calm", "_kept", "_loop", "_on_data", "_on_drain", "_on_end", "_pending",
        "_read_size", "_reading", "_ready_reads", "_receive", "_send", "_shut", "_sock", "_tls", "_waiter",
        "bytes_read", "bytes_written", "congested", "on_bulk", "stalled_since",
        "unsent",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # not a TCP socket: nothing to switch
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._loop = loop
        self._sock = sock
        self._receive: Callable[[int], bytes] = sock.recv
        self._send: Callable[[bytes | bytearray | memoryview], int] = sock.send
        self._pending: Callable[[], int] | None = None
        self._tls: ssl.SSLSocket | None = None
        self.unsent = bytearray()
        self._kept = False
        self._shut = False
        self._read_size = SMALL_READ
        self._calm = 0
        self._reading = False
        self._ready_reads = 0
        self._waiter: asyncio.Future[None] | None = None
        self._on_data: Callable[[bytes], None] | None = None
        self._on_end: Callable[[Exception | None], None] | None = None
        self._on_drain: Callable[[], None] | None = None
        self.on_bulk: Callable[[], None] | None = None
        self.bytes_read = 0
        self.bytes_written = 0
        self.congested = False
        self.stalled_since: float | None = None

    # -- facts ---------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._sock.fileno() < 0

    @property
    def tls(self) -> ssl.SSLSocket | None:
        """To be asked what was agreed on (certificates, ALPN), and nothing else; None without TLS."""
        return self._tls

    # -- pull mode -----------------------------------------------------------------------------------------------

    async def peek(self) -> bytes:
        """The first byte, left where it is; b"" when the peer closed. Only before TLS."""
        while True:
            try:
                return self._sock.recv(1, socket.MSG_PEEK)
            except _BLOCKED:
                await self._wait(self._loop.add_reader, self._loop.remove_reader)
            except OSError as error:
                raise PeerError("the connection was lost", detail=str(error), code="protocol") from None

    async def read_exactly(self, size: int) -> bytes:
        """``size`` bytes, never more. ``PeerError`` (code ``closed``) when the peer closed before."""
        parts = bytearray()
        while len(parts) < size:
            parts += await self._some(size - len(parts))
        self.bytes_read += size
        self._ready_reads += 1
        if not self._ready_reads % READS_A_TURN:
            await asyncio.sleep(0)
        return bytes(parts)

    async def read_one(self, measure: Measure, most: int) -> bytes:
        """The first of what comes, read in chunks; what came behind it is what this, or push mode, gives next.
        ``PeerError``: code ``closed`` when the peer closed before, ``too_long`` when it is longer than ``most``
        bytes. Not before TLS, and no ``read_exactly`` after it."""
        taken = bytearray()
        while True:
            taken += await self._some(most + 1 - len(taken))
            size = measure(taken)
            if max(size, 0 if size else len(taken)) > most:
                raise PeerError("that is too long", code="too_long")
            if 0 < size <= len(taken):
                if size < len(taken):
                    self._keep(bytes(taken[size:]))
                self.bytes_read += size
                return bytes(taken[:size])
            await asyncio.sleep(0)  # it may send byte by byte: the others have their turn

    async def _some(self, most: int) -> bytes:
        """A byte at least, ``most`` at most, and whatever was kept."""
        while True:
            try:
                chunk = self._receive(most)
            except ssl.SSLWantWriteError:
                await self._wait(self._loop.add_writer, self._loop.remove_writer)
            except _BLOCKED:
                await self._wait(self._loop.add_reader, self._loop.remove_reader)
            except OSError as error:
                raise PeerError("the connection was lost", detail=str(error), code="closed") from None
            else:
                if not chunk:
                    raise PeerError("the connection was closed", code="closed")
                return chunk

    def _keep(self, rest: bytes) -> None:
        """Have the next read give ``rest``, as if it came just then."""
        receive, pending = self._receive, self._pending

        def give(_size: int) -> bytes:
            self._receive, self._pending, self._kept = receive, pending, False
            return rest

        self._receive, self._pending, self._kept = give, lambda: len(rest), True

    async def send(self, data: bytes) -> None:
        """Write all of ``data``; returns when the kernel has it."""
        view = memoryview(data)
        while view:
            try:
                view = view[self._send(view) :]
            except ssl.SSLWantReadError:
                await self._wait(self._loop.add_reader, self._loop.remove_reader)
            except _BLOCKED:
                await self._wait(self._loop.add_writer, self._loop.remove_writer)
            except OSError as error:
                raise PeerError("the connection was lost", detail=str(error), code="closed") from None
        self.bytes_written += len(data)

    async def start_tls(
        self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None = None
    ) -> None:
        """Handshake. Nothing was read ahead, so bytes smuggled in before it meet the handshake and fail it.

        ``PeerError`` for a client that fails it, ``Unreachable`` for a target.
        """
        kind = PeerError if server_side else Unreachable
        if self._kept:
            raise kind("something was said before the TLS handshake", code="tls")
        try:
            secured = context.wrap_socket(
                self._sock, server_side=server_side, server_hostname=server_name, do_handshake_on_connect=False
            )
        except (OSError, ValueError) as error:  # a peer that is gone, or that spoke before its turn
            raise kind("the TLS handshake failed", detail=str(error), code="tls") from None
        self._sock = self._tls = secured
        while True:
            try:
                secured.do_handshake()
                self._pending, self._receive, self._send = tls.shortest(secured)
                return
            except ssl.SSLWantReadError:
                await self._wait(self._loop.add_reader, self._loop.remove_reader)
            except ssl.SSLWantWriteError:
                await self._wait(self._loop.add_writer, self._loop.remove_writer)
            except (OSError, ValueError) as error:
                raise kind("the TLS handshake failed", detail=str(error), code="tls") from None

    async def _wait(
        self, add: Callable[[int, Callable[[], None]], object], remove: Callable[[int], object]
    ) -> None:
        waiter = self._loop.create_future()
        descriptor = self._sock.fileno()
        if descriptor < 0:
            raise PeerError("the connection was closed", code="closed")
        self._waiter = waiter
        add(descriptor, partial(_wake, waiter))
        try:
            await waiter
        finally:
            self._waiter = None
            if self._sock.fileno() >= 0:
                remove(descriptor)

    # -- push mode -----------------------------------------------------------------------------------------------

    def attach(
        self,
        on_data: Callable[[bytes], None],
        on_end: Callable[[Exception | None], None],
        on_drain: Callable[[], None],
    ) -> None:
        """From now on chunks go to ``on_data``; ``on_end`` is called at EOF (None) and at an error, which may come
        after it in writing, and at most once for each; ``on_drain`` when a congested stream has sent everything."""
        self._on_data, self._on_end, self._on_drain = on_data, on_end, on_drain
        self.release()

    def hold(self) -> None:
        """Stop reading."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    def release(self) -> None:
        """Read again. Bytes already decrypted inside the TLS layer make no event, so they are asked for."""
        if not self._reading and self._on_data is not None and not self.closed:
            self._reading = True
            self._loop.add_reader(self._sock.fileno(), self._readable)
            if self._pending is not None and self._pending():
                self._loop.call_soon(self._readable)

    def write(self, data: bytes | memoryview) -> None:
        """Send now what the kernel takes, keep the rest in order. Errors show on the reading side.

        ``congested`` from then on: so much is unsent that the other side should not be read."""
        self.bytes_written += len(data)
        if not self.unsent:
            try:
                sent = self._send(data)
            except _BLOCKED:
                sent = 0
            except OSError as error:
                self._lost(error)
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
            if sent and self._tls is not None:
                data = data[self._push(data) :]
        if data and not self.closed:
            self._later(data)

    def _later(self, data: bytes | memoryview) -> None:
        """Keep what the kernel did not take."""
        if not self.unsent:
            self.stalled_since = self._loop.time()
            self._loop.add_writer(self._sock.fileno(), self._writable)
        self.unsent += data
        self.congested = len(self.unsent) >= HIGH_WATER

    def _push(self, data: bytearray | memoryview) -> int:
        """Bytes the kernel took; a TLS socket takes one record at a time."""
        sent, size = 0, len(data)
        try:
            sent = self._send(data)
            while sent < size and self._tls is not None:
                with memoryview(data) as view:
                    sent += self._send(view[sent : sent + READ_SIZE])
        except _BLOCKED:
            pass
        except OSError as error:
            self._lost(error)
        return sent

    def _writable(self) -> None:
        sent = self._push(self.unsent)
        if self.closed:
            return
        if sent:
            del self.unsent[:sent]
            self.congested = len(self.unsent) >= HIGH_WATER
            self.stalled_since = self._loop.time()
        if not self.unsent:
            self.stalled_since = None
            self._loop.remove_writer(self._sock.fileno())
            if self._on_drain is not None:
                self._on_drain()

    def _readable(self, turns: int = RECORDS_A_TURN) -> None:
        if not self._reading:  # held, or closed, by what the last chunk caused
            return
        try:
            chunk = self._receive(self._read_size)
        except _BLOCKED:
            return
        except OSError as error:
            self._lost(error)
            return
        if not chunk:
            self._lost(None)
            return
        size = len(chunk)
        if size == self._read_size:
            chunk = self._gather(chunk)
            size = len(chunk)
        elif size < SMALL_READ < self._read_size:
            self._calm += 1
            if self._calm == CALM:
                self._read_size = SMALL_READ
        self.bytes_read += size
        self._on_data(chunk)  # type: ignore[misc]  # it is there while we are reading
        if self._pending is not None and self._pending():
            if turns > 1:
                self._readable(turns - 1)
            else:
                self._loop.call_soon(self._readable)

    def look(self) -> None:
        """Whether something is to be read, asked of the socket itself; the kernel does, once a second. libuv
        watches a socket no more once that has an error, after one call that may find data before the error."""
        if not self._reading or self.closed:
            return
        try:
            socket.socket.recv(self._sock, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except _BLOCKED:
            return
        except OSError as error:  # asked once it is forgotten, and a reset would pass for an end
            self._lost(error)
            return
        self._loop.call_soon(self._readable)

    def _gather(self, first: bytes) -> bytes:
        """A full read and those behind it that are there: each by itself would cost a turn of the loop, and a
        write. What stopped it, if it is the end, shows again when it is asked for."""
        asked, self._calm, self._read_size = self._read_size, 0, READ_SIZE
        if self.on_bulk is not None:
            self._loop.call_soon(self.on_bulk)
        plain = self._tls is None
        if plain and asked != SMALL_READ:
            self._read_size = BULK_READ_SIZE
            self._loop.call_soon(self._readable)  # see ``look``
            return first
        records = [first]
        try:
            while len(records) < RECORDS_GATHERED and len(records[-1]) == asked:
                asked = READ_SIZE
                records.append(self._receive(asked))
        except _BLOCKED:
            pass
        except OSError as error:
            self._receive = partial(self._fail, self._receive, error)
            records.append(b"")
        if not records[-1] or (plain and len(records[-1]) == READ_SIZE):
            self._loop.call_soon(self._readable)
        return b"".join(records)

    def _fail(self, receive: Callable[[int], bytes], error: OSError, _size: int) -> bytes:
        """Have ``error`` once more: a socket tells it once, and then it would pass for an end."""
        self._receive = receive
        raise error

    def _lost(self, error: Exception | None) -> None:
        self.hold()
        self._on_data = None  # nothing follows
        error = tls.what_it_was(error, self._sock)
        on_end = self._on_end
        if error is not None:
            self._on_end = None
        if on_end is not None:
            on_end(error)

    def shut(self, done: Callable[[], None]) -> None:
        """In push mode: say that nothing follows (close_notify and FIN) once all that is kept has been sent, and
        then call ``done``; reading goes on. A peer that does not take it shows in ``stalled_since``, or by
        ``on_end``."""
        if self.unsent:
            self._on_drain = partial(self._say_end, done)
        else:
            self._say_end(done)

    def _say_end(self, done: Callable[[], None], words: bytes = b"") -> None:
        try:
            if self._tls is not None and not self._shut:
                self._shut = True
                self._spare_pending()
                words = close_notify(self._tls)
            self._loop.remove_writer(self._sock.fileno())
            with contextlib.suppress(BlockingIOError):
                words = words[socket.socket.send(self._sock, words) if words else 0 :]
            if words:
                self.stalled_since = self._loop.time()
                self._loop.add_writer(self._sock.fileno(), partial(self._say_end, done, words))
                return
            self.stalled_since = None
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._lost(error)
        else:
            done()

    def _spare_pending(self) -> None:
        """Take what TLS has decrypted already out of the way of the end, to be read in its turn."""
        taken = bytearray()
        while self._pending is not None and self._pending():
            taken += self._receive(BULK_READ_SIZE)
        if taken:
            self._keep(bytes(taken))
            self._loop.call_soon(self._readable)

    # -- the end -------------------------------------------------------------------------------------------------

    async def finish(self, patience: float) -> bool:
        """Send what is kept, then say that nothing follows (close_notify and FIN), so that the last words arrive.

        False when the peer did not take them within ``patience`` seconds.
        """
        self.hold()
        try:
            async with asyncio.timeout(patience):
                while self.unsent and not self.closed:
                    self._loop.remove_writer(self._sock.fileno())
                    pending = bytes(self.unsent)
                    self.unsent.clear()
                    self.congested = False
                    await self.send(pending)
        except (TimeoutError, PeerError):
            return False
        if self.closed:
            return False
        try:
            if self._tls is not None and not self._shut:
                self._tls.unwrap()
        except (OSError, ValueError):
            pass  # close_notify is out; we do not wait for the peer's
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return True

    async def drain(self, patience: float) -> None:
        """Read and forget until the peer closes, at most ``patience`` seconds (0: what is there already): closing a
        socket with unread bytes would reset it and throw the farewell away. Gives up on a peer that floods."""
        left = DRAINED_MOST
        with contextlib.suppress(TimeoutError, OSError, PeerError):
            async with asyncio.timeout(patience):
                while left > 0 and not self.closed:
                    try:
                        chunk = self._sock.recv(BULK_READ_SIZE)
                    except _BLOCKED:
                        await self._wait(self._loop.add_reader, self._loop.remove_reader)
                        continue
                    if not chunk:
                        return
                    left -= len(chunk)
                    await asyncio.sleep(0)  # it may send faster than we read: the others have their turn

    def close(self, *, reset: bool = False) -> None:
        """Close at once; what is unsent is lost. ``reset``: for a peer that reads nothing, so that the kernel keeps
        nothing for it."""
        if self.closed:
            return
        if reset:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.hold()
        descriptor = self._sock.fileno()
        self._loop.remove_reader(descriptor)
        self._loop.remove_writer(descriptor)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._sock.close()
        # Whoever was told of the peer holds this stream too. A new buffer: the old may be in use further up.
        self._on_data = self._on_end = self._on_drain = self._pending = self.on_bulk = None
        self._receive, self._send, self.unsent = _closed, _closed, bytearray()


def _closed(_: object) -> Any:
    """What reads and writes once the socket is closed."""
    raise OSError(errno.EBADF, "the connection was closed")


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
