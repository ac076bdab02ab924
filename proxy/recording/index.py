"""Where in a recording a frame, a statement or a prepared text is found, without reading what lies before it.

The heads of the chunks are read, 45 bytes each; what they hold is decoded only where the search comes by.
Statements are numbered in the order in which they were sent, so one is found by halving. A text that was prepared
is mostly near what runs it, or at the beginning. An index grows with its recording and is kept between two looks;
it believes the heads, and whoever reads from a place it gave checks the chain from there on. Used by ``pages``;
called by one thread at a time.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from proxy.core.records import Record, StatementPrepared, StatementStarted
from proxy.recording import codec, container
from proxy.recording.container import FIRST
from proxy.recording.reader import Place, Recording, frames_of

SPOTS_MOST = 8192
"""Of a longer recording every second, fourth … chunk is remembered."""
NEAR = 2
"""Remembered spots before a place that are looked through first for a text."""
TEXTS_MOST, TEXT_BYTES_MOST = 4096, 4 * 1024 * 1024
"""Prepared texts that are remembered, and their bytes."""


class Spot(NamedTuple):
    """A chunk: the number of its first frame, the byte where it begins, the running hash of all before it."""

    frame: int
    at: int
    before: bytes


class Index:
    """Of one recording. ``ended``: its end was seen. ``truncated``: what that says; True while there is none."""

    def __init__(self) -> None:
        self.ended = False
        self.truncated = True
        self._spots: list[Spot] = []
        self._every = 1
        self._seen = 0
        self._next = Spot(0, 0, FIRST)
        self._starts: dict[int, int] = {}
        self._texts: dict[int, StatementPrepared | None] = {}
        self._bytes = 0
        self._refs: list[tuple[int, int]] = []

    def refresh(self, recording: Recording) -> None:
        """Take in the chunks that were sealed since."""
        if self.ended:
            return
        with recording.open() as file:
            for head in container.heads(file, self._next.at, self._next.before):
                if head.type == container.END:
                    self.ended = True
                    self.truncated = bool(codec.decode_mapping(head.content(file)).get("truncated", True))
                else:
                    self._remember(Spot(head.first, head.at, head.before))
                self._next = Spot(head.first + 1, head.end, head.running)

    def _remember(self, spot: Spot) -> None:
        if self._seen % self._every == 0:
            self._spots.append(spot)
        self._seen += 1
        if len(self._spots) > SPOTS_MOST:
            self._spots = self._spots[::2]
            self._every *= 2
            self._starts.clear()
            self._refs.clear()

    def frame(self, number: int) -> Place:
        """A place from which the frame ``number`` is found."""
        return self._place(self._before(number), number)

    def statement(self, recording: Recording, seq: int) -> Place:
        """A place from which the first start of a statement is found that is numbered ``seq`` or more."""
        low, high = 0, len(self._spots)  # the last spot whose first statement is not beyond seq lies in between
        while low < high:
            middle = (low + high) // 2
            if self._first_start(recording, middle) <= seq:
                low = middle + 1
            else:
                high = middle
        return self._place(low - 1, 0)

    def text(self, recording: Recording, ref: int, near: int) -> StatementPrepared | None:
        """The text that was prepared as ``ref``, before frame ``near``; None where there is none."""
        if ref not in self._texts:
            found = self._near(recording, ref, near) or self._unsealed(recording, ref)
            self._remember_text(ref, found or self._from_the_beginning(recording, ref))
        return self._texts.get(ref)

    def _remember_text(self, ref: int, found: StatementPrepared | None) -> None:
        self._texts[ref] = found
        self._bytes += len(found.text) if found else 0
        while (self._bytes > TEXT_BYTES_MOST and len(self._texts) > 1) or len(self._texts) > TEXTS_MOST:
            gone = self._texts.pop(next(iter(self._texts)))
            self._bytes -= len(gone.text) if gone else 0

    def _place(self, spot: int, number: int) -> Place:
        if spot < 0:
            return Place(number)
        found = self._spots[spot]
        return Place(max(number, found.frame), (found.at, found.before))

    def _first_start(self, recording: Recording, spot: int) -> float:
        """The number of the first statement that starts at a spot or behind it; infinite where none does."""
        passed = []
        found: float = float("inf")
        for each in range(spot, len(self._spots)):
            if each in self._starts:
                found = self._starts[each]
                break
            passed.append(each)
            seq = next((r.seq for r in self._records(recording, each) if isinstance(r, StatementStarted)), None)
            if seq is not None:
                found = seq
                break
        if found != float("inf"):
            self._starts.update(dict.fromkeys(passed, int(found)))
        return found

    def _near(self, recording: Recording, ref: int, near: int) -> StatementPrepared | None:
        last = self._before(near)
        spots = range(last, max(last - NEAR, -1), -1)
        return next((found for each in spots if (found := self._prepared(recording, each, ref))), None)

    def _unsealed(self, recording: Recording, ref: int) -> StatementPrepared | None:
        records = () if self.ended else recording.tail()
        return next((r for _, _, r, _ in records if isinstance(r, StatementPrepared) and r.ref == ref), None)

    def _from_the_beginning(self, recording: Recording, ref: int) -> StatementPrepared | None:
        """Each chunk is looked through once for all texts; it is remembered between which numbers those are."""
        for spot, (least, most) in enumerate(self._refs):
            if least <= ref <= most and (found := self._prepared(recording, spot, ref)):
                return found
        while len(self._refs) < len(self._spots) - (not self.ended):  # the last one may still grow
            spot = len(self._refs)
            refs = [r.ref for r in self._records(recording, spot) if isinstance(r, StatementPrepared)]
            self._refs.append((min(refs, default=0), max(refs, default=-1)))
            if ref in refs:
                return self._prepared(recording, spot, ref)
        return None

    def _prepared(self, recording: Recording, spot: int, ref: int) -> StatementPrepared | None:
        records = self._records(recording, spot)
        return next((r for r in records if isinstance(r, StatementPrepared) and r.ref == ref), None)

    def _before(self, number: int) -> int:
        """The last spot that begins at frame ``number`` or before it; -1 where none does."""
        return bisect_right(self._spots, number, key=lambda spot: spot.frame) - 1

    def _records(self, recording: Recording, spot: int) -> Iterator[Record]:
        """What was written between a spot and the next one."""
        here = self._spots[spot]
        end = self._spots[spot + 1].at if spot + 1 < len(self._spots) else self._next.at
        with recording.open() as file:
            for chunk in container.chunks(file, here.at, here.before):
                if chunk.at >= end or chunk.type != container.FRAMES:
                    return
                for frame in frames_of(chunk):
                    if frame.kind not in (codec.HEADER, codec.END, codec.CLOCK):
                        yield codec.decode(frame.kind, frame.payload)
