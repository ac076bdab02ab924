"""This machine's recordings for the API: ``services.RecordingReader`` over the folder of recordings.

Built by the composition root. Plain functions that read files; the API calls them in threads. What an altered or
half-written file gives is an error that names no path.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TypeVar

from proxy.api.services import Kept, KeptPage, Noted, Ran
from proxy.api.shapes.sessions import Running
from proxy.core.errors import Unavailable
from proxy.core.ports import Rows
from proxy.core.records import Content, Flow, Note, Passed, Resized, StatementStarted
from proxy.core.sessions import SessionRecord
from proxy.recording.codec import Torn
from proxy.recording.container import SUFFIX, Altered
from proxy.recording.pages import Pages
from proxy.recording.reader import Place, Recording, Timed, digest_of
from proxy.recording.statements import Joined, Joiner

T = TypeVar("T")

LOOKED_THROUGH_MOST = 2 * 1024 * 1024
"""Bytes of a live recording's container that are read to tell what runs now: a glance must stay one."""
PAGE_BYTES = 1024 * 1024
"""Bytes of what was kept in one page. One record holds no more."""
PASSED_OVER = 64 * 1024 * 1024
"""Bytes of other statements that are looked through for a page of one statement."""
SHELL = "shell"
"""A statement that has no text."""


