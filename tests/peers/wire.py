"""A client of the gateway that says what a test tells it to, byte by byte: for what no driver would send."""

import socket
import ssl

from scramp import ScramClient

from proxy.protocols.postgres import messages
from tests.peers.gateway import Gateway


class Wire:
    """A client that says what the test tells it."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        port: int | None = None,
        direct: bool = False,
        alpn: bool = True,
        source: str = "127.0.0.1",
    ) -> None:
        self.gateway = gateway
        self.sock: socket.socket = socket.create_connection(
            ("127.0.0.1", port or gateway.port), timeout=10, source_address=(source, 0)
        )
        if direct:
            self.secure(alpn)

    def secure(self, alpn: bool = True) -> None:
        context = ssl.create_default_context(cafile=str(self.gateway.ca))
        if alpn:
            context.set_alpn_protocols(["postgresql"])
        secured = context.wrap_socket(self.sock, server_hostname="localhost", do_handshake_on_connect=False)
        self.sock = secured
        secured.do_handshake()

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hear(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            chunk = self.sock.recv(size - len(found))
            if not chunk:
                break
            found += chunk
        return found

    def message(self) -> tuple[bytes, bytes]:
        head = self.hear(5)
        if len(head) < 5:
            return b"", b""
        return head[:1], self.hear(int.from_bytes(head[1:], "big") - 4)

    def until(self, kind: bytes) -> list[tuple[bytes, bytes]]:
        found = []
        while not found or found[-1][0] not in (kind, b""):
            found.append(self.message())
        return found

    def start(self, version: int = 3 << 16, **parameters: str) -> None:
        self.say(messages.startup_packet({"user": "readonly", "database": "shop", **parameters}, version))

    def close(self) -> None:
        self.sock.close()


def log_in(wire: Wire, token: str = "") -> tuple[int, bytes]:
    """(pid, key) of the session."""
    assert wire.message()[0] == b"R"
    wire.say(messages.password(token or wire.gateway.token()))
    for kind, body in wire.until(b"Z"):
        if kind == b"K":
            return int.from_bytes(body[:4], "big"), body[4:]
    raise AssertionError("no key")


def log_in_directly(wire: Wire, role: str = "readonly") -> list[tuple[bytes, bytes]]:
    """A server's own log-in, by SCRAM: all it says from AuthenticationOk to ReadyForQuery. ``wire`` is one to the
    port of the gateway's cluster."""
    client = ScramClient(["SCRAM-SHA-256"], role, wire.gateway.cluster.passwords[role])
    assert wire.message()[0] == b"R"
    wire.say(messages.sasl_initial_response("SCRAM-SHA-256", client.get_client_first().encode()))
    client.set_server_first(wire.message()[1][4:].decode())
    wire.say(messages.sasl_response(client.get_client_final().encode()))
    client.set_server_final(wire.message()[1][4:].decode())
    return wire.until(b"Z")
