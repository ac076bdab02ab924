"""Who stands between the gateway and a target and ends TLS himself: with a certificate the gateway trusts, but not
the target's. He may take the offer of SCRAM-SHA-256-PLUS out of what the target says.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proxy.protocols.postgres.messages import SSL_REQUEST, authentication_sasl
from tests.peers.hostile_target import exactly


@dataclass
class Middle:
    """Listens on ``port`` and carries every connection to ``target`` on loopback; ``secure``: over TLS."""

    target: int
    secure: bool
    strips: bool
    context: ssl.SSLContext
    listening: socket.socket
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listening.getsockname()[1])

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listening.accept()
                self._open.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for sock in self._open:
            _end(sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            assert exactly(sock, 8) == SSL_REQUEST
            sock.sendall(b"S")
            client = self.context.wrap_socket(sock, server_side=True)
            server = self._dial()
            self._open += [client, server]
            threading.Thread(target=_carry, args=(client, server), daemon=True).start()
            if self.strips:
                _strip(server, client)
            _carry(server, client)

    def _dial(self) -> socket.socket:
        server = socket.create_connection(("127.0.0.1", self.target))
        if not self.secure:
            return server
        server.sendall(SSL_REQUEST)
        assert exactly(server, 1) == b"S"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(server)


def _strip(server: socket.socket, client: socket.socket) -> None:
    """Pass the target's first message on, as if it did not know channel binding."""
    head = exactly(server, 5)
    body = exactly(server, int.from_bytes(head[1:], "big") - 4)
    if b"SCRAM-SHA-256-PLUS\0" in body:
        client.sendall(authentication_sasl(["SCRAM-SHA-256"]))
    else:
        client.sendall(head + body)


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65_536):
            sink.sendall(chunk)
    _end(source)
    _end(sink)


def _end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


@contextmanager
def middle(
    certificate: tuple[Path, Path], target: int, *, secure: bool = True, strips: bool = False
) -> Iterator[Middle]:
    """One that listens, with ``certificate`` (PEM, key)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, certificate))
    standing = Middle(target, secure, strips, context, socket.create_server(("127.0.0.1", 0)))
    accepting = threading.Thread(target=standing.accept, daemon=True)
    accepting.start()
    try:
        yield standing
    finally:
        standing.stop()
        accepting.join(5)
