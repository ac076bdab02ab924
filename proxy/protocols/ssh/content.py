"""What was in a file that passed: sizes and SHA-256 of the runs of bytes a transfer is made of. Pure; fed by the
readers of transfers and by the engine.

A client of SFTP asks for many blocks before the first arrives, the server may answer in any order, and a client
may read or write anywhere, as often as it likes. Blocks that come too early wait (so many, so long); where the gap
before them does not close, a new run begins. Up to ``OPEN_MOST`` runs grow at a time, for several readers of one
file.
"""

import hashlib

from proxy.core.records import Content, Record
from proxy.protocols.ssh.statements import warning

Bytes = bytes | bytearray | memoryview

WAITING_BYTES = 4 * 1024 * 1024
WAITING_PIECES = 256
PIECE = 256
"""What a piece that waits takes besides its bytes."""
OPEN_MOST = 8
RUNS_MOST = 1000


class Hashed:
    """A run of bytes from ``offset`` on, without a gap; ``end`` is where the next one belongs."""

    __slots__ = ("_hash", "end", "offset")

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        self.end = offset
        self._hash = hashlib.sha256()

    @property
    def size(self) -> int:
        return self.end - self.offset

    def add(self, data: Bytes) -> None:
        self._hash.update(data)
        self.end += len(data)

    def content(self, seq: int, flow: int) -> Content:
        return Content(seq, flow, self.offset, self.end - self.offset, self._hash.hexdigest())


class Room:
    """What all files of a channel may keep waiting together: ``held`` bytes of memory now."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0


class Pieces:
    """One direction of one file: blocks with their offsets, in whatever order. ``size`` counts all bytes, those
    read or written twice as well."""

    __slots__ = ("_flow", "_last", "_open", "_room", "_runs", "_seq", "_tails", "_waiting", "size")

    def __init__(self, seq: int, flow: int, room: Room) -> None:
        self.size = 0
        self._seq = seq
        self._flow = flow
        self._room = room
        self._open: list[Hashed] = []  # the one that grew last is the last
        self._last: Hashed | None = None
        self._waiting: dict[int, bytearray] = {}
        self._tails: dict[int, int] = {}
        self._runs = 0

    def expect(self, offset: int) -> None:
        """The next block asked for is at ``offset``: where nothing came yet, the first run begins there."""
        if not self._runs:
            self._last = Hashed(offset)
            self._open.append(self._last)
            self._runs = 1

    def add(self, offset: int, data: Bytes) -> list[Record]:
        """A block, or a part of one; the records of runs that ended by it."""
        self.size += len(data)
        last = self._last
        if last is not None and last.end == offset and not self._waiting:
            last.add(data)
            return []
        return self._place(offset, data)

    def finish(self, opened: bool = True) -> list[Record]:
        """The records of all runs that are still open. A file of which nothing passed has one of no bytes, if it
        was ``opened``."""
        records: list[Record] = []
        for start in sorted(self._waiting):
            if start in self._waiting:  # it may have closed the gap before another
                self._release(start, records)
        runs = [run for run in self._open if run.size]
        if not runs and not self.size and opened:
            runs = [Hashed()]
        self._open.clear()
        self._last = None
        records += [run.content(self._seq, self._flow) for run in sorted(runs, key=lambda run: run.offset)]
        return records

    def _place(self, offset: int, data: Bytes) -> list[Record]:
        records: list[Record] = []
        run = next((run for run in reversed(self._open) if run.end == offset), None)
        if run is not None:
            self._grow(run, data)
        elif any(run.end < offset for run in self._open) and self._runs < RUNS_MOST:
            self._wait(offset, data, records)
        else:  # behind all of them: this was there before
            self._begin(offset, data, records)
        return records

    def _grow(self, run: Hashed, data: Bytes) -> None:
        run.add(data)
        while (piece := self._taken(run.end)) is not None:
            run.add(piece)
        if run is not self._last:
            self._open.remove(run)
            self._open.append(run)
            self._last = run

    def _begin(self, offset: int, data: Bytes, records: list[Record]) -> None:
        if self._runs >= RUNS_MOST:
            if self._runs == RUNS_MOST:
                self._runs += 1
                records.append(warning(self._seq, f"more than {RUNS_MOST} runs of bytes: the rest is only counted"))
            return
        self._runs += 1
        if len(self._open) >= OPEN_MOST:
            oldest = self._open.pop(0)
            if oldest.size:
                records.append(oldest.content(self._seq, self._flow))
        run = Hashed(offset)
        self._open.append(run)
        self._last = run
        self._grow(run, data)

    def _wait(self, offset: int, data: Bytes, records: list[Record]) -> None:
        start = self._tails.pop(offset, offset)
        if start == offset and offset in self._waiting:  # the same place again, before its turn
            self._release(offset, records)
        piece = self._waiting.get(start)
        if piece is None:
            piece = self._waiting[start] = bytearray()
            self._room.held += PIECE
        piece += data
        self._tails[start + len(piece)] = start
        self._room.held += len(data)
        while self._waiting and (self._room.held > WAITING_BYTES or len(self._waiting) > WAITING_PIECES):
            self._release(min(self._waiting), records)

    def _release(self, start: int, records: list[Record]) -> None:
        """The gap before this piece does not close: it begins a run."""
        piece = self._taken(start)
        if piece is not None:
            self._begin(start, piece, records)

    def _taken(self, start: int) -> bytearray | None:
        piece = self._waiting.pop(start, None)
        if piece is not None:
            self._room.held -= len(piece) + PIECE
            if self._tails.get(start + len(piece)) == start:
                del self._tails[start + len(piece)]
        return piece
