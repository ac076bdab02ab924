"""A gateway that only the local side of ``connect`` talks to: it logs in by cleartext password and echoes."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proxy.cli.connect import wire
from proxy.cli.connect.postgres import Gateway, read_first, read_message
from proxy.cli.connect.wire import Startup
from tests.peers.certificates import Authority

AUTHENTICATED = b"R" + struct.pack("!II", 8, 0)
READY = b"Z\0\0\0\x05I"


@dataclass
class FakeGateway:
    """What it was told, and how it answers. ``greeting`` comes before the question for the password."""

    host: str
    port: int
    ca: Path
    startups: list[Startup] = field(default_factory=list)
    passwords: list[bytes] = field(default_factory=list)
    cancels: list[bytes] = field(default_factory=list)
    alpn: list[str | None] = field(default_factory=list)
    accepts: set[bytes] | None = None
    greeting: bytes = b""

    def reached(self) -> Gateway:
        context = ssl.create_default_context(cafile=str(self.ca))
        context.set_alpn_protocols(["postgresql"])
        return Gateway(self.host, self.port, context)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._served(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.alpn.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        first = await read_first(reader, writer)
        if isinstance(first, bytes):
            self.cancels.append(first)
            return
        self.startups.append(first)
        writer.write(self.greeting + wire.CLEARTEXT)
        _, body = await read_message(reader)
        self.passwords.append(body.removesuffix(b"\0"))
        if self.accepts is not None and body.removesuffix(b"\0") not in self.accepts:
            writer.write(wire.fatal("28P01", "the token is not valid", "get a fresh one"))
            await writer.drain()
            return
        writer.write(AUTHENTICATED + READY)
        while chunk := await reader.read(65536):
            if chunk == b"end":
                writer.write(wire.fatal("57P01", "cut"))
                return
            writer.write(chunk)
            await writer.drain()


@asynccontextmanager
async def fake_gateway(folder: Path) -> AsyncIterator[FakeGateway]:
    """Listening on a free port of 127.0.0.1 with a certificate of its own authority in ``folder``."""
    authority = Authority.at(folder)
    certificate, key = authority.server().write(folder, "gateway")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["postgresql"])
    gateway = FakeGateway("127.0.0.1", 0, folder / "ca.crt")
    async with asyncio.TaskGroup() as tasks:
        running = []
        server = await asyncio.start_server(
            lambda reader, writer: running.append(tasks.create_task(gateway.serve(reader, writer))),
            "127.0.0.1",
            0,
            ssl=context,
        )
        gateway.port = server.sockets[0].getsockname()[1]
        async with server:
            yield gateway
        for task in running:
            task.cancel()
