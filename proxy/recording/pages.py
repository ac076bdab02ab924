"""Pages of a recording: of its statements and its notes, each read from where the one before it ended.

What is remembered (``Index``, where pages ended, and statements that still ran) is only a shorter way: whatever was
forgotten is found again by the index, never by reading all that lies before. Used by the API in threads; a page of
one recording at a time.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from proxy.core.ports import Rows
from proxy.core.records import Note, Outcome, StatementPrepared, StatementStarted
from proxy.recording.index import Index
from proxy.recording.reader import Place, Recording, Timed
from proxy.recording.statements import Joined, Joiner

RECORDINGS_MOST = 16
"""Recordings that are remembered."""
PLACES_MOST = 64
"""Places in one of them."""
FOLLOWED_MOST = 4
"""Statements in a page that is taken up again where some of them ran: whoever watches asks for one by one."""


@dataclass(slots=True)
class Looking:
    """A page that is being put together: what is joined, by number, and the place up to which was read."""

    joiner: Joiner
    place: Place
    limit: int
    done: dict[int, Joined] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.done) + len(self.joiner.running)


@dataclass(slots=True)
class Remembered:
    """What is known of one recording. ``busy``: somebody makes a page of it."""

    index: Index = field(default_factory=Index)
    places: "OrderedDict[tuple[str, int], Place]" = field(default_factory=OrderedDict)
    looking: "OrderedDict[int, Looking]" = field(default_factory=OrderedDict)
    busy: Any = field(default_factory=threading.Lock)

    def keep(self, kind: str, number: int, place: Place) -> None:
        """Remember that ``number`` is followed by what is at ``place``."""
        _put(self.places, (kind, number), place)


def _put(kept: "OrderedDict[Any, Any]", key: object, value: object) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > PLACES_MOST:
        kept.popitem(last=False)


class Pages:
    """Of the recordings of one folder, by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Remembered] = OrderedDict()

    def statements(
        self, recording: Recording, session: str, rows: Rows, after: int, limit: int
    ) -> tuple[list[Joined], bool]:
        """At most ``limit`` statements that were sent after number ``after``, in the order they were sent, and
        whether the recording is truncated: it has no end, or that says so."""
        with self._of(recording) as known:
            looking = known.looking.pop(after, None)
            if looking is None or looking.limit != limit:
                looking = self._begun(recording, known, Joiner(session, rows), after, limit)
            beyond = self._join(recording, known, looking, after)
            running = {seq: opened.joined for seq, opened in looking.joiner.running.items()}
            if recording.end:
                running = {seq: each | {"outcome": Outcome.UNKNOWN.name.lower()} for seq, each in running.items()}
            elif running and len(looking) <= FOLLOWED_MOST:
                _put(known.looking, after, looking)
            found = looking.done | running
            if beyond is not None and found:
                known.keep("statements", max(found), beyond)
            known.index.refresh(recording)
            truncated = bool(recording.end.get("truncated", True)) if recording.end else known.index.truncated
            return [found[seq] for seq in sorted(found)], truncated

    def notes(self, recording: Recording, after: int, limit: int) -> list[Timed]:
        """At most ``limit`` notes but for the first ``after`` ones, oldest first."""
        with self._of(recording) as known:
            kept = known.places.get(("notes", after))
            counted, place = (after, _copy(kept)) if kept else (0, Place())
            found: list[Timed] = []
            for each in recording.records_from(place):
                if isinstance(each.record, Note):
                    counted += 1
                    if counted > after:
                        found.append(each)
                    if len(found) >= limit:
                        known.keep("notes", counted, place.after(each.number))
                        return found
            known.keep("notes", counted, _copy(place))
            return found

    def after(self, recording: Recording, number: int) -> Place:
        """A place from which the record behind ``number`` is found."""
        with self._of(recording) as known:
            place = known.places.get(("records", number))
            if place is not None:
                return _copy(place)
            known.index.refresh(recording)
            return known.index.frame(number + 1)

    def keep(self, recording: Recording, number: int, place: Place) -> None:
        """Remember ``place``, at which was read up to record ``number``."""
        with self._of(recording) as known:
            known.keep("records", number, place.after(number))

    # -- a page of statements

    def _begun(self, recording: Recording, known: Remembered, joiner: Joiner, after: int, limit: int) -> Looking:
        place = known.places.get(("statements", after))
        if place is None:
            known.index.refresh(recording)
            place = known.index.statement(recording, after + 1)
        return Looking(joiner, _copy(place), limit)

    def _join(self, recording: Recording, known: Remembered, looking: Looking, after: int) -> Place | None:
        """Read on until as many statements after ``after`` have ended as are wanted, or the recording has. The
        place of the first statement beyond them, None where none was seen."""
        joiner, place = looking.joiner, looking.place
        joiner.texts = lambda ref: self._text(recording, known, ref, place.next)
        beyond: Place | None = None
        for each in recording.records_from(place):
            record = each.record
            if isinstance(record, StatementStarted):
                if record.seq <= after:
                    continue
                if len(looking) >= looking.limit:
                    beyond = beyond or place.after(each.number - 1)
                    if not joiner.running:
                        return beyond
                    continue
            found = joiner.feed(each)
            if found is not None:
                looking.done[found[0]["seq"]] = found[0]
                if beyond is not None and not joiner.running:
                    return beyond
        return beyond

    def _text(self, recording: Recording, known: Remembered, ref: int, near: int) -> StatementPrepared | None:
        known.index.refresh(recording)
        return known.index.text(recording, ref, near)

    @contextmanager
    def _of(self, recording: Recording) -> Iterator[Remembered]:
        key = str(recording.path)
        with self._lock:
            known = self._kept.setdefault(key, Remembered())
            self._kept.move_to_end(key)
            while len(self._kept) > RECORDINGS_MOST:
                self._kept.popitem(last=False)
        with known.busy:
            try:
                yield known
            except BaseException:
                with self._lock:  # whatever it was, the next one looks afresh
                    self._kept.pop(key, None)
                raise


def _copy(place: Place) -> Place:
    """A place of its own, since reading moves it."""
    return Place(place.next, place.begun)
