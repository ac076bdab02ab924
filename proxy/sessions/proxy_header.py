"""The PROXY protocol's header, version 1 (text) and 2 (binary): who the client behind a load balancer is.

Source: haproxy's doc/proxy-protocol.txt, sections 2.1 and 2.2. Read by the kernel before anything else of a
connection, and only from networks the operator named: whoever may send this header may claim to be anybody.
"""

import ipaddress
from collections.abc import Mapping

from proxy.core.errors import PeerError
from proxy.sessions.transport import Stream

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TEXT = b"PROXY "
TEXT_MOST = 107
"""Bytes of a whole version 1 header, its CRLF included."""
BINARY_MOST = 2048
"""Bytes after a version 2 header's length: addresses (36 at most of an internet family) and additions (TLVs)."""
LOCAL, PROXY = 0x20, 0x21
ADDRESSES: Mapping[int, tuple[int, int]] = {0x11: (4, 12), 0x12: (4, 12), 0x21: (16, 36), 0x22: (16, 36)}
"""Family and transport -> bytes of one address, bytes of both addresses and ports."""


async def announced(stream: Stream) -> str | None:
    """The address of the client that the header names, "" where it says that it does not know it; None where the
    proxy speaks for itself (a health check).

    Reads the header and nothing after it. ``PeerError`` (code ``protocol``) where there is none.
    """
    head = await stream.read_exactly(len(SIGNATURE))
    if head == SIGNATURE:
        command, family, high, low = await stream.read_exactly(4)
        length = high << 8 | low
        if length > BINARY_MOST:
            raise malformed()
        return named_in_binary(command, family, await stream.read_exactly(length))
    if not head.startswith(TEXT):
        raise malformed()
    while not head.endswith(b"\r\n"):
        if len(head) >= TEXT_MOST:
            raise malformed()
        head += await stream.read_exactly(1)
    return named_in_text(head)


def named_in_text(header: bytes) -> str:
    """The client of a whole version 1 header; "" for UNKNOWN."""
    try:
        words = header[:-2].decode("ascii").split(" ")
        if words[:2] == ["PROXY", "UNKNOWN"]:
            return ""
        signature, family, source, target, source_port, target_port = words
        kind = {"TCP4": ipaddress.IPv4Address, "TCP6": ipaddress.IPv6Address}[family]
        kind(target)
        if signature != "PROXY" or not all(0 <= int(port) <= 65535 for port in (source_port, target_port)):
            raise malformed()
        return str(kind(source))
    except (ValueError, KeyError):
        raise malformed() from None


def named_in_binary(command: int, family: int, body: bytes) -> str | None:
    """The client of a version 2 header; None for LOCAL, "" for families that are not the internet's."""
    if command == LOCAL:
        return None
    if command != PROXY:
        raise malformed()
    if family not in ADDRESSES:
        return ""
    size, least = ADDRESSES[family]
    if len(body) < least:
        raise malformed()
    return str(ipaddress.ip_address(body[:size]))


def malformed() -> PeerError:
    """What is wrong with every header that is not one."""
    return PeerError("expected a PROXY protocol header", code="protocol")
