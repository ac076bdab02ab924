"""Asciicasts: what players in terminals and pages take, versions 2 and 3 (docs.asciinema.org). Pure.

A cast holds its own times, so it is written at once. What a terminal showed is screened first
(``recording.terminal``): ``asciinema cat`` prints a cast as it is. Called by ``commands.watching``.
"""

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from proxy.cli.documents import json_text
from proxy.cli.replaying import Frame, Record, data_of, text
from proxy.recording.terminal import Screened

USUAL = (80, 24)
"""The size of a terminal that told none."""
LARGEST = 9999
TEXT_SIZE = (120, 36)


class Event(NamedTuple):
    """``at`` seconds from the start: ``o`` output, ``i`` input, ``r`` a size, ``x`` the exit status."""

    at: float
    code: str
    data: str


def of_text(session: Record, ran: Iterable[Record], notes: Iterable[Record], version: int) -> Iterator[Frame]:
    """What ``replaying.text`` tells of a session."""
    begun = datetime.fromisoformat(session["started"])
    return _cast(version, _title(session), begun, TEXT_SIZE, _told(text(session, ran, 1.0, notes)))


def of_terminal(session: Record, statement: Record, kept: Iterable[Record], version: int) -> Iterator[Frame]:
    """What one terminal showed, of the ``kept`` bytes and sizes of its statement."""
    begun = datetime.fromisoformat(statement["started"])
    size = sized(statement["terminal"])
    events = terminal_events(statement, kept)
    wanted = (each for each in events if each.code != "x" or version > 2)
    return _cast(version, f"{_title(session)} #{statement['seq']}", begun, size, wanted)


def terminal_events(statement: Record, kept: Iterable[Record]) -> Iterator[Event]:
    """Output, sizes but for the first, input where it was kept; at the end the exit status."""
    screened, typed = Screened(), codecs.getincrementaldecoder("utf-8")("replace")
    begin: float | None = None
    at, size = 0.0, sized(statement["terminal"])
    for each in kept:
        begin = each["at"] if begin is None else begin
        at = max(each["at"] - begin, at)
        if each["kind"] == "resize":
            if sized(each) != size:
                size = sized(each)
                yield Event(at, "r", f"{size[0]}x{size[1]}")
        elif each["kind"] == "input":
            if data := typed.decode(data_of(each)):
                yield Event(at, "i", data)
        elif words := screened.feed(data_of(each)):
            yield Event(at, "o", words)
    yield Event(at, "o", screened.rest() + screened.leave())
    status = re.fullmatch(r"exit (\d+)", statement["tag"] or "")
    if status:
        yield Event(max(at, (statement["duration_ms"] or 0) / 1000), "x", status[1])


def sized(terminal: Mapping[str, Any]) -> tuple[int, int]:
    """(columns, rows) that a player can make: clients tell 0, or anything."""
    found = int(terminal["columns"]), int(terminal["rows"])
    return found if all(0 < each <= LARGEST for each in found) else USUAL


def _title(session: Record) -> str:
    return f"{session['identity']} on {session['resource']}: {session['id']}"


def _told(frames: Iterable[Frame]) -> Iterator[Event]:
    at = 0.0
    for wait, words in frames:
        at += wait
        yield Event(at, "o", words.replace("\n", "\r\n"))


def _cast(
    version: int, title: str, begun: datetime, size: tuple[int, int], events: Iterable[Event]
) -> Iterator[Frame]:
    about: dict[str, Any] = {"timestamp": int(begun.timestamp()), "title": title}
    columns, rows = size
    terminal = {"width": columns, "height": rows} if version == 2 else {"term": {"cols": columns, "rows": rows}}
    yield Frame(0.0, json_text({"version": version, **terminal, **about}) + "\n")
    previous = 0.0
    for at, code, data in events:
        now = round(at, 6)
        # version 2 counts from the start, version 3 from the event before
        told = now if version == 2 else round(now - previous, 6)
        previous = now
        yield Frame(0.0, json_text([told, code, data]) + "\n")
