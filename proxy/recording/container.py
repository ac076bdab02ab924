"""The sealed container: chunks that are only ever appended, each with the running hash of all before it.

Layout (little-endian): ``MAGIC``, then chunks of [u32 stored length][u32 raw length][u8 type][u32 number of its
first frame][32 bytes running hash][stored bytes]. Types: 1 header (JSON), 2 frames (one zstd frame), 3 end (JSON).
The running hash is SHA-256(previous hash, the four numbers, stored bytes), the first previous one SHA-256(MAGIC):
every byte of the file is covered, and nothing is decompressed that was altered. The last one is the recording's
digest.

Knows frames only as bytes with a first number. Called by ``sealer``, ``orphans`` and ``reader``.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import zstandard

from proxy.recording.frames import HEAD, LONGEST
from proxy.recording.syncing import make_folder

MAGIC = b"TIDEGATE-RECORDING-1\n"
NUMBERS = struct.Struct("<IIBI")
HASH = 32
CHUNK = NUMBERS.size + HASH
SUFFIX = ".tgr"
HEADER = 1
FRAMES = 2
END = 3
LEVEL = 1
FIRST = hashlib.sha256(MAGIC).digest()
LARGEST = LONGEST + 64 * 1024
"""No chunk is larger, stored or raw: a window holds more than ``window`` bytes only for one long frame."""


class Altered(Exception):
    """The recording is not as it was written: at which byte of its container, and what, in words."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__(f"at byte {at}: {what}")
        self.at = at
        self.what = what


class Chunk(NamedTuple):
    """One chunk, its hash checked. ``at`` and ``end`` are places in the file."""

    type: int
    first: int
    stored: bytes
    raw_length: int
    running: bytes
    at: int
    end: int

    def raw(self) -> bytes:
        """The bytes that were sealed. ``Altered`` when they cannot be had back."""
        if self.type != FRAMES:
            return self.stored
        try:
            # The size the frame claims is checked first: it decides how much memory is taken.
            if zstandard.frame_content_size(self.stored) != self.raw_length:
                raise Altered(self.at, "the chunk holds another length than it says")
            return zstandard.ZstdDecompressor().decompress(self.stored, max_output_size=self.raw_length)
        except zstandard.ZstdError as error:
            raise Altered(self.at, "the chunk cannot be decompressed") from error


def running_hash(previous: bytes, numbers: bytes, stored: bytes) -> bytes:
    """The hash that follows ``previous``."""
    return hashlib.sha256(previous + numbers + stored).digest()


def chunks(file: BinaryIO, at: int = 0, previous: bytes = FIRST) -> Iterator[Chunk]:
    """The chunks from byte ``at`` on, up to the first that is not all there. ``Altered`` names the first that does
    not follow from what stands before it."""
    if at == 0:
        file.seek(0)
        magic = file.read(len(MAGIC))
        if not MAGIC.startswith(magic):
            raise Altered(0, "this is not a recording")
        if len(magic) < len(MAGIC):  # being begun now, or cut off
            return
        at = len(MAGIC)
    file.seek(at)
    while len(head := file.read(CHUNK)) == CHUNK:
        numbers, running = head[: NUMBERS.size], head[NUMBERS.size :]
        stored_length, raw_length, kind, first = NUMBERS.unpack(numbers)
        if max(stored_length, raw_length) > LARGEST or kind not in (HEADER, FRAMES, END):
            raise Altered(at, "the chunk was altered: its head makes no sense")
        stored = file.read(stored_length)
        if len(stored) < stored_length:
            return
        if running_hash(previous, numbers, stored) != running:
            raise Altered(at, "the chunk was altered: its hash does not follow from what is there")
        end = at + CHUNK + stored_length
        yield Chunk(kind, first, stored, raw_length, running, at, end)
        at, previous = end, running


