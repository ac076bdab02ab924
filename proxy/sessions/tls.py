"""What is peculiar to TLS sockets of the standard library. Used by ``transport`` only."""

import socket
import ssl
from collections.abc import Callable
from typing import Any


def shortest(secured: ssl.SSLSocket) -> tuple[Callable[[], int], Callable[..., bytes], Callable[[Any], int]]:
    """``pending``, ``recv`` and ``send`` by the TLS object itself: those of the socket are two Python frames around
    each, a twentieth of what a query costs."""
    inner = getattr(secured, "_sslobj", None)
    return (
        getattr(inner, "pending", secured.pending),
        getattr(inner, "read", secured.recv),
        getattr(inner, "write", secured.send),
    )


def what_it_was(error: Exception | None, sock: socket.socket) -> Exception | None:
    """How a line ended: None for an end that was said, also where TLS makes an error of it. Until Python 3.12
    it calls a reset an end; only after a reset there is no peer any more."""
    if isinstance(error, ssl.SSLZeroReturnError):  # what EOF is called when our own has been said
        return None
    if isinstance(error, ssl.SSLEOFError):
        try:
            sock.getpeername()
        except OSError:
            return ConnectionResetError("the connection was reset")
    return error
