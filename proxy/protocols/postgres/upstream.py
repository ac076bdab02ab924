"""Towards the target: TLS, log-in, cancel, and the proof that a backend has stopped. Async, but socket-free: it
speaks through a kernel stream. Used by ``engine`` and ``trial``.

Errors: ``Unreachable`` with a public text that names neither address nor credential; the detail has them both wrong
and right for the operator, without the secret.
"""

import asyncio
import hashlib
import secrets
import ssl
import struct
from collections import OrderedDict
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from proxy.core.errors import PeerError, Unreachable
from proxy.core.targets import PostgresCredential, PostgresTarget
from proxy.protocols.postgres import scram
from proxy.protocols.postgres.login_refusal import turned_away
from proxy.sessions.dialling import Reached, connect
from proxy.sessions.transport import Stream

SSL_REQUEST = struct.pack("!II", 8, 80877103)
CANCEL_REQUEST = 80877102
CANCEL_PATIENCE = 3.0
"""Seconds a target may take to say that a cancel has been delivered."""
PROTOCOL_3_0 = 3 << 16
MAX_LOGIN_MESSAGE = 30_000
"""As libpq: before the log-in is done no message of a server is longer."""
MAX_LOGIN_MESSAGES = 1_000
MAX_LOGIN_BYTES = 256 * 1024
"""Of all settings and notices of one log-in: they are kept until the client may be told."""
SALTED_KEPT = 1024


class NoTls(Unreachable):
    """The target does not offer the TLS that its settings ask for."""


