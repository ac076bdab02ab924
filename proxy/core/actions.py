"""What a session asks to do; the input of decisions made while it lives."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Connect:
    """Open the session itself."""

    database: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """Run SQL text (already redacted)."""

    text: str


@dataclass(frozen=True, slots=True)
class Exec:
    command: str


@dataclass(frozen=True, slots=True)
class Shell:
    terminal: str = ""


@dataclass(frozen=True, slots=True)
class Transfer:
    path: str
    upload: bool


@dataclass(frozen=True, slots=True)
class Tunnel:
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SocketTunnel:
    """A connection to a unix socket of the target's, by its path."""

    path: str


Action = Connect | Statement | Exec | Shell | Transfer | Tunnel | SocketTunnel
