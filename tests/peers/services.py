"""TCP services on loopback, in threads: what real programs and gateways are pointed at.

A connection's first line says what it is for: ``collect`` (answers ``got `` and all it was sent, once that has
ended), ``flood`` (sends for ever and reads nothing), ``half`` (sends a megabyte and resets), ``echo``.
"""

import contextlib
import hashlib
import http.server
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

CHUNK = 65_536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass
class Service:
    """``port`` it listens on; ``ends`` says how each connection ended: "end" or the error's name."""

    port: int = 0
    open: int = 0
    ends: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listening.accept()
                threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with self._lock:
            self.open += 1
        how = "end"
        try:
            self._answer(sock)
        except OSError as error:
            how = type(error).__name__
        finally:
            sock.close()
            with self._lock:
                self.open -= 1
                self.ends.append(how)

    def _answer(self, sock: socket.socket) -> None:
        word = b""
        while not word.endswith(b"\n"):
            byte = sock.recv(1)
            if not byte:
                return
            word += byte
        match word:
            case b"collect\n":
                got = b"".join(iter(lambda: sock.recv(CHUNK), b""))
                sock.sendall(b"got " + got)
            case b"digest\n":
                digest = hashlib.sha256()
                for chunk in iter(lambda: sock.recv(CHUNK), b""):
                    digest.update(chunk)
                sock.sendall(digest.hexdigest().encode())
            case b"flood\n":
                while True:
                    sock.sendall(bytes(CHUNK))
            case b"half\n":
                sock.sendall(bytes(1_000_000))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            case _:
                for chunk in iter(lambda: sock.recv(CHUNK), b""):
                    sock.sendall(chunk)


@contextmanager
def service() -> Iterator[Service]:
    """One that listens."""
    made = Service()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        made.port = int(listening.getsockname()[1])
        accepting = threading.Thread(target=made.serve, args=(listening,), daemon=True)
        accepting.start()
        try:
            yield made
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            accepting.join(5)


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"you asked for {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def web() -> Iterator[int]:
    """A web server's port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        serving.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            serving.join(5)
