"""Towards the client: it is asked for a credential, told why not, or let in; what it then opens goes to the
conversation. Async, by asyncssh's callbacks; used by ``engine``, which decides.

One try at a time: the line reads on when one has its answer, so that none is ever given to other words than it was
about (asyncssh 2.24.1: the wrong user name); where two meet all the same, the client is cut off.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

import asyncssh
from asyncssh.packet import PacketDecodeError, SSHPacket

from proxy.core.access import UserCertificate
from proxy.core.errors import PeerError
from proxy.protocols.ssh.ledger import Ledger
from proxy.protocols.ssh.lines import ServerLine
from proxy.protocols.ssh.transport import StreamTransport
from proxy.sessions.session import Session

BEFORE_LOGIN = 128 * 1024
"""Bytes a client may send before it has logged in."""
PROMPT = "Password (your Tidegate token): "
"""Programs that type passwords for people look for the word."""
INSTRUCTION = "Paste the token of your grant (tidegate token RESOURCE prints it)."
CLOSED = "the connection was closed"
NO_MORE_SESSIONS = b"no-more-sessions@openssh.com"
FORWARDS = ("tcpip-forward", "streamlocal-forward@openssh.com")


@dataclass(frozen=True, slots=True)
class Shown:
    """One try: for whom, and with what."""

    user: str
    credential: "str | UserCertificate"


class Openings(Protocol):
    """What a client that is in may open, and whoever is told of its end."""

    @property
    def ledger(self) -> Ledger: ...
    def session_opened(self, line: ServerLine) -> Any: ...
    def tunnel_opened(self, line: ServerLine, to: tuple[str, int], of: tuple[str, int]) -> Any: ...
    def socket_opened(self, line: ServerLine, path: str) -> Any: ...
    def no_more_sessions(self) -> None: ...
    def client_gone(self, error: Exception | None) -> None: ...


class Visitor(asyncssh.SSHServer):
    """asyncssh's callbacks for one client. ``inside`` is there once it is in."""

    def __init__(self, loop: asyncio.AbstractEventLoop, authorities: "frozenset[bytes]") -> None:
        self._loop = loop
        self._authorities = authorities
        self._line: ServerLine | None = None
        self._shown: asyncio.Future[Shown] = loop.create_future()
        self._verdict: asyncio.Future[bool] | None = None
        self._user = ""
        self.began: asyncio.Future[None] = loop.create_future()
        self.inside: Openings | None = None
        self.error: Exception | None = None

    # -- for the engine ------------------------------------------------------------------------------------------

    async def shown(self) -> Shown:
        """The next try. ``PeerError`` (code ``closed``) when there is none."""
        found = await self._shown
        self._shown = self._loop.create_future()
        return found

    def holds(self) -> bool:
        """Whether the try that was shown last still waits for its answer."""
        return self._verdict is not None and not self._verdict.done()

    def answer(self, let_in: bool) -> None:
        """Let in, or ask again. ``PeerError`` when nobody waits for it any more."""
        verdict, self._verdict = self._verdict, None
        if verdict is None or verdict.done():
            raise PeerError(CLOSED, code="closed")
        verdict.set_result(let_in)

    def forget(self) -> None:
        """Know neither the line nor who is behind it."""
        self._line = self.inside = self.error = self._verdict = None
        self.began, self._shown = self._loop.create_future(), self._loop.create_future()
        self.began.cancel()  # an error that one had been given knows all who waited for it
        self._shown.cancel()

    # -- for asyncssh: the log-in --------------------------------------------------------------------------------

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        assert isinstance(conn, ServerLine)  # noqa: S101
        self._line = conn
        conn.credential = self.certificate_shown
        conn.began = self.tried
        conn.request = self.asked
        conn.refused = self.refused

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        goodbye = self._line is not None and self._line.said_goodbye
        lost = PeerError(CLOSED, detail=str(exc or ""), code="closed" if goodbye or _went(exc) else "protocol")
        for each in (self.began, self._shown):
            if not each.done():
                each.set_exception(lost)
                each.exception()  # nobody may be waiting
        if self._verdict is not None and not self._verdict.done():
            self._verdict.cancel()
        if self.inside is not None:
            self.inside.client_gone(None if goodbye else exc)

    def tried(self, username: str) -> None:
        """A client tries to log in. It may change its mind about who it is; its tries are the same."""
        self._user = username
        if not self.began.done():
            self.began.set_result(None)

    def password_auth_supported(self) -> bool:
        return True

    def kbdint_auth_supported(self) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        return await self._present(Shown(username, password))

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", INSTRUCTION, "", ((PROMPT, False),)

    async def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        """There was one question; who does not answer it has tried, too."""
        return await self._present(Shown(username, str(responses[0]) if len(responses) == 1 else ""))

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """A bare key says nothing about a grant."""
        return False

    async def certificate_shown(self, username: str, data: bytes, signed: bool) -> bool:
        """A certificate of ours: whether it may be used, or, ``signed``, whether it lets its holder in. Others are
        not looked at: an agent offers whatever it has, and that is no try."""
        try:
            certificate: Any = asyncssh.public_key.decode_ssh_certificate(data)
            ours = bool(certificate.signing_key.public_data in self._authorities)
        except (asyncssh.KeyImportError, AttributeError, ValueError):
            return False
        if not ours or not signed:
            return ours
        return await self._present(Shown(username, UserCertificate(data)))

    async def _present(self, shown: Shown) -> bool:
        if self.holds() or self._shown.done() or shown.user != self._user:
            if self._line is not None:
                self._line.disconnect(asyncssh.DISC_PROTOCOL_ERROR, "one try at a time")
            return False
        verdict = self._verdict = self._loop.create_future()
        self._shown.set_result(shown)
        return bool(await verdict)

    # -- for asyncssh: what a client opens -----------------------------------------------------------------------

    def session_requested(self) -> Any:
        return self._open().session_opened(self._here())

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        return self._open().tunnel_opened(self._here(), (dest_host, dest_port), (orig_host, orig_port))

    def unix_connection_requested(self, dest_path: str) -> Any:
        return self._open().socket_opened(self._here(), dest_path)

    def asked(self, name: bytes, rest: bytes) -> bool:
        """Whether a client has what it asks its connection for: nothing of it, but to have no more sessions."""
        if name == NO_MORE_SESSIONS:
            self._open().no_more_sessions()
            return True
        shown = name.decode("utf-8", "replace")
        if not shown.startswith("keepalive@"):  # each library has one of its own; a refusal does as well
            self.refused(*_wanted(shown, rest))
        return False

    def refused(self, what: str, detail: str) -> None:
        """Something of the connection that nobody may."""
        self._open().ledger.denied(what, detail)

    def _open(self) -> Openings:
        if self.inside is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "not yet")
        return self.inside

    def _here(self) -> ServerLine:
        assert self._line is not None  # noqa: S101
        return self._line