class _ErrorResponse(Exception):
    """The target refuses: the message's ``body``."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body


@dataclass(frozen=True, slots=True)
class Entry:
    """How to enter a target: its settings, the role's name, and the role's credential."""

    target: PostgresTarget
    user: str
    credential: PostgresCredential


@dataclass(slots=True)
class LoggedIn:
    """A target that said AuthenticationOk and ReadyForQuery. ``parameters`` and ``notices`` are whole messages as
    they came, for the client; ``key`` is what a cancel must show."""

    stream: Stream
    address: Reached
    pid: int = 0
    key: bytes = b""
    parameters: list[bytes] = field(default_factory=list)
    status: int = ord("I")


class Targets:
    """Logs in to targets. Keeps TLS contexts and salted passwords, nothing else."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._contexts: dict[Entry, ssl.SSLContext] = {}
        self._salted: OrderedDict[tuple[str, bytes, int], bytes] = OrderedDict()

    # -- TLS -----------------------------------------------------------------------------------------------------

    def _context(self, entry: Entry) -> ssl.SSLContext:
        context = self._contexts.get(entry)
        if context is None:
            context = self._contexts[entry] = make_context(entry.target, entry.credential)
        return context

    def renew(self) -> None:
        """Read the files of certificates again: others may be under the same names now."""
        self._contexts.clear()

    async def secure(self, stream: Stream, address: Reached, entry: Entry) -> None:
        """SSLRequest and handshake as the target's TLS mode says; exactly one byte is read before it, so nothing
        sent in plaintext can be taken for the target's encrypted word (CVE-2021-23222)."""
        if entry.target.tls_mode == "disable":
            return
        await stream.send(SSL_REQUEST)
        if await stream.read_exactly(1) != b"S":
            raise NoTls("the target does not offer TLS", detail=f"{address[0]}:{address[1]}")
        name = entry.target.tls_server_name or address[0]
        await stream.start_tls(self._context(entry), server_side=False, server_name=name)

    # -- log-in --------------------------------------------------------------------------------------------------

    async def login(self, stream: Stream, address: Reached, entry: Entry, startup: bytes) -> LoggedIn:
        """From a fresh connection to ReadyForQuery with the startup packet given."""
        try:
            await self.secure(stream, address, entry)
            await stream.send(startup)
            await self._authenticate(stream, entry)
            return await self._settle(LoggedIn(stream, address))
        except _ErrorResponse as said:
            raise turned_away(said.body, startup, _private(address, entry)) from None
        except PeerError as error:
            raise Unreachable("the target closed the connection during log-in", detail=str(error)) from None

    async def _authenticate(self, stream: Stream, entry: Entry) -> None:
        for _ in range(8):
            kind, body = await read_message(stream)
            if kind == b"E":
                raise _ErrorResponse(body)
            if kind in (b"N", b"v"):
                continue
            if kind != b"R" or len(body) < 4:
                raise Unreachable("the target broke the protocol during log-in", detail=f"message {kind!r}")
            code = int.from_bytes(body[:4], "big")
            if code == 0:
                return
            await self._answer(code, body[4:], stream, entry)
        raise Unreachable("the target did not finish the log-in")

    async def _answer(self, code: int, data: bytes, stream: Stream, entry: Entry) -> None:
        if entry.credential.password is None:
            raise Unreachable("the target wants a password and the gateway has none", detail=f"request {code}")
        password = entry.credential.password.reveal()
        if code == 10:
            await self._scram(data, stream, password)
        elif code in (3, 5) and not (entry.target.verified and stream.tls):
            raise Unreachable(
                "the target asks for a weak log-in over a line that is not verified",
                detail=f"request {code}; use SCRAM, or tls = verify-full",
            )
        elif code == 3:
            await stream.send(message(b"p", password.encode() + b"\0"))
        elif code == 5:
            await stream.send(message(b"p", _md5(entry.user, password, data[:4]) + b"\0"))
        else:
            raise Unreachable("the target asks for a log-in the gateway does not know", detail=f"request {code}")

    async def _scram(self, mechanisms: bytes, stream: Stream, password: str) -> None:
        offered = mechanisms.split(b"\0")
        binding = None
        if b"SCRAM-SHA-256-PLUS" in offered and stream.tls is not None:
            binding = server_end_point(stream.tls.getpeercert(binary_form=True) or b"")
        elif b"SCRAM-SHA-256" not in offered:
            raise Unreachable("the target offers no SCRAM the gateway knows", detail=repr(offered[:8]))
        name = b"SCRAM-SHA-256-PLUS" if binding is not None else b"SCRAM-SHA-256"
        exchange = scram.Exchange(secrets.token_urlsafe(18), binding=binding, could_bind=stream.tls is not None)
        first = exchange.first()
        await stream.send(message(b"p", name + b"\0" + struct.pack("!I", len(first)) + first))
        challenge = exchange.challenge(await _sasl(stream, 11))
        await stream.send(message(b"p", exchange.final(challenge, await self._salt(password, challenge))))
        exchange.verify(await _sasl(stream, 12))

    async def _salt(self, password: str, challenge: scram.Challenge) -> bytes:
        """The salted password, computed off the loop once and kept per salt and iteration count."""
        key = (hashlib.sha256(password.encode()).hexdigest(), challenge.salt, challenge.iterations)
        kept = self._salted.get(key)
        if kept is None:
            kept = await self.loop.run_in_executor(None, scram.salted, password, challenge)
            self._salted[key] = kept
            if len(self._salted) > SALTED_KEPT:
                self._salted.popitem(last=False)
        return kept

    async def _settle(self, logged_in: LoggedIn) -> LoggedIn:
        """Everything up to the first ReadyForQuery. BackendKeyData counts once."""
        kept = 0
        for _ in range(MAX_LOGIN_MESSAGES):
            kind, body = await read_message(logged_in.stream)
            kept += len(body)
            if kept > MAX_LOGIN_BYTES:
                break
            if kind == b"Z" and len(body) == 1:
                logged_in.status = body[0]
                return logged_in
            if kind == b"E":
                raise _ErrorResponse(body)
            if kind == b"K" and not logged_in.key and 8 <= len(body) <= 260:
                logged_in.pid, logged_in.key = int.from_bytes(body[:4], "big"), body[4:]
            elif kind in (b"S", b"N"):
                logged_in.parameters.append(message(kind, body))
            else:
                raise Unreachable("the target broke the protocol during log-in", detail=f"message {kind!r}")
        raise Unreachable("the target did not finish the log-in")

    # -- making it stop ------------------------------------------------------------------------------------------

    async def cancel(self, address: Reached, entry: Entry, pid: int, key: bytes) -> None:
        """A CancelRequest on a connection of its own, with the session's TLS mode; returns when the target closed
        it, which is its word that the signal is sent. ``TimeoutError`` when it does not answer."""
        async with asyncio.timeout(CANCEL_PATIENCE):
            stream, _ = await connect(self.loop, (address.again,), 1.0)
            try:
                await self.secure(stream, address, entry)
                await stream.send(struct.pack("!III", 12 + len(key), CANCEL_REQUEST, pid) + key)
                await stream.drain(2.0)
            finally:
                stream.close()