class Head(NamedTuple):
    """The head of a chunk as it stands there, unchecked: ``before`` and ``running`` are the running hashes of what
    is before its end and of all up to it."""

    type: int
    first: int
    at: int
    end: int
    before: bytes
    running: bytes

    def content(self, file: BinaryIO) -> bytes:
        """The stored bytes. ``Altered`` when they are not what the head says."""
        for chunk in chunks(file, self.at, self.before):
            return chunk.stored
        raise Altered(self.at, "the chunk is not whole")


def heads(file: BinaryIO, at: int = 0, before: bytes = FIRST) -> Iterator[Head]:
    """The heads of the chunks from byte ``at`` on, up to the first chunk that is not all there: what is between is
    not read."""
    at, size = at or len(MAGIC), file.seek(0, os.SEEK_END)
    while at + CHUNK <= size:
        file.seek(at)
        head = file.read(CHUNK)
        stored, raw, kind, first = NUMBERS.unpack(head[: NUMBERS.size])
        end = at + CHUNK + stored
        if end > size:
            return
        if max(stored, raw) > LARGEST or kind not in (HEADER, FRAMES, END):
            raise Altered(at, "the chunk was altered: its head makes no sense")
        yield Head(kind, first, at, end, before, head[NUMBERS.size :])
        at, before = end, head[NUMBERS.size :]


class Piece(NamedTuple):
    """A chunk to be: its ``frames`` are numbered from ``first`` on."""

    type: int
    first: int
    frames: int
    raw: bytes


class Container:
    """Appends to one container. After an error it refuses: a gap must not look like a whole."""

    __slots__ = ("_path", "_running", "_size", "broken", "ended", "next")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._running = FIRST
        self._size = 0
        self.next = 0
        self.broken = ""
        self.ended = False

    @property
    def path(self) -> Path:
        return self._path

    @property
    def digest(self) -> str:
        """The last running hash (hex)."""
        return self._running.hex()

    def resume(self) -> None:
        """Go on behind the last whole chunk of a file that a dead process left, if there is one; what is behind
        that was being appended when it died and is cut off. ``Altered`` when what is there was altered."""
        try:
            file = self._path.open("r+b")
        except FileNotFoundError:
            return
        with file:
            if len(file.read(len(MAGIC))) < len(MAGIC):
                self._path.unlink()
                return
            self._size = len(MAGIC)
            for chunk in chunks(file):
                self._follow(chunk)
            file.truncate(self._size)

    def _follow(self, chunk: Chunk) -> None:
        self._size, self._running = chunk.end, chunk.running
        self.ended = chunk.type == END
        self.next = chunk.first + (counted(chunk.raw()) if chunk.type == FRAMES else 1)

    def append(self, *pieces: Piece, compressor: zstandard.ZstdCompressor) -> None:
        """Put chunks behind the others. ``OSError`` leaves the file as it was before."""
        running = self._running
        parts = [b"" if self._size else MAGIC]
        for kind, first, _, raw in pieces:
            stored = compressor.compress(raw) if kind == FRAMES else raw
            numbers = NUMBERS.pack(len(stored), len(raw), kind, first)
            running = running_hash(running, numbers, stored)
            parts += (numbers, running, stored)
        self._write(b"".join(parts))
        last = pieces[-1]
        self._running = running
        self.next = last.first + last.frames
        self.ended = last.type == END

    def _write(self, data: bytes) -> None:
        if not self._size:
            make_folder(self._path.parent)
        make = 0 if self._size else os.O_CREAT | os.O_EXCL
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | make, 0o600)
        try:
            _write_all(descriptor, data, self._size)
        except BaseException as error:
            self.broken = str(error)
            os.ftruncate(descriptor, self._size)
            raise
        finally:
            os.close(descriptor)
        self._size += len(data)


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(descriptor, left, at)
        left, at = left[written:], at + written


def counted(raw: bytes) -> int:
    """How many frames lie in a chunk that was sealed."""
    at = count = 0
    while at + HEAD.size <= len(raw):
        at += HEAD.size + HEAD.unpack_from(raw, at)[0]
        count += 1
    return count


def as_json(value: Mapping[str, Any]) -> bytes:
    """A header or an end as it is stored."""
    return json.dumps(value, sort_keys=True).encode()
