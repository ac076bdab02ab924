"""The local side of ``tidegate connect``: any client on this machine, without TLS or token, through the gateway.

Each local connection gets one of its own to the gateway: TLS from the first byte (ALPN ``postgresql``, PostgreSQL
manual chapter 55.2.11), so nothing is ever read in the clear; the grant's account as the user; a *fresh* token when
the gateway asks for the password, so pools and new tabs work for as long as the grant does. CancelRequests travel
the same way. Knows the wire words of ``wire`` and asyncio; called by ``commands.connecting``.
"""

import asyncio
import hmac
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxy.cli.connect import wire
from proxy.cli.connect.wire import Broken, Startup
from proxy.cli.failures import Failed

CHUNK = 64 * 1024
LOGIN_DEADLINE = 30.0
CANCEL_DEADLINE = 10.0
CONNECTIONS_MOST = 200


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where the gateway listens for PostgreSQL, and how it is verified."""

    host: str
    port: int
    tls: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class Pass:
    """What lets one connection in: the account to be, and a token of this moment."""

    account: str
    token: str

    def __repr__(self) -> str:
        return f"Pass({self.account}, ***)"


class Refused(Exception):
    """The local client is told ``text`` and ``hint`` and let go."""

    def __init__(self, text: str, hint: str = "", sqlstate: str = "08006") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint
        self.sqlstate = sqlstate


class Relay:
    """Serves local connections. ``fresh`` gives a pass for each; ``secret`` is what a local client must give as its
    password ("": nothing is asked, for a socket that only its owner can open)."""

    def __init__(self, gateway: Gateway, fresh: Callable[[], Awaitable[Pass]], *, secret: str = "") -> None:
        self._gateway = gateway
        self._fresh = fresh
        self._secret = secret
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One local connection, until it ends; the callback of ``asyncio.start_server``."""
        self._open += 1
        try:
            await self._served(reader, writer)
        except Refused as refused:
            await _last_words(writer, wire.fatal(refused.sqlstate, refused.text, refused.hint))
        except (Broken, OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            await _last_words(writer, wire.fatal("08P01", f"tidegate connect: {_why(error)}"))
        finally:
            self._open -= 1
            writer.close()

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open > CONNECTIONS_MOST:
            raise Refused("too many connections to this port", sqlstate="53300")
        async with asyncio.timeout(LOGIN_DEADLINE):
            first = await read_first(reader, writer)
            if isinstance(first, bytes):
                await self._cancel(first)
                return
            if self._secret:
                await self._demand_secret(reader, writer)
            far_reader, far_writer = await self._dial()
        try:
            async with asyncio.timeout(LOGIN_DEADLINE):
                await self._log_in(first, writer, far_reader, far_writer)
            await both_ways((reader, writer), (far_reader, far_writer))
        finally:
            far_writer.close()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the gateway, verified before a byte of ours is sent."""
        gateway = self._gateway
        try:
            return await asyncio.open_connection(gateway.host, gateway.port, ssl=gateway.tls, limit=CHUNK)
        except ssl.SSLCertVerificationError as error:
            hint = "set TIDEGATE_CA to the file of the authority that signed it"
            raise Refused(f"the gateway's certificate is not trusted: {error.verify_message}", hint) from None
        except OSError as error:
            what = f"the gateway at {gateway.host}:{gateway.port} cannot be reached: {_why(error)}"
            raise Refused(what, "is it running?") from None

    async def _cancel(self, packet: bytes) -> None:
        """Pass a CancelRequest on, and wait as libpq does: the gateway closes when it has been dealt with."""
        async with asyncio.timeout(CANCEL_DEADLINE):
            reader, writer = await self._dial()
            try:
                writer.write(packet)
                await writer.drain()
                while await reader.read(CHUNK):
                    pass
            finally:
                writer.close()

    async def _demand_secret(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.CLEARTEXT)
        await writer.drain()
        kind, body = await read_message(reader)
        if kind != b"p" or not hmac.compare_digest(body, self._secret.encode() + b"\0"):
            raise Refused(
                "this local port asks for its own password",
                "it was printed by tidegate connect --listen when it started",
                "28P01",
            )

    async def _log_in(
        self,
        startup: Startup,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        """Be the account with a fresh token; the client hears of it only what a log-in without password says."""
        try:
            let_in = await self._fresh()
        except Failed as failed:
            raise Refused(f"tidegate: {failed.what}", failed.hint, "28000") from None
        far_writer.write(Startup(startup.version, {**startup.parameters, "user": let_in.account}).packed())
        await far_writer.drain()
        while True:
            kind, body = await read_message(far_reader)
            asked = struct.unpack("!I", body[:4])[0] if kind == b"R" and len(body) >= 4 else None
            if asked == wire.CLEARTEXT_ASKED:
                far_writer.write(wire.password(let_in.token))
                await far_writer.drain()
                continue
            if kind == b"R" and asked != wire.OK:
                raise Refused("the gateway asks for a way to log in that tidegate connect does not know")
            writer.write(wire.message(kind, body))
            if kind in (b"R", b"E"):
                await writer.drain()
                return


async def read_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Startup | bytes:
    """The client's startup packet, or its CancelRequest as bytes. TLS and GSS are declined: the line is local."""
    for _ in range(3):
        length, code = struct.unpack("!II", await reader.readexactly(8))
        if not 8 <= length <= wire.MAX_STARTUP:
            raise Broken("that is no PostgreSQL startup packet")
        body = await reader.readexactly(length - 8)
        if code == wire.CANCEL_REQUEST:
            return struct.pack("!II", length, code) + body
        if code not in (wire.SSL_REQUEST, wire.GSS_REQUEST):
            return wire.parse_startup(code, body)
        writer.write(b"N")
        await writer.drain()
    raise Broken("encryption was asked for again and again")


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """One message of the log-in: (kind, body)."""
    kind, length = struct.unpack("!cI", await reader.readexactly(5))
    if not 4 <= length <= wire.MAX_MESSAGE:
        raise Broken("a message of the log-in has an impossible length")
    return kind, await reader.readexactly(length - 4)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def both_ways(near: Stream, far: Stream) -> None:
    """Pass bytes on until both sides have ended; an end on one side is passed on too."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one_way(near[0], far[1]), name="client to gateway")
        tasks.create_task(one_way(far[0], near[1]), name="gateway to client")


async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until ``reader`` ends. Over TLS there is no half-close, so there the whole line is closed."""
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    if writer.can_write_eof():
        try:
            writer.write_eof()
        except OSError:
            return
    else:
        writer.close()


async def _last_words(writer: asyncio.StreamWriter, words: bytes) -> None:
    try:
        writer.write(words)
        await writer.drain()
    except OSError:
        return


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, asyncio.IncompleteReadError):
        return "the line ended during the log-in"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
