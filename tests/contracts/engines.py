"""Both ends of each protocol, as small as the contract of engines needs: a client to let in, a target that counts.

One ``Peer`` a protocol, in ``PEERS``; the contract itself is ``test_engines``. A target runs what it is told line
by line: ``slow`` takes until it is made to stop, everything else is answered at once.
"""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from proxy.core.identity import Account, Resource
from proxy.core.targets import PostgresCredential, PostgresTarget, Secret, TcpTarget
from proxy.protocols.postgres import control
from proxy.protocols.table import Served, served
from proxy.sessions.services import Engine, Front, Services
from tests.contracts.peer import CountingPeer
from tests.contracts.ssh_peer import SshPeer
from tests.fakes.echo import EchoEngine, EchoTarget
from tests.fakes.ssh_keys import MemoryHosts, MemoryKeys

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
SECRET = b"s" * 32
BOUNDS = {
    "max_message": 1 << 20,
    "max_bind": 1 << 20,
    "max_text": 4096,
    "max_value": 256,
    "cancel_guesses": 10,
}


class Peer(Protocol):
    """``dialled`` counts connections to the target, ``open`` those that are still there, ``ran`` is what it was
    told to run, ``stopped`` whether it was made to stop. While ``answers`` is not set it lets nobody in.
    ``has_words``: whether the protocol can say to a client why it is cut; ``conditions`` are those of the grant
    with which every byte is recorded."""

    protocol: str
    logs_in: bool
    has_words: bool
    conditions: Mapping[str, Any]
    stopped: asyncio.Event
    answers: asyncio.Event

    @property
    def dialled(self) -> int: ...
    @property
    def open(self) -> int: ...
    @property
    def ran(self) -> list[str]: ...

    async def start(self) -> int:
        """Serve; the port."""
        ...

    async def stop(self) -> None: ...
    def resource(self, port: int) -> Resource: ...
    def account(self) -> Account: ...
    def engine(self, services: Services) -> tuple[Engine, list[Callable[[], Awaitable[object]]]]:
        """The engine, and what it has to do in the background."""
        ...

    async def connect(self, port: int) -> tuple[Reader, Any]:
        """A client's connection to the gateway: what it is told, and what it is closed by."""
        ...

    async def enter(self, reader: Reader, writer: Any, token: str) -> str:
        """Show the token; "" when the client was told that it is in, else what it was told instead."""
        ...

    def say(self, writer: Any, text: str) -> None:
        """Have the target run ``text``."""
        ...

    def leave(self, writer: Any) -> None:
        """Say that the client has done, in whatever way the protocol has for it; the client's own line stays."""
        ...


class Plain:
    """A client whose words are the bytes on the line."""

    async def connect(self, port: int) -> tuple[Reader, Any]:
        return await asyncio.open_connection("127.0.0.1", port)

    def leave(self, writer: Writer) -> None:
        """By the end of its bytes."""
        writer.write_eof()


class EchoPeer(Plain):
    """The line protocol of ``tests.fakes.echo``: its target has no log-in."""

    protocol = "echo"
    logs_in = False
    has_words = True
    conditions: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self._target = Counting()
        self.stopped = self._target.abandoned
        self.answers = asyncio.Event()

    @property
    def dialled(self) -> int:
        return self._target.dialled

    @property
    def open(self) -> int:
        return self._target.open

    @property
    def ran(self) -> list[str]:
        return [each.decode().strip() for each in self._target.lines]

    async def start(self) -> int:
        return await self._target.start()

    async def stop(self) -> None:
        self._target.abandoned.set()
        await self._target.stop()

    def resource(self, port: int) -> Resource:
        return Resource("thing", "echo", (("127.0.0.1", port),))

    def account(self) -> Account:
        return Account("any")

    def engine(self, services: Services) -> tuple[Engine, list[Callable[[], Awaitable[object]]]]:
        return EchoEngine(self._target), []

    async def enter(self, reader: Reader, writer: Writer, token: str) -> str:
        writer.write(token.encode() + b"\n")
        line = (await reader.readline()).decode().strip()
        return "" if line == "OK" else line or "nothing"

    def say(self, writer: Writer, text: str) -> None:
        writer.write(text.encode() + b"\n")


class Counting(EchoTarget):
    """An ``EchoTarget`` that counts who came."""

    def __init__(self) -> None:
        super().__init__()
        self.dialled = 0

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        self.dialled += 1
        await super()._serve(reader, writer)


