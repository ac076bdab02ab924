"""A session's joined records told again: as text for people, JSON lines, or played in a terminal. Pure.

Works on the records as the API gives them, so it needs no recording at hand; the words of one statement are
``recording.replay``'s. Called by ``commands.watching``; ``casting`` makes asciicasts of the same.
"""

import base64
import heapq
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from proxy.cli.documents import json_text
from proxy.recording.replay import (
    LONGEST_PAUSE,
    QUIET,
    as_text,
    ending,
    named,
    note_as_text,
    pause,
    pauses,
    safe,
)
from proxy.recording.terminal import Lines, Screened

Record = Mapping[str, Any]


class Frame(NamedTuple):
    """``words`` are said ``wait`` seconds after the frame before."""

    wait: float
    words: str


class Pace(NamedTuple):
    """``speed`` 2 is twice as fast, 0 does not wait; no pause is longer than ``most`` seconds."""

    speed: float
    most: float


def text(
    session: Record,
    ran: Iterable[Record],
    speed: float,
    notes: Iterable[Record] = (),
    lines: Iterable[Record] = (),
    most: float = LONGEST_PAUSE,
) -> Iterator[Frame]:
    """Who and where, then every statement with what came of it, every note and every one of the ``lines`` of
    terminals between them, then how it ended. No pause is longer than ``most`` seconds."""
    yield Frame(0.0, opening(session))
    told = ({**each, "started": each["at"]} for each in notes if each["kind"] not in QUIET)
    for wait, each in pauses(heapq.merge(ran, told, lines, key=begun), speed, most):
        yield Frame(wait, _words(each) + "\n")
    if session["ended"]:
        yield Frame(0.0, closing(session))


def _words(record: Record) -> str:
    if "line" in record:
        return line_as_text(record)
    return note_as_text(record) if "kind" in record else as_text(record)


def line_as_text(line: Record) -> str:
    """A line that a terminal showed: it stands to the right of ours, so that it fakes none."""
    return f"    #{line['statement']} | {safe(line['line'])}"


class Shown:
    """The lines that terminals showed, of the bytes that were kept since ``began`` (ISO 8601)."""

    def __init__(self, began: str) -> None:
        self._began = datetime.fromisoformat(began)
        self._lines: dict[int, Lines] = {}
        self._at = 0.0

    def feed(self, kept: Record) -> Iterator[Record]:
        """The lines that this completes. What has no terminal has no lines: it may be anything."""
        self._at = kept["at"]
        if kept["kind"] == "resize":
            self._lines.setdefault(kept["statement"], Lines())
        elif kept["kind"] != "input" and kept["statement"] in self._lines:
            yield from self._told(kept["statement"], self._lines[kept["statement"]].feed(data_of(kept)))

    def rest(self) -> Iterator[Record]:
        """The last line of each, where it has no end."""
        for seq, lines in self._lines.items():
            yield from self._told(seq, lines.rest())

    def _told(self, seq: int, lines: list[str]) -> Iterator[Record]:
        at = (self._began + timedelta(seconds=self._at)).isoformat()
        return ({"statement": seq, "line": each, "started": at} for each in lines)


def json_lines(ran: Iterable[Record], speed: float, most: float = LONGEST_PAUSE) -> Iterator[Frame]:
    """One JSON object a statement, a line each."""
    for wait, each in pauses(ran, speed, most):
        yield Frame(wait, json_text(each) + "\n")


def terminal(statement: Record, kept: Iterable[Record], screened: Screened, pace: Pace) -> Iterator[Frame]:
    """What the terminal of a statement showed, at the pace it had; then how the statement ended. For a terminal
    that prints what it gets: lines end with CR LF. ``screened`` knows, whenever this is left, what to undo."""
    yield Frame(0.0, raw(safe(f"[{statement['started']}] {number(statement)}") + "\n"))
    previous: float | None = None
    for each in kept:
        wait = 0.0 if previous is None else pause(each["at"] - previous, pace.speed, pace.most)
        previous = each["at"]
        yield Frame(wait, screened.feed(data_of(each)) if each["kind"] in ("output", "errors") else "")
    yield Frame(
        0.0, screened.rest() + screened.leave() + raw(f"\n    #{statement['seq']} -> {ending(statement)}\n")
    )


def number(statement: Record) -> str:
    """Which statement, and what it is."""
    return f"#{statement['seq']} {named(statement)}"


def raw(words: str) -> str:
    """Our own words for a terminal that prints what it gets."""
    return words.replace("\n", "\r\n")


def data_of(kept: Record) -> bytes:
    """The bytes that were kept."""
    return base64.b64decode(kept["data"] or "")


def begun(record: Record) -> datetime:
    return datetime.fromisoformat(record["started"])


def opening(session: Record) -> str:
    who = f"{session['identity']} as {session['account']}@{session['resource']}"
    where = f"database {session['database']}, " if session["database"] else ""
    return safe(f"[{session['started']}] session {session['id']}: {who}, {where}from {session['source']}") + "\n"


def closing(session: Record) -> str:
    """How it ended; "" while it is live."""
    if not session["ended"]:
        return ""
    why = f": {session['detail']}" if session["detail"] else ""
    return safe(f"[{session['ended']}] ended, {session['end_reason']}{why}") + "\n"
