"""A connection to the first of a target's addresses that answers. Used by ``session`` and by engines for lines of
their own; knows no protocol."""

import asyncio
import os
import socket
from typing import NamedTuple

from proxy.core.errors import Unreachable
from proxy.sessions.transport import Stream


class Reached(NamedTuple):
    """Where a connection went: ``host`` as it was named, which TLS asks for, and ``ip``, which the name stood for
    this time."""

    host: str
    port: int
    ip: str

    @property
    def again(self) -> tuple[str, int]:
        """Where to connect to for the same server: a name may stand for several."""
        return self.ip, self.port


async def connect(
    loop: asyncio.AbstractEventLoop, addresses: tuple[tuple[str, int], ...], patience: float
) -> tuple[Stream, Reached]:
    """A stream to the first address that answers, tried in order, and that address. Each has ``patience`` seconds.

    ``Unreachable`` when none does; the addresses go into its ``detail`` only.
    """
    problems: list[str] = []
    for host, port in addresses:
        try:
            async with asyncio.timeout(patience):
                sock, ip = await _connected(loop, host, port, patience)
        except (OSError, TimeoutError) as error:
            problems.append(f"{host}:{port}: {_what(error)}")
        else:
            return Stream(loop, sock), Reached(host, port, ip)
    raise Unreachable("the target does not answer", detail="; ".join(problems))


def _what(error: OSError) -> str:
    """The system's own words: asyncio's hide them behind a number."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or str(error) or "timed out"


async def _connected(
    loop: asyncio.AbstractEventLoop, host: str, port: int, patience: float
) -> tuple[socket.socket, str]:
    """A socket to the first of a name's addresses that answers, and that address. Each has its share of the time
    that is left, so that one which swallows everything leaves some to the next."""
    until = loop.time() + patience
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    problem = OSError("the name has no address")
    for index, (family, kind, proto, _, address) in enumerate(found):
        share = (until - loop.time()) / (len(found) - index)
        sock = None
        try:
            sock = socket.socket(family, kind, proto)
            sock.setblocking(False)
            async with asyncio.timeout(share):
                await loop.sock_connect(sock, address)
        except BaseException as error:
            if sock is not None:
                sock.close()
            if not isinstance(error, OSError):  # TimeoutError is one
                raise
            problem = error
        else:
            return sock, str(address[0])
    raise problem
