"""A PostgreSQL server that means harm: what it does to who logs in is said by the name of the role."""

import base64
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proxy.protocols.postgres.messages import frame

SSL_REQUEST = 80877103
CANCEL_REQUEST = 80877102
OK = frame(b"R", struct.pack("!I", 0))
READY = frame(b"Z", b"I")
KEY = frame(b"K", struct.pack("!II", 4711, 42))
NOTICE = frame(b"N", b"SNOTICE\0C00000\0Mhello\0\0")


@dataclass
class HostileTarget:
    """``port`` listens on loopback; ``passwords`` are all PasswordMessages it was sent; ``cancels`` and
    ``accepted`` count; ``given`` are the cancel keys of those who came as ``namesake``, ``shown`` those of
    cancels."""

    secure: Callable[[socket.socket], socket.socket] | None
    smuggles: bool
    listening: socket.socket
    passwords: list[bytes] = field(default_factory=list)
    cancels: int = 0
    accepted: int = 0
    given: list[bytes] = field(default_factory=list)
    shown: list[bytes] = field(default_factory=list)
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listening.getsockname()[1])

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listening.accept()
                self.accepted += 1
                self._open.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, IndexError):
            code, body = self._packet(sock)
            if code == SSL_REQUEST:
                if self.smuggles:
                    sock.sendall(b"S" + OK + READY)
                if self.secure is None:
                    sock.sendall(b"N")
                    return
                sock.sendall(b"S")
                sock = self.secure(sock)
                self._open.append(sock)
                code, body = self._packet(sock)
            if code == CANCEL_REQUEST:
                self.cancels += 1
                self.shown.append(body[4:])
                sock.recv(1)  # never answered
                return
            role = body.split(b"\0")[1].decode()
            getattr(self, f"role_{role}")(sock)
            while sock.recv(4096):
                pass

    def _packet(self, sock: socket.socket) -> tuple[int, bytes]:
        length, code = struct.unpack("!II", exactly(sock, 8))
        return code, exactly(sock, length - 8)

    def _password(self, sock: socket.socket) -> bytes:
        head = exactly(sock, 5)
        body = exactly(sock, int.from_bytes(head[1:], "big") - 4)
        self.passwords.append(body)
        return body

    # -- roles ---------------------------------------------------------------------------------------------------

    def role_notices_first(self, sock: socket.socket) -> None:
        while True:
            sock.sendall(NOTICE * 100)

    def role_notices_after(self, sock: socket.socket) -> None:
        sock.sendall(OK)
        while True:
            sock.sendall(NOTICE * 100)

    def role_parameters(self, sock: socket.socket) -> None:
        sock.sendall(OK)
        while True:
            sock.sendall(frame(b"S", b"a\0" + b"x" * 29_000 + b"\0"))

    def role_huge(self, sock: socket.socket) -> None:
        sock.sendall(b"R" + struct.pack("!I", 2**31 - 1) + b"\0" * 4096)

    def role_tiny(self, sock: socket.socket) -> None:
        sock.sendall(b"R" + struct.pack("!I", 3) + b"\0" * 4096)

    def role_key_twice(self, sock: socket.socket) -> None:
        sock.sendall(OK + KEY * 2 + READY)

    def role_md5(self, sock: socket.socket) -> None:
        sock.sendall(frame(b"R", struct.pack("!I", 5) + b"salt"))
        self._password(sock)

    def role_cleartext(self, sock: socket.socket) -> None:
        sock.sendall(frame(b"R", struct.pack("!I", 3)))
        self._password(sock)

    def role_iterations(self, sock: socket.socket) -> None:
        self._challenge(sock, 2_000_000)

    def role_wrong_signature(self, sock: socket.socket) -> None:
        self._challenge(sock, 4096)
        self._password(sock)
        sock.sendall(frame(b"R", struct.pack("!I", 12) + b"v=" + base64.b64encode(b"x" * 32)) + OK + KEY + READY)

    def role_bare_error(self, sock: socket.socket) -> None:
        """CVE-2026-6666: an ErrorResponse without SQLSTATE."""
        sock.sendall(frame(b"E", b"\0"))

    def role_silent(self, sock: socket.socket) -> None:
        """Takes the connection and says nothing."""

    def role_never_ready(self, sock: socket.socket) -> None:
        sock.sendall(OK)

    def role_deaf(self, sock: socket.socket) -> None:
        """Lets anybody in, refuses to say who it is, and answers nothing else that is asked."""
        sock.sendall(OK + KEY + READY)
        self._password(sock)  # a Query, as any message
        self.passwords.pop()
        sock.sendall(frame(b"E", b"SERROR\0VERROR\0C42883\0Mno\0\0") + READY)

    def role_namesake(self, sock: socket.socket) -> None:
        """As every other of them, pid 4711; what it runs never ends."""
        self.given.append(b"k%03d" % len(self.given))
        sock.sendall(OK + frame(b"K", struct.pack("!I", 4711) + self.given[-1]) + READY)
        self._password(sock)
        self.passwords.pop()
        sock.sendall(frame(b"D", b"\0\1\0\0\0\x0b4711 17 177") + frame(b"C", b"SELECT 1\0") + READY)

    def _challenge(self, sock: socket.socket, iterations: int) -> None:
        sock.sendall(frame(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"))
        nonce = self._password(sock).split(b",r=")[1]
        text = b"r=" + nonce + b"theirs,s=" + base64.b64encode(b"salt" * 4) + b",i=%d" % iterations
        sock.sendall(frame(b"R", struct.pack("!I", 11) + text))


ROLES = tuple(name.removeprefix("role_") for name in vars(HostileTarget) if name.startswith("role_"))


@contextmanager
def hostile_target(
    certificate: tuple[Path, Path] | None = None, *, smuggles: bool = False
) -> Iterator[HostileTarget]:
    """One that listens; with ``certificate`` (PEM, key) it speaks TLS; ``smuggles``: it puts plaintext behind its
    S."""
    secure = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, certificate))
        secure = lambda sock: context.wrap_socket(sock, server_side=True)  # noqa: E731
    target = HostileTarget(secure, smuggles, socket.create_server(("127.0.0.1", 0)))
    accepting = threading.Thread(target=target.accept, daemon=True)
    accepting.start()
    try:
        yield target
    finally:
        target.stop()
        accepting.join(5)


def exactly(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        chunk = sock.recv(size - len(found))
        if not chunk:
            raise OSError("closed")
        found += chunk
    return found