class FolderRecordings:
    """``rows``: protocol -> how what it keeps raw is decoded (``statements.NoRows`` where it keeps nothing so)."""

    def __init__(self, root: Path, rows: Mapping[str, Rows]) -> None:
        self._root = root
        self._rows = rows
        self._pages = Pages()

    def statements(self, session: SessionRecord, after: int, limit: int) -> Ran | None:
        def look(recording: Recording) -> Ran:
            rows = self._rows[session.protocol]
            items, truncated = self._pages.statements(recording, session.id, rows, after, limit)
            return Ran(items, truncated=truncated)

        return self._looked(session, look)

    def running(self, session: SessionRecord, at: float | None = None) -> Running | None:
        rows = self._rows.get(session.protocol)
        if rows is None:
            return None
        found = self._looked(session, lambda recording: runs_now(session, recording, rows))
        if found is None and at is not None:
            return self._looked(session, lambda recording: ran_at(session, recording, rows, at))
        return found

    def notes(self, session: SessionRecord, after: int, limit: int) -> Sequence[Noted] | None:
        def look(recording: Recording) -> list[Noted]:
            return list(noted(self._pages.notes(recording, after, limit)))

        return self._looked(session, look)

    def output(self, session: SessionRecord, after: int, limit: int, statement: int = 0) -> KeptPage | None:
        def look(recording: Recording) -> KeptPage:
            place = self._pages.after(recording, after)
            found = page_of(recording, place, after, limit, statement)
            self._pages.keep(recording, found.reached, place)
            return found

        return self._looked(session, look)

    def digest(self, key: str) -> str | None:
        try:
            return digest_of(self._root, key) if key else None
        except OSError as error:
            raise Unavailable("a recording cannot be read", detail=f"{key}: {error}") from None

    def sealed(self) -> Iterator[tuple[str, float]]:
        for file in self._root.glob(f"[0-9]*/[0-9]*/[0-9]*/*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile, its time was up
                key = file.relative_to(self._root).as_posix().removesuffix(SUFFIX)
                yield key, file.stat().st_mtime

    def silent(self, key: str) -> bool:
        try:
            records = Recording(self._root, key).records()
            return not any(isinstance(each.record, (StatementStarted, Passed, Content)) for each in records)
        except (Altered, Torn, ValueError, KeyError, OSError):
            return False

    def open(self, session: SessionRecord) -> BinaryIO | None:
        return self._looked(session, lambda recording: recording.open())

    def _looked(self, session: SessionRecord, look: Callable[[Recording], T]) -> T | None:
        """What ``look`` gives; None where there is no recording here. ``Unavailable``: it cannot be believed."""
        if not session.recording or session.protocol not in self._rows:
            return None
        try:
            return look(Recording(self._root, session.recording))
        except FileNotFoundError:
            return None
        except (Altered, Torn, ValueError, KeyError) as error:
            raise Unavailable(
                "the recording has been altered or is damaged",
                hint="verify it, and look at the trail for who could",
                code="recording_altered",
                detail=f"{session.recording}: {error}",
            ) from None
        except OSError as error:
            raise Unavailable("the recording cannot be read", detail=f"{session.recording}: {error}") from None


def page_of(recording: Recording, place: Place, after: int, limit: int, statement: int) -> KeptPage:
    """What was kept from ``place`` on, up to a page's bounds."""
    items: list[Kept] = []
    shown = passed_over = 0
    began = float(recording.header["wall"])
    for each in recording.records_from(place):
        kept = kept_of(each)
        size = len(kept.data or b"") if kept else 0
        if kept is not None and statement in (0, kept.statement):
            if items and (shown + size > PAGE_BYTES or len(items) == limit):
                return KeptPage(items, each.number - 1, True, began)
            items.append(kept)
            shown += size
        else:
            passed_over += size
            if passed_over > PASSED_OVER:
                return KeptPage(items, each.number, True, began)
    return KeptPage(items, max(after, place.next - 1), False, began)


def kept_of(timed: Timed) -> Kept | None:
    """What a record keeps of a terminal or of bytes, if it does."""
    match timed.record:
        case Passed(seq, flow, data):
            return Kept(timed.number, timed.offset, seq, Flow(flow).name.lower(), data)
        case Resized(seq, columns, rows):
            return Kept(timed.number, timed.offset, seq, "resize", columns=columns, rows=rows)
    return None


def runs_now(session: SessionRecord, recording: Recording, rows: Rows) -> Running | None:
    """What was started and has no answer.

    Mostly the records that are not sealed yet tell, however long the session is. Where they do not (what runs was
    started before them, or names a text that was prepared before them) all of a recording is looked through, if it
    is not too long for a glance.
    """
    joiner, ended, goes_on = Joiner(session.id, rows), False, 0
    for each in recording.tail():
        ended |= joiner.feed(each) is not None
        if isinstance(each.record, Passed):
            goes_on = each.record.seq
    first = joiner.first()
    if first is not None and (first.joined["text"] or first.joined["protocol"] == SHELL):
        return told(first.joined)
    if (first is None and ended) or recording.size > LOOKED_THROUGH_MOST:
        return began_early(session, recording, rows, goes_on) if first is None and not ended else None
    joiner = Joiner(session.id, rows)
    for each in recording.records():
        joiner.feed(each)
    first = joiner.first()
    return told(first.joined) if first is not None else None


def began_early(session: SessionRecord, recording: Recording, rows: Rows, seq: int) -> Running | None:
    """Statement ``seq``, of which bytes pass now, if it was among the first of a long recording: as a shell is."""
    joiner, looked_through = Joiner(session.id, rows), 0
    for each in recording.records() if seq else ():
        joiner.feed(each)
        if seq in joiner.running:
            return told(joiner.running[seq].joined)
        looked_through += len(each.record.data) if isinstance(each.record, Passed) else 0
        if looked_through > LOOKED_THROUGH_MOST:
            break
    return None


def ran_at(session: SessionRecord, recording: Recording, rows: Rows, at: float) -> Running | None:
    """What ran at an instant (epoch seconds) and may have been over soon after: a cut takes milliseconds."""
    if recording.size > LOOKED_THROUGH_MOST:
        return None
    joiner, began = Joiner(session.id, rows), float(recording.header["wall"])
    for each in recording.records():
        found = joiner.feed(each)
        if found is not None:
            running = told(found[0])
            if running.started <= at <= began + found[1]:
                return running
    return None


def told(joined: Joined) -> Running:
    started = datetime.fromisoformat(joined["started"]).timestamp()
    return Running(seq=joined["seq"], text=joined["text"] or joined["protocol"], started=started)


def noted(records: Iterable[Timed]) -> Iterator[Noted]:
    for each in records:
        if isinstance(each.record, Note):
            yield Noted(each.at, each.record.kind, dict(each.record.data))
