"""Packets of SFTP for the tests, and a talk through a reader that keeps what came of it."""

import itertools
import struct
from collections.abc import Iterable

from proxy.core.records import Outcome, Record, StatementFinished, StatementStarted
from proxy.core.steps import Close, Forward, Observe, Reply, Side, Step
from proxy.protocols.ssh import sftp_packets as packets
from proxy.protocols.ssh.sftp import SftpReader

CLIENT, TARGET = Side.CLIENT, Side.TARGET
Turn = tuple[Side, bytes]


def u32(value: int) -> bytes:
    return struct.pack("!I", value)


def u64(value: int) -> bytes:
    return struct.pack("!Q", value)


def text(value: bytes) -> bytes:
    return u32(len(value)) + value


def packet(kind: int, request: int, *inside: bytes) -> bytes:
    body = bytes((kind,)) + u32(request) + b"".join(inside)
    return u32(len(body)) + body


INIT = packet(packets.INIT, 3)
VERSION = packet(packets.VERSION, 3, text(b"posix-rename@openssh.com"), text(b"1"))
HELLO: list[Turn] = [(CLIENT, INIT), (TARGET, VERSION)]


def opening(request: int, path: bytes, flags: int) -> bytes:
    return packet(packets.OPEN, request, text(path), u32(flags), u32(0))


def read(request: int, handle: bytes, offset: int, size: int) -> bytes:
    return packet(packets.READ, request, text(handle), u64(offset), u32(size))


def write(request: int, handle: bytes, offset: int, data: bytes) -> bytes:
    return packet(packets.WRITE, request, text(handle), u64(offset), text(data))


def closing(request: int, handle: bytes) -> bytes:
    return packet(packets.CLOSE, request, text(handle))


def on(kind: int, request: int, *paths: bytes) -> bytes:
    return packet(kind, request, *map(text, paths))


def extended(request: int, name: bytes, *inside: bytes) -> bytes:
    return packet(packets.EXTENDED, request, text(name), *inside)


def handle(request: int, value: bytes) -> bytes:
    return packet(packets.HANDLE, request, text(value))


def data(request: int, value: bytes) -> bytes:
    return packet(packets.DATA, request, text(value))


def status(request: int, code: int = 0, message: bytes = b"said") -> bytes:
    return packet(packets.STATUS, request, u32(code), text(message), text(b"en"))


def name(request: int, *names: bytes) -> bytes:
    return packet(packets.NAME, request, u32(len(names)), *(text(each) + text(b"long") + u32(0) for each in names))


def cut(turns: list[Turn], sizes: list[int]) -> list[Turn]:
    """The same bytes in pieces of these sizes, again and again."""
    turn = itertools.cycle(sizes)
    pieces: list[Turn] = []
    for side, chunk in turns:
        position = 0
        while position < len(chunk):
            size = next(turn)
            pieces.append((side, chunk[position : position + size]))
            position += size
    return pieces


class Talk:
    """A reader that is told turns; ``passed`` and ``replies`` by side, the records in order."""

    def __init__(self, turns: Iterable[Turn] = ()) -> None:
        self.reader = SftpReader(itertools.count(1).__next__)
        self.records: list[Record] = []
        self.passed = {CLIENT: bytearray(), TARGET: bytearray()}
        self.to_client = bytearray()
        self.closed = ""
        self.say(turns)

    def say(self, turns: Iterable[Turn]) -> "Talk":
        for side, chunk in turns:
            self.take(side, self.reader.feed(side, chunk))
        return self

    def take(self, side: Side, steps: Iterable[Step]) -> None:
        for step in steps:
            assert not self.closed, "something after Close"
            if isinstance(step, Observe):
                self.records.append(step.record)
            elif isinstance(step, Forward):
                assert step.data, "a Forward of nothing"
                self.passed[side] += step.data
                if side is TARGET:
                    self.to_client += step.data
            elif isinstance(step, Reply):
                self.to_client += step.data
            else:
                assert isinstance(step, Close)
                self.closed = step.detail

    @property
    def began(self) -> list[bytes]:
        return [each.text for each in self.records if isinstance(each, StatementStarted)]

    @property
    def ended(self) -> list[tuple[int, Outcome, bytes, bytes]]:
        return [
            (each.seq, Outcome(each.outcome), each.tag, each.error)
            for each in self.records
            if isinstance(each, StatementFinished)
        ]
