"""Frames: how bodies lie one behind the other in a window, and in a chunk of the container. Pure.

A frame is its body's length and CRC-32 (both u32, little-endian), then the body (``codec.BODY`` and the record). A
length of zero, or a frame that is not whole, is the end: what a killed process leaves behind is a readable prefix.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from proxy.recording.codec import BODY

HEAD = struct.Struct("<II")
LONGEST = 256 * 1024 * 1024
"""Bytes of the longest body; a reader believes no larger one, a writer makes none."""


class Frame(NamedTuple):
    """``at`` is in monotonic seconds; a recording's frames are numbered from 0; ``end`` is where the next
    starts."""

    kind: int
    at: float
    number: int
    payload: bytes
    end: int


def framed(body: bytes) -> bytes:
    """The frame of a body. (``recorder`` does the same in place.)"""
    return HEAD.pack(len(body), zlib.crc32(body)) + body


def scan(data: bytes) -> Iterator[Frame]:
    """The frames from the start of ``data`` up to the first that is not whole."""
    at = 0
    while at + HEAD.size <= len(data):
        length, checksum = HEAD.unpack_from(data, at)
        at += HEAD.size
        body = data[at : at + length] if BODY.size <= length <= LONGEST else b""
        if len(body) != length or not body or zlib.crc32(body) != checksum:
            return
        at += length
        kind, _, instant, number = BODY.unpack_from(body)
        yield Frame(kind, instant, number, body[BODY.size :], at)