def make_context(target: PostgresTarget, credential: PostgresCredential) -> ssl.SSLContext:
    """A client context for the target's TLS mode (libpq's sslmode words, less "allow" and "prefer")."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["postgresql"])
    context.check_hostname = target.tls_mode == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if target.verified else ssl.CERT_NONE
    try:
        if target.tls_ca is not None:
            context.load_verify_locations(cafile=str(target.tls_ca))
        elif target.verified:
            context.load_default_certs()
        if credential.client_certificate is not None:
            key = str(credential.client_key) if credential.client_key else None
            context.load_cert_chain(str(credential.client_certificate), key)
    except OSError as error:
        raise Unreachable("the gateway's TLS settings for this target are wrong", detail=str(error)) from None
    return context


def server_end_point(certificate: bytes) -> bytes:
    """tls-server-end-point: the hash of the server's certificate, by its signature's hash, MD5 and SHA-1 read as
    SHA-256 (RFC 5929, section 4.1)."""
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
        name = algorithm.name if algorithm is not None else "sha256"
        return hashlib.new("sha256" if name in ("md5", "sha1") else name, certificate).digest()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unreachable("the target's certificate cannot be read", detail=str(error)) from None


def message(kind: bytes, body: bytes) -> bytes:
    """A typed message: type byte, self-inclusive length, body."""
    return kind + struct.pack("!I", len(body) + 4) + body


async def read_message(stream: Stream) -> tuple[bytes, bytes]:
    """One message of a target that is not logged in yet, never longer than libpq would take. Those behind it are
    read along: nothing but answers can follow here, and a log-in ends with some thirty messages."""
    whole = await stream.read_one(_size, MAX_LOGIN_MESSAGE + 1)
    return whole[:1], whole[5:]


def _size(taken: bytearray) -> int:
    """Of the message that these bytes begin with."""
    if len(taken) < 5:
        return 0
    length = int.from_bytes(taken[1:5], "big")
    if not 4 <= length <= MAX_LOGIN_MESSAGE:
        what = f"{bytes(taken[:1])!r} of {length} bytes"
        raise Unreachable("the target broke the protocol during log-in", detail=what)
    return length + 1


async def _sasl(stream: Stream, expected: int) -> bytes:
    kind, body = await read_message(stream)
    if kind == b"E":
        raise _ErrorResponse(body)
    if kind != b"R" or len(body) < 4 or int.from_bytes(body[:4], "big") != expected:
        raise Unreachable("the target broke the protocol during log-in", detail=f"SASL: {kind!r}")
    return body[4:]


def _private(address: Reached, entry: Entry) -> tuple[str, ...]:
    """What no client may read in a target's words: where it is, and how it is entered."""
    password = entry.credential.password
    return (*map(str, address), "" if password is None else password.reveal())


def _md5(user: str, password: str, salt: bytes) -> bytes:
    """AuthenticationMD5Password (chapter 55.2.1), only ever over verified TLS."""
    inner = hashlib.md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()
