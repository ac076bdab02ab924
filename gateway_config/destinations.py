"""Where a connection may go through an SSH host: to a port of some host, to several or all of its ports, or to a
unix socket of the SSH host's own.

Written as ``host:port``, ``host:first-last``, ``host:*`` or ``unix:/path``. Used by ``ssh``; knows nothing of who
connects.
"""

import re
from dataclasses import dataclass

from gateway_config.values import Address, TextValue

PORT_MOST = 65535
PATH_MOST = 107
"""Bytes of a unix socket's path (unix(7): 108 with the NUL behind it)."""
_UNIX = "unix:"
_PORTS = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Destination(TextValue):
    """The ports from ``first`` to ``last`` of a host in lower case; or, where ``path`` is not "", that socket."""

    host: str
    first: int
    last: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"{_UNIX}{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        if (self.first, self.last) == (1, PORT_MOST):
            return f"{host}:*"
        return f"{host}:{self.first}" if self.first == self.last else f"{host}:{self.first}-{self.last}"

    @classmethod
    def parse(cls, text: str) -> "Destination":
        """``ValueError`` with advice where it is none."""
        if text.startswith(_UNIX):
            return cls("", 0, 0, _path(text.removeprefix(_UNIX)))
        if text.startswith("/"):
            raise ValueError(f'should be "{_UNIX}{text}", if it is a unix socket')
        host, colon, ports = text.rpartition(":")
        if not colon:
            raise ValueError(
                'should be "host:port", "host:first-last", "host:*" or "unix:/path", such as "db1.internal:5432" '
                'or "[::1]:8000-8999"'
            )
        if "*" in host or "?" in host:
            raise ValueError(
                "should have one host: there are no wildcards for hosts, so that all that is open is listed"
            )
        first, last = _ports(ports)
        address = Address.parse(f"{host}:{first}")
        if address.wildcard:
            raise ValueError("should have the host to connect to: this one means every interface")
        return cls(address.host.lower(), first, last)


def _ports(text: str) -> tuple[int, int]:
    if text == "*":
        return 1, PORT_MOST
    found = _PORTS.fullmatch(text) or re.fullmatch(r"(([0-9]{1,5}))", text)
    if found is None:
        raise ValueError('should have a port, a range of them ("8000-8999") or "*" behind the last colon')
    first, last = int(found[1]), int(found[2])
    if not 1 <= first <= PORT_MOST or not 1 <= last <= PORT_MOST:
        raise ValueError(f"should have ports from 1 to {PORT_MOST}")
    if first > last:
        raise ValueError(f"should have a range that begins with the lower port: {last}-{first}")
    return first, last


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("should have a socket's whole path, from / on: unix:/run/some.sock")
    if any(each in text for each in "*?["):
        raise ValueError("should be one socket's path: there are no wildcards, so that all that is open is listed")
    parts = text[1:].split("/")
    if not all(parts) or "." in parts or ".." in parts:
        raise ValueError("should be a path without //, /./, /../ and / at its end: it is compared as it is written")
    if not text.isprintable() or len(text.encode()) > PATH_MOST:
        raise ValueError(f"should be a path of printable signs and at most {PATH_MOST} bytes")
    return text
