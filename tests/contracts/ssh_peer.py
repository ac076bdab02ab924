"""SSH for the contract of engines: a host that counts, and a client that asks for one command after the other."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncssh
from asyncssh.packet import String, UInt32

from proxy.core.identity import Account, Resource
from proxy.core.targets import HostPorts, Secret, SshAllowance, SshCredential, SshLogin, SshTarget, UnixSocket
from proxy.protocols.ssh.engine import SshEngines
from proxy.sessions.services import Engine, Front, Services
from tests.contracts.peer import CountingPeer
from tests.fakes.ssh_keys import MemoryHosts, MemoryKeys

FAR = ("far", 7)
SOCKET = "/run/far.sock"


class SshPeer(CountingPeer):
    """The target runs what it is told as a command; ``slow`` until it is signalled, ``flood N`` says N bytes.
    ``far`` makes its end of a connection to ``FAR`` or ``SOCKET``, the places that may be forwarded to. It opens a
    session while ``opens`` is set; ``told`` is what clients asked of its sessions besides."""

    protocol = "ssh"

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []
        self.opens = asyncio.Event()
        self.opens.set()
        self.far: Callable[[], Any] = lambda: False
        self.told: list[tuple[Any, ...]] = []
        self._keys = MemoryKeys()
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def start(self) -> int:
        self._acceptor = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=lambda: Host(self), server_host_keys=[self._host_key], config=None
        )
        return int(self._acceptor.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        for each in (self.stopped, self.answers, self.opens):
            each.set()
        if self._acceptor is not None:
            self._acceptor.close()

    def resource(self, port: int) -> Resource:
        key = self._host_key.export_public_key().decode().strip()
        return Resource("thing", "ssh", (("127.0.0.1", port),), options=SshTarget(host_keys=(key,)))

    def account(self) -> Account:
        host, port = FAR
        forward = (HostPorts(host, port, port), UnixSocket(SOCKET))
        return Account(
            "any", credential=SshLogin(SshCredential(password=Secret("x")), SshAllowance(forward=forward))
        )

    def engine(self, services: Services) -> tuple[Engine, list[Callable[[], Awaitable[None]]]]:
        made = self.made = SshEngines(services, self._keys, MemoryHosts()).engine(Front(names=("127.0.0.1",)))
        return made, []

    async def connect(self, port: int) -> tuple[asyncio.StreamReader, "Client"]:
        client = Client(port)
        return client.told, client

    async def enter(self, reader: asyncio.StreamReader, writer: Any, token: str) -> str:
        client: Client = writer
        return await client.enter(token)

    def say(self, writer: Any, text: str) -> None:
        client: Client = writer
        client.run(text)

    def leave(self, writer: Any) -> None:
        client: Client = writer
        client.disconnect()


class Host(asyncssh.SSHServer):
    """The target's callbacks."""

    def __init__(self, peer: SshPeer) -> None:
        self._peer = peer

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._peer.dialled += 1
        self._peer.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer.open -= 1

    def password_auth_supported(self) -> bool:
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        await self._peer.answers.wait()
        return password == "x"

    def session_requested(self) -> Any:
        return self._opened()

    async def _opened(self) -> "Process":
        await self._peer.opens.wait()
        return Process(self._peer)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        return self._peer.far()

    def unix_connection_requested(self, dest_path: str) -> Any:
        return self._peer.far()


class Process(asyncssh.SSHServerSession[str]):
    """One command."""

    def __init__(self, peer: SshPeer) -> None:
        peer.processes.append(self)
        self.heard = 0
        self._peer = peer
        self._channel: Any = None
        self._command = ""

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def exec_requested(self, command: str) -> bool:
        self._command = command
        self._peer.ran.append(command)
        return True

    def session_started(self) -> None:
        word, _, size = self._command.partition(" ")
        if word == "flood":
            self._channel.write("x" * int(size))
        if word != "slow":
            self._channel.exit(0)

    def data_received(self, data: str, datatype: Any) -> None:
        self.heard += len(data)

    def eof_received(self) -> bool:
        return True

    def pty_requested(self, term_type: str, term_size: Any, term_modes: Any) -> bool:
        self._peer.told.append(("terminal", term_type, *term_size))
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        self._peer.told.append(("size", width, height, pixwidth, pixheight))

    def break_received(self, msec: int) -> bool:
        self._peer.told.append(("break", msec))
        return True

    def signal_received(self, signal: str) -> None:
        self._peer.told.append(("signal", signal))
        if signal.startswith("USR"):
            return
        self._peer.stopped.set()
        self._channel.exit_with_signal(signal)


class Client(asyncssh.SSHClient):
    """What it is told goes to ``told``: banners while it logs in, then the words of a disconnect, and the end."""

    def __init__(self, port: int) -> None:
        self.told = asyncio.StreamReader()
        self._port = port
        self._words = ""
        self._line: asyncssh.SSHClientConnection | None = None
        self._running: list[asyncio.Task[Any]] = []

    async def enter(self, token: str) -> str:
        try:
            self._line, _ = await asyncssh.create_connection(
                lambda: self, "127.0.0.1", self._port, username="any", password=token, known_hosts=None,
                client_keys=None, agent_path=None, config=None, preferred_auth="password",
            )  # fmt: skip
        except (asyncssh.Error, OSError) as error:
            return f"{self._words} {error}"
        return ""

    def auth_banner_received(self, msg: str, lang: str) -> None:
        self._words += msg

    def connection_lost(self, exc: Exception | None) -> None:
        if self._line is not None and exc is not None:
            self.told.feed_data(str(exc).encode())
        self.told.feed_eof()

    def run(self, command: str) -> None:
        assert self._line is not None
        self._running.append(asyncio.get_running_loop().create_task(self._run(command)))

    async def _run(self, command: str) -> None:
        assert self._line is not None
        try:
            await self._line.run(command)
        except (asyncssh.Error, OSError):
            return

    def disconnect(self) -> None:
        """The goodbye, and nothing else: the socket stays."""
        assert self._line is not None
        self._line.send_packet(asyncssh.constants.MSG_DISCONNECT, UInt32(11), String("done"), String(""))

    def close(self) -> None:
        for each in self._running:
            each.cancel()
        if self._line is not None:
            self._line.close()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._line is not None:
            await self._line.wait_closed()
