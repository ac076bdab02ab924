"""Reads recordings, finished or live, in any process: sealed chunks first, then the windows not sealed yet.

A window may be sealed and deleted while it is being looked for; frames are numbered without gaps, so a reader sees
that and looks into the container again. Called by the API, replay and verification; never on the session path.
"""

import io
import itertools
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from proxy.core.records import Record
from proxy.recording import codec, container, places
from proxy.recording.container import FIRST, Altered, Chunk
from proxy.recording.frames import Frame, scan

LOOKS = 50
"""How often a reader goes back to the container before it believes that a frame is missing."""


class Timed(NamedTuple):
    """A record with its instant (epoch seconds), its offset from the recording's start (seconds) and its number:
    larger than those of all records before it."""

    at: float
    offset: float
    record: Record
    number: int = 0


@dataclass(frozen=True, slots=True)
class Verified:
    """What a whole look at a sealed recording found. ``problem`` is the first thing that is wrong, with its place
    in the file, "" when nothing is; ``digest`` the last running hash that follows (hex); ``end`` is empty where
    the recording has none (it is live, or was cut off)."""

    frames: int
    digest: str
    header: Mapping[str, Any]
    end: Mapping[str, Any]
    problem: str = ""


class Recording:
    """One recording, by key. ``header`` tells whose session it was. ``end`` is what its end says, once ``records``
    came there; empty for a live one. ``path`` is its container, which of a live one holds what is sealed so far.

    Errors: ``FileNotFoundError`` when there is none; ``Altered`` or ``Torn`` when it is not as it was written."""

    def __init__(self, root: Path, key: str) -> None:
        self.path = places.container(root, key)
        self.end: Mapping[str, Any] = {}
        self._root = root
        self._session = places.session_of(key)
        first = next(self._frames(Place()), None)
        if first is None:
            raise FileNotFoundError(key)
        if first.kind != codec.HEADER:
            raise Altered(0, "the header is missing")
        self.header: Mapping[str, Any] = codec.decode_mapping(first.payload)

    def records(self) -> Iterator[Timed]:
        """All records so far, in the order they were written. What comes before an error is good."""
        return self._timed(self._frames(Place()))

    def records_from(self, place: "Place") -> Iterator[Timed]:
        """The records from ``place`` on, which moves along."""
        return self._timed(self._frames(place))

    def tail(self) -> Iterator[Timed]:
        """Only what is not sealed yet: of a live session, the last records. Cheap however long the session is."""
        return self._timed(iter(self._unsealed()))

    def _unsealed(self) -> list[Frame]:
        """The frames of all windows as they stood together. One that is sealed while we read takes its frames
        along: a start without its end would look as if it ran, so then all are read anew."""
        for _ in range(LOOKS):
            windows = [_window(path) for path in places.windows(self._root, self._session)]
            found = [frame for each in windows for frame in each or ()]
            numbers = [frame.number for frame in found]
            if None not in windows and all(after == before + 1 for before, after in itertools.pairwise(numbers)):
                return found
        raise Altered(0, "the windows do not follow one another")

    def _timed(self, frames: Iterator[Frame]) -> Iterator[Timed]:
        for each in timed(self.header, frames):
            if isinstance(each, Timed):
                yield each
            else:
                self.end = each

    def _frames(self, place: "Place") -> Iterator[Frame]:
        for _ in range(LOOKS):
            ended = yield from self._sealed(place)
            if ended:
                return
            ended = yield from self._journal(place)
            if ended:
                return
        raise Altered(place.at, f"frame {place.next} is missing")

    def _sealed(self, place: "Place") -> Generator[Frame, None, bool]:
        """What the container holds beyond ``place``; True when its end was among that."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return False
        with file:
            for chunk in container.chunks(file, place.at, place.running):
                place.begun = place.at, place.running
                place.at, place.running = chunk.end, chunk.running
                for frame in frames_of(chunk):
                    if frame.number >= place.next:
                        place.next = frame.number + 1
                        yield frame
                    elif frame.kind == codec.CLOCK:  # each chunk has one: what comes behind it is timed by it
                        yield frame
                if chunk.type == container.END:
                    return True
        return False

    def _journal(self, place: "Place") -> Generator[Frame, None, bool]:
        """What the windows hold beyond ``place``; False when one was sealed meanwhile: the container has more."""
        paths = places.windows(self._root, self._session)
        place.begun = place.at, place.running
        for path in paths:
            frames = _window(path)
            if frames is None:
                return False
            for frame in frames:
                if frame.number > place.next:
                    return False
                if frame.number == place.next:
                    place.next += 1
                    yield frame
                elif frame.kind == codec.CLOCK:
                    yield frame
        return bool(paths) or self.size <= place.at

    def open(self) -> BinaryIO:
        """The container, to be read and closed by the caller; of a live recording what is sealed so far."""
        try:
            return self.path.open("rb")
        except FileNotFoundError:
            return io.BytesIO(container.MAGIC)

    @property
    def size(self) -> int:
        """Bytes of the container: of a live recording what is sealed so far."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0