class PostgresPeer(Plain, CountingPeer):
    """A PostgreSQL server that trusts everybody, and a client of the simple protocol."""

    protocol = "postgres"

    def __init__(self) -> None:
        super().__init__()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self.stopped.set()
        self.answers.set()
        if self._server is not None:
            self._server.close()

    def resource(self, port: int) -> Resource:
        return Resource("thing", "postgres", (("127.0.0.1", port),), options=PostgresTarget(tls_mode="disable"))

    def account(self) -> Account:
        return Account("any", credential=PostgresCredential(password=Secret("x")))

    def engine(self, services: Services) -> tuple[Engine, list[Callable[[], Awaitable[object]]]]:
        found = protocols(services)["postgres"]
        services.watch.listeners.append(found.informed)
        return found.engine(Front()), [found.run]

    # -- the target ----------------------------------------------------------------------------------------------

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        try:
            (length,) = struct.unpack("!I", await reader.readexactly(4))
            startup = await reader.readexactly(length - 4)
            if struct.unpack("!I", startup[:4])[0] == 80877102:
                self.stopped.set()
                return
            self.dialled += 1
            self.open += 1
            try:
                await self._let_in(writer)
                await self._run(reader, writer)
            finally:
                self.open -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _let_in(self, writer: Writer) -> None:
        await self.answers.wait()
        writer.write(
            message(b"R", struct.pack("!I", 0))
            + message(b"S", b"server_version\x0016.0\0")
            + message(b"K", struct.pack("!II", 4711, 42))
            + message(b"Z", b"I")
        )

    async def _run(self, reader: Reader, writer: Writer) -> None:
        while True:
            kind = await reader.readexactly(1)
            (length,) = struct.unpack("!I", await reader.readexactly(4))
            body = await reader.readexactly(length - 4)
            if kind != b"Q":
                return
            text = body.rstrip(b"\0").decode()
            if text == control.QUESTION:
                writer.write(message(b"E", b"SERROR\0VERROR\0C42883\0Mno such function\0\0") + message(b"Z", b"I"))
                continue
            self.ran.append(text)
            if text == "slow":
                await self.stopped.wait()
                writer.write(message(b"E", b"SERROR\0VERROR\0C57014\0Mcancelled\0\0") + message(b"Z", b"I"))
            else:
                writer.write(message(b"C", b"SET\0") + message(b"Z", b"I"))
            await writer.drain()

    # -- the client ----------------------------------------------------------------------------------------------

    async def enter(self, reader: Reader, writer: Writer, token: str) -> str:
        parameters = b"user\0any\0database\0shop\0\0"
        writer.write(struct.pack("!II", len(parameters) + 8, 3 << 16) + parameters)
        while True:
            kind, body = await read(reader)
            if kind == b"R" and body == struct.pack("!I", 3):
                writer.write(message(b"p", token.encode() + b"\0"))
            elif kind == b"E":
                return body.replace(b"\0", b" ").decode()
            elif kind == b"Z":
                return ""
            elif not kind:
                return "nothing"

    def say(self, writer: Writer, text: str) -> None:
        writer.write(message(b"Q", text.encode() + b"\0"))

    def leave(self, writer: Writer) -> None:
        """By Terminate."""
        writer.write(message(b"X", b""))


def protocols(services: Services) -> Mapping[str, Served]:
    """The table, as a worker has it."""
    return served(services, SECRET, lambda: BOUNDS, MemoryKeys(), MemoryHosts())


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


async def read(reader: Reader) -> tuple[bytes, bytes]:
    """One message; (b"", b"") at the end."""
    try:
        kind = await reader.readexactly(1)
        (length,) = struct.unpack("!I", await reader.readexactly(4))
        return kind, await reader.readexactly(length - 4)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b"", b""


class TcpPeer(Plain, CountingPeer):
    """A server of lines that has no way to be told to stop but the end of the connection, reached by CONNECT."""

    protocol = "tcp"
    logs_in = False
    has_words = False
    conditions: Mapping[str, Any] = {"record_traffic": True}

    def __init__(self) -> None:
        super().__init__()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    def resource(self, port: int) -> Resource:
        return Resource("thing", "tcp", (("127.0.0.1", port),), options=TcpTarget())

    def account(self) -> Account:
        return Account("any")

    def engine(self, services: Services) -> tuple[Engine, list[Callable[[], Awaitable[object]]]]:
        found = protocols(services)["tcp"]
        return found.engine(Front()), [found.run]

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        self.dialled += 1
        self.open += 1
        try:
            while line := await reader.readline():
                self.ran.append(line.decode().strip())
                if line == b"slow\n":
                    with contextlib.suppress(ConnectionError):
                        await reader.read()
                    self.stopped.set()
                    return
                writer.write(line)
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()

    async def enter(self, reader: Reader, writer: Writer, token: str) -> str:
        writer.write(f"CONNECT thing:0 HTTP/1.1\r\nProxy-Authorization: Bearer {token}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        return "" if head.startswith(b"HTTP/1.1 200 ") else (head + await reader.read()).decode()

    def say(self, writer: Writer, text: str) -> None:
        writer.write(text.encode() + b"\n")


PEERS: Mapping[str, Callable[[], Peer]] = {
    "echo": EchoPeer,
    "postgres": PostgresPeer,
    "ssh": SshPeer,
    "tcp": TcpPeer,
}
