"""The end of one direction over TLS, while the other goes on. Used by ``transport``; knows no protocol.

``SSLSocket.unwrap`` is no use for it: once it has said close_notify it looks for the peer's at once, and a record
of data that it finds in its place is thrown away (OpenSSL: "application data after close notify"). The peer may go
on sending for as long as it likes, so that would be a hole in its stream.
"""

import contextlib
import os
import socket
import ssl

NOTIFY_MOST = 4096
"""Bytes; a close_notify is 24 to 70."""


def close_notify(tls: ssl.SSLSocket) -> bytes:
    """The record that says to the peer of a non-blocking ``tls`` that nothing follows, for the caller to send. What
    the peer has sent stays unread.

    For the length of the call the descriptor is that of a socket from which nothing comes. ``OSError`` where that
    cannot be had, or TLS is not in a state to end.
    """
    descriptor = tls.fileno()
    inside, outside = socket.socketpair()
    with inside, outside:
        inside.setblocking(False)
        outside.setblocking(False)
        real = os.dup(descriptor)
        try:
            os.dup2(inside.fileno(), descriptor, inheritable=False)
            with contextlib.suppress(ssl.SSLWantReadError):  # it looked for the peer's, and found nothing
                _inner(tls).shutdown()
        finally:
            os.dup2(real, descriptor, inheritable=False)
            os.close(real)
        return outside.recv(NOTIFY_MOST)


def _inner(tls: ssl.SSLSocket) -> "ssl._ssl._SSLSocket":  # type: ignore[name-defined]
    """The TLS object below the socket: ``unwrap`` would take it away, and reading goes on."""
    return tls._sslobj  # type: ignore[attr-defined]