@dataclass(frozen=True, slots=True)
class ClientSide:
    """A client's connection in its parts."""

    visitor: Visitor
    line: ServerLine
    transport: StreamTransport

    def disconnect(self, text: str) -> None:
        """The last words; the line itself is the kernel's to close. Not as BY_APPLICATION, which libraries take for
        a good end and show nobody."""
        if not self.line.is_closed():
            self.line.hurry()
            self.line.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, text)
        self.transport.flush()

    def holds(self) -> int:
        """Bytes that wait, in channels and on their way to and from them."""
        return self.line.holds() + self.transport.holds()

    def forget(self) -> None:
        """Know nobody any more: what asyncssh still tells is told to no one."""
        self.line.moved = _nothing_moved
        self.visitor.forget()
        self.transport.forget()
        self.line.take_apart()


def _nothing_moved() -> int:
    """What ``moved`` says once nobody counts."""
    return 0


def client_side(session: Session, loop: asyncio.AbstractEventLoop, options: Any, authorities: Any) -> ClientSide:
    """Speak SSH with a session's client. ``options``: the listener's, from ``engine``; copied, since each
    connection has callbacks of its own."""
    visitor = Visitor(loop, authorities)
    options.protocol_factory = lambda: visitor
    line = ServerLine(loop, options)
    line.moved = lambda: session.client.bytes_read + session.client.bytes_written
    transport = StreamTransport(loop, session.client, session.passes, BEFORE_LOGIN)
    transport.start(line)
    return ClientSide(visitor, line, transport)


def _wanted(name: str, rest: bytes) -> tuple[str, str]:
    """A global request (RFC 4254, 7.1; OpenSSH's PROTOCOL, 2.4) in words: what it is, and more of it."""
    if name not in FORWARDS:
        return "connection request", name
    packet = SSHPacket(rest)
    try:
        place = packet.get_string().decode("utf-8", "replace")
        return "remote forward", f"{place}:{packet.get_uint32()}" if packet else place
    except PacketDecodeError:
        return "remote forward", "it cannot be read"


def _went(error: Exception | None) -> bool:
    """Whether the client just went, rather than broke the protocol."""
    return (
        error is None
        or isinstance(error, OSError | asyncssh.ConnectionLost)
        or (isinstance(error, asyncssh.DisconnectError) and error.code == asyncssh.DISC_BY_APPLICATION)
    )
