"""Seals what processes that died left in the journal: every whole frame is kept, the end says where it was cut.

Runs at start, before sessions are admitted; called by ``recorder``. Several processes may do it at once: one does,
the others wait. A folder whose owner lives is never touched.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import zstandard

from proxy.recording import codec, locks, places
from proxy.recording.container import END, LEVEL, Altered, Container, Piece, as_json
from proxy.recording.frames import Frame, scan
from proxy.recording.sealer import add
from proxy.recording.syncing import Disk


class Orphan(NamedTuple):
    """A recording that was sealed for a dead process; ``digest`` is "" where it could not be: its windows are
    kept."""

    session: str
    key: str
    digest: str


def seal_dead(root: Path, alive: Callable[[str], bool]) -> list[Orphan]:
    """Seal all recordings of dead processes but those of sessions that are ``alive`` all the same."""
    sealed: list[Orphan] = []
    with locks.sealing(root):
        for owner in places.owners(root):
            with locks.dead(owner) as dead:
                if dead:
                    sealed += _seal_owner(root, owner, alive)
    return sealed


def _seal_owner(root: Path, owner: Path, alive: Callable[[str], bool]) -> list[Orphan]:
    found = {session: paths for session, paths in places.windows_in(owner).items() if not alive(session)}
    sealed = [orphan for session, paths in found.items() if (orphan := _seal(root, session, paths)) is not None]
    good = [each for each in sealed if each.digest]
    Disk(root).sync([places.container(root, each.key) for each in good])
    kept = {each.session for each in sealed if not each.digest}
    for session, paths in found.items():
        for path in paths if session not in kept else ():
            path.unlink()
    if not places.windows_in(owner):
        shutil.rmtree(owner)
    return sealed


def _seal(root: Path, session: str, paths: list[Path]) -> Orphan | None:
    """One recording; None when not even its first frame was written: then nobody was told that it exists."""
    key = ""
    try:
        journal = [(data, list(scan(data))) for data in (path.read_bytes() for path in paths)]
        key = next((_key(frames[0]) for _, frames in journal if frames), "")
        if not key:
            return None
        container = Container(places.container(root, key))
        container.resume()
        if not container.ended:
            _seal_frames(container, journal)
    except (OSError, Altered, ValueError):
        return Orphan(session, key, "")
    return Orphan(session, key, container.digest)


def _key(first: Frame) -> str:
    if first.kind == codec.HEADER:
        return str(codec.decode_mapping(first.payload)["key"])
    return codec.decode_clock(first.payload)[1]


def _seal_frames(container: Container, journal: list[tuple[bytes, list[Frame]]]) -> None:
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    for data, frames in journal:
        run = list(_following(frames, container.next))
        end = next((each for each in run if each.kind == codec.END), None)
        kept = [each for each in run if each.kind != codec.END]
        if kept:
            begin = _begin(frames, kept[0])
            add(container, data[begin : kept[-1].end], kept[0].number, len(kept), compressor)
        if end is not None:
            _finish(container, end.payload, compressor)
            return
    _finish(container, as_json({"truncated": True, "frames": container.next}), compressor)


def _finish(container: Container, end: bytes, compressor: zstandard.ZstdCompressor) -> None:
    container.append(Piece(END, container.next, 1, end), compressor=compressor)


def _following(frames: list[Frame], expected: int) -> Iterator[Frame]:
    """Those from frame number ``expected`` on, as long as none is missing."""
    for frame in frames:
        if frame.number == expected:
            yield frame
            expected += 1


def _begin(frames: list[Frame], frame: Frame) -> int:
    """Where a frame begins: where the one before it ends."""
    index = frames.index(frame)
    return frames[index - 1].end if index else 0
