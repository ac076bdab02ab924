"""The little of the PostgreSQL protocol that the local side of ``connect`` speaks (manual, chapter 55.7). Pure.

It reads a client's first packet, says what a server says before a log-in is over, and changes the user. What comes
after the log-in is passed on unread.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
MAX_STARTUP = 10_004
MAX_MESSAGE = 65_536
CLEARTEXT = b"R" + struct.pack("!II", 8, 3)
OK = 0
CLEARTEXT_ASKED = 3


class Broken(Exception):
    """The peer does not speak the protocol. The text is for people and holds nothing the peer sent."""


@dataclass(frozen=True, slots=True)
class Startup:
    """A startup packet: ``version`` as on the wire, ``parameters`` in order."""

    version: int
    parameters: Mapping[str, str]

    def packed(self) -> bytes:
        text = "".join(f"{name}\0{value}\0" for name, value in self.parameters.items())
        body = struct.pack("!I", self.version) + text.encode() + b"\0"
        return struct.pack("!I", len(body) + 4) + body


def parse_startup(version: int, body: bytes) -> Startup:
    """``body`` is what follows the version: pairs of strings, and one zero byte."""
    try:
        pieces = body.decode().split("\0")
    except UnicodeDecodeError:
        raise Broken("the startup packet is not UTF-8") from None
    if version >> 16 != 3 or pieces[-2:] != ["", ""] or len(pieces) % 2 or "" in pieces[:-2:2]:
        raise Broken("that is no PostgreSQL startup packet")
    names = pieces[:-2:2]
    if len(set(names)) != len(names):
        raise Broken("a startup parameter is named twice")
    return Startup(version, dict(zip(names, pieces[1:-2:2], strict=True)))


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def password(text: str) -> bytes:
    """A PasswordMessage."""
    return message(b"p", text.encode() + b"\0")


def fatal(sqlstate: str, text: str, hint: str = "") -> bytes:
    """An ErrorResponse that ends the connection."""
    fields = {"S": "FATAL", "V": "FATAL", "C": sqlstate, "M": text, "H": hint}
    body = "".join(f"{name}{value}\0" for name, value in fields.items() if value)
    return message(b"E", body.replace("\n", " ").encode() + b"\0")
