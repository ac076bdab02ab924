"""A real gateway in front of TCP services, as its own processes: for end-to-end tests and benchmarks.

People and what they may ask for are those of ``tests.peers.gateway``; every service is a resource with the account
``any``. What eve sends and gets is kept whole.
"""

import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers.gateway import TLS, Gateway, certify, everyone, free_ports


@dataclass
class TcpGateway(Gateway):
    """A running gateway whose ``port`` is its TCP listener (TLS); ``plain_port`` takes tokens without TLS on
    loopback, ``strict_port`` would not. ``services``: resource -> port on loopback."""

    services: Mapping[str, int] = field(default_factory=dict)
    strict_port: int = 0

    def tcp_token(self, resource: str, user: str = "alice", grant: str | None = None) -> str:
        return self.token("any", user, grant, resource=resource)

    def tcp_grant(self, resource: str, user: str = "alice", seconds: int = 1800) -> str:
        return self.grant("any", user, seconds, resource=resource)

    def tls(self, port: int = 0) -> ssl.SSLSocket:
        """A TLS connection to the gateway that has said nothing yet."""
        context = ssl.create_default_context(cafile=str(self.ca))
        sock = socket.create_connection(("127.0.0.1", port or self.port), 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(sock, server_hostname="localhost")

    def tunnel(self, resource: str, token: str, *, port: int = 0) -> ssl.SSLSocket:
        """A connection to a resource."""
        sock = self.tls(port)
        sock.sendall(request(resource, token))
        head = read_head(sock)
        assert head.startswith(b"HTTP/1.1 200 "), head + sock.recv(4096)
        return sock


def request(resource: str, token: str, *, port: int = 0) -> bytes:
    return f"CONNECT {resource}:{port} HTTP/1.1\r\nProxy-Authorization: Bearer {token}\r\n\r\n".encode()


def read_head(sock: socket.socket) -> bytes:
    """An answer's head, and not a byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            break
        head += byte
    return head


@contextmanager
def tcp_gateway(
    services: Mapping[str, int],
    *,
    settings: Mapping[str, str] | None = None,
    extra: str = "",
    head: str = "",
    listen_port: int = 0,
) -> Iterator[TcpGateway]:
    """A gateway in front of ``services``; ``settings``, ``extra`` and ``head`` as for ``tests.peers.gateway``."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-"))
    port, plain, strict, api = free_ports(4)
    made = TcpGateway(
        folder,
        None,  # type: ignore[arg-type]
        listen_port or port,
        plain,
        api,
        False,
        head=head,
        services=services,
        strict_port=strict,
    )
    try:
        certify(folder)
        (folder / "gateway.toml").write_text(everyone(made, settings or {}) + _targets(made) + extra)
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _targets(made: TcpGateway) -> str:
    parts = [
        f'[[listeners]]\nname = "tcp"\nprotocol = "tcp"\naddress = "127.0.0.1:{made.port}"\n{TLS}',
        f'[[listeners]]\nname = "strict"\nprotocol = "tcp"\naddress = "127.0.0.1:{made.strict_port}"\n{TLS}',
        (
            f'[[listeners]]\nname = "plain"\nprotocol = "tcp"\naddress = "127.0.0.1:{made.plain_port}"\n'
            "require_tls = false"
        ),
        *(
            f'[[resources]]\nname = "{name}"\nprotocol = "tcp"\naddress = "127.0.0.1:{port}"'
            for name, port in made.services.items()
        ),
        _policy("taped", "user:eve") + "\nrecord_traffic = true",
        _policy("at-once", "group:engineers"),
    ]
    return "\n".join(parts) + "\n"


def _policy(name: str, who: str) -> str:
    return (
        f'[[policies]]\nname = "{name}"\nwho = ["{who}"]\nresources = ["*"]\naccounts = ["any"]\n'
        'max_duration = "1h"\napproval = "automatic"'
    )