class Place:
    """How far a reader has come: byte and running hash in the container, number of the next frame; ``begun``: byte
    and running hash where the chunk it reads begins."""

    __slots__ = ("at", "begun", "next", "running")

    def __init__(self, next: int = 0, begun: tuple[int, bytes] = (0, FIRST)) -> None:
        self.next = next
        self.at, self.running = self.begun = begun

    def after(self, number: int) -> "Place":
        """From where another look finds what follows frame ``number``, which was the last one read here."""
        return Place(number + 1, self.begun)


def timed(header: Mapping[str, Any], frames: Iterator[Frame]) -> Iterator[Timed | Mapping[str, Any]]:
    """The records of frames with their instants, and the end where it comes."""
    began = float(header["monotonic"])
    wall, at = float(header["wall"]), began
    for frame in frames:
        if frame.kind == codec.CLOCK:
            wall, at = codec.decode_clock(frame.payload)[0], frame.at
        elif frame.kind == codec.END:
            yield codec.decode_mapping(frame.payload)
        elif frame.kind != codec.HEADER:
            record = codec.decode(frame.kind, frame.payload)
            yield Timed(wall + frame.at - at, frame.at - began, record, frame.number)


def frames_of(chunk: Chunk) -> Iterator[Frame]:
    """The frames of a chunk; a header or an end counts as one. ``Altered`` when they are not what it says."""
    raw = chunk.raw()
    if chunk.type != container.FRAMES:
        kind = codec.HEADER if chunk.type == container.HEADER else codec.END
        yield Frame(kind, 0.0, chunk.first, raw, len(raw))
        return
    end, number = 0, chunk.first
    for frame in scan(raw):
        if frame.number != number:
            raise Altered(chunk.at, f"frame {number} is missing")
        end, number = frame.end, number + 1
        yield frame
    if end != len(raw):
        raise Altered(chunk.at, f"frame {number} is not whole")


def _window(path: Path) -> list[Frame] | None:
    """The whole frames of a window; None when it is gone: also when it went while it was read, and so may have been
    cleared, or be another session's by now."""
    try:
        frames = list(scan(path.read_bytes()))
    except FileNotFoundError:
        return None
    return frames if path.exists() else None


def verify(root: Path, key: str) -> Verified:
    """Go through a whole container: hashes, chunks, frames, and what its end says of them. That it is the recording
    of then, only its digest in the trail proves."""
    try:
        with places.container(root, key).open("rb") as file:
            return inspect(file)
    except FileNotFoundError:
        return Verified(0, "", {}, {}, "there is no such recording")


def inspect(file: BinaryIO) -> Verified:
    """``verify`` of an open container."""
    look = _Look()
    problem = ""
    try:
        for chunk in container.chunks(file):
            look.at(chunk)
        look.beyond(file)
    except Altered as error:
        problem = str(error)
    except codec.Torn as error:
        problem = f"at byte {look.place}: {error}"
    return Verified(look.frames, look.digest, look.header, look.end, problem)


class _Look:
    """What was seen of a container so far, up to byte ``place``."""

    def __init__(self) -> None:
        self.place = len(container.MAGIC)
        self.frames = 0
        self.digest = ""
        self.header: Mapping[str, Any] = {}
        self.end: Mapping[str, Any] = {}

    def at(self, chunk: Chunk) -> None:
        """The next chunk. ``Altered`` or ``Torn`` when it does not belong here."""
        if self.end:
            raise Altered(chunk.at, "something follows the end")
        if chunk.first != self.frames:
            raise Altered(chunk.at, f"frame {self.frames} is missing")
        for frame in frames_of(chunk):
            if frame.kind == codec.HEADER:
                self.header = codec.decode_mapping(frame.payload)
            elif frame.kind == codec.END:
                self.end = codec.decode_mapping(frame.payload)
            elif frame.kind != codec.CLOCK:
                codec.decode(frame.kind, frame.payload)
            self.frames += 1
        self.digest, self.place = chunk.running.hex(), chunk.end

    def beyond(self, file: BinaryIO) -> None:
        """What there is after the last whole chunk."""
        more = file.seek(0, 2) - self.place
        if not self.end:
            raise Altered(self.place, "the end is missing: it is live, or was cut off here")
        if more:
            raise Altered(self.place, f"{more} bytes follow the end")
        if self.end.get("frames") != self.frames - 1:
            raise Altered(self.place, f"the end speaks of {self.end.get('frames')} frames, not {self.frames - 1}")


def digest_of(root: Path, key: str) -> str | None:
    """The digest of a sealed recording; "" when it is not whole; None when there is none."""
    try:
        with places.container(root, key).open("rb") as file:
            found = inspect(file)
    except FileNotFoundError:
        return None
    return "" if found.problem else found.digest


def records_of(file: BinaryIO) -> tuple[Mapping[str, Any], Iterator[Timed]]:
    """(header, records) of a container that lies anywhere, as the API gives it. Errors as ``Recording``'s."""
    frames = (frame for chunk in container.chunks(file) for frame in frames_of(chunk))
    first = next(frames, None)
    if first is None or first.kind != codec.HEADER:
        raise Altered(0, "the header is missing")
    header = codec.decode_mapping(first.payload)
    return header, (each for each in timed(header, frames) if isinstance(each, Timed))
