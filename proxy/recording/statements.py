"""Joins what a recording keeps in pieces into one record per statement: text, values, rows, duration, outcome.

The shape is the one users are promised (see ``joined``). Values are decoded through ``core.ports.Rows``, the
protocol's own, given by the caller. Called by the API's reader and by replay.
"""

import base64
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from proxy.core.ports import Rows
from proxy.core.records import (
    Content,
    Flow,
    Note,
    Outcome,
    Parameter,
    Resized,
    ResultRows,
    StatementAnswered,
    StatementFinished,
    StatementPrepared,
    StatementStarted,
    Via,
)
from proxy.recording.reader import Timed

Joined = dict[str, Any]
UNDECODABLE = (ValueError, TypeError, LookupError, ArithmeticError, struct.error)
"""What a decoder may raise for bytes that are not what their type says: a client may send any."""


@dataclass(slots=True)
class Open:
    """A statement that was started: its record so far; when it began and, where that is known, was answered
    (seconds from the recording's start)."""

    joined: Joined
    offset: float
    answered: float | None = None


@dataclass(slots=True)
class Joiner:
    """Fed records in order, gives each statement when it is finished. ``running`` are those that are not; the
    server may have answered some of them. ``texts`` gives a prepared text that was not among what was fed."""

    session: str
    rows: Rows
    running: dict[int, Open] = field(default_factory=dict)
    texts: Callable[[int], StatementPrepared | None] = lambda ref: None
    _prepared: dict[int, StatementPrepared] = field(default_factory=dict)

    def feed(self, timed: Timed) -> tuple[Joined, float] | None:
        """The statement this record finishes, and when that was (seconds from the start); else None."""
        record = timed.record
        match record:
            case StatementPrepared():
                self._prepared[record.ref] = record
            case StatementStarted():
                self.running[record.seq] = self._open(timed, record)
            case ResultRows() if record.seq in self.running:
                found = self.running[record.seq].joined.setdefault("results", [])
                found.append(self._rows(record))
            case StatementAnswered() if record.seq in self.running:
                self.running[record.seq].answered = timed.offset
            case Resized() if record.seq in self.running:
                size = {"columns": record.columns, "rows": record.rows}
                self.running[record.seq].joined.setdefault("terminal", size)
            case Content() if record.seq in self.running:
                self.running[record.seq].joined.setdefault("content", []).append(_content(record))
            case Note(kind="perhaps" | "mismatch"):
                self._doubt(record.kind, dict(record.data))
            case StatementFinished() if record.seq in self.running:
                return self._finish(self.running.pop(record.seq), record, timed.offset), timed.offset
        return None

    def first(self) -> Open | None:
        """What runs now: of a pipeline the first without an answer, since the server runs them in order."""
        return next((opened for _, opened in sorted(self.running.items()) if opened.answered is None), None)

    def _doubt(self, kind: str, data: Mapping[str, Any]) -> None:
        """Of a statement whose text is not known for certain: the texts of which it was one, or, where its command
        tag says so, that its text is not what ran."""
        opened = self.running.get(data["statement"])
        if opened is None:
            return
        if kind == "mismatch":
            opened.joined["mismatch"] = f"the target answered {data['tag']}: this text is not what ran"
            return
        found = (self._text(int(ref)) for ref in str(data["prepared"]).split())
        opened.joined["perhaps"] = [
            each.text.decode("utf-8", "replace") if each else "prepared elsewhere" for each in found
        ]

    def _text(self, ref: int) -> StatementPrepared | None:
        """What was prepared as ``ref``; 0 is nothing."""
        return (self._prepared.get(ref) or self.texts(ref)) if ref else None

    def _open(self, timed: Timed, record: StatementStarted) -> Open:
        prepared = self._text(record.ref)
        text = prepared.text if prepared else record.text
        joined: Joined = {
            "session": self.session,
            "seq": record.seq,
            "started": iso(timed.at),
            "duration_ms": None,
            "protocol": Via(record.via).name.lower(),
            "text": text.decode("utf-8", "replace"),
            "parameters": [self._parameter(each) for each in record.parameters],
            "statement_name": record.statement_name.decode("utf-8", "replace"),
            "portal": record.portal.decode("utf-8", "replace"),
            "tag": None,
            "rows": None,
            "bytes": 0,
            "sqlstate": None,
            "error": None,
            "transaction": _transaction(record.transaction),
            "outcome": None,
        }
        if record.text_length:
            joined["text_length"], joined["text_sha256"] = record.text_length, record.text_digest
        return Open(joined, timed.offset)

    def _parameter(self, parameter: Parameter) -> object:
        """The decoded value; of a long one a dict with its prefix, length and hash."""
        oid, form, value, length, digest = parameter
        if value is None:
            return None
        if digest:
            return {
                "prefix": base64.b64encode(value).decode() if form else value.decode("utf-8", "replace"),
                "length": length,
                "sha256": digest,
            }
        try:
            return self.rows.parameter(oid, form, value)
        except UNDECODABLE:
            return {"base64": base64.b64encode(value).decode(), "format": "binary" if form else "text"}

    def _rows(self, record: ResultRows) -> list[dict[str, object]]:
        try:
            return self.rows.rows(record.description, record.rows)
        except UNDECODABLE:
            return [{"base64": base64.b64encode(each).decode()} for each in record.rows]

    def _finish(self, opened: Open, record: StatementFinished, offset: float) -> Joined:
        answered = offset if opened.answered is None else opened.answered
        return opened.joined | {
            "duration_ms": round((answered - opened.offset) * 1000, 3),
            "tag": record.tag.decode("utf-8", "replace") or None,
            "rows": record.rows if record.rows >= 0 else None,
            "bytes": record.data_bytes,
            "sqlstate": record.sqlstate.decode("ascii", "replace") or None,
            "error": record.error.decode("utf-8", "replace") or None,
            "transaction": _transaction(record.transaction),
            "outcome": Outcome(record.outcome).name.lower(),
        }


def _transaction(state: int) -> str | None:
    """The letter of a transaction's state; None where the protocol has none."""
    return chr(state) if state else None


def _content(record: Content) -> Joined:
    """What passed in a run of bytes, as it is told."""
    flow = Flow(record.flow).name.lower()
    return {"flow": flow, "offset": record.offset, "bytes": record.size, "sha256": record.digest}


class NoRows:
    """``core.ports.Rows`` of a protocol whose statements have neither values nor rows: any are shown raw."""

    def parameter(self, oid: int, format: int, value: bytes) -> object:
        raise ValueError("this protocol has no values")

    def rows(self, description: bytes, rows: Iterable[bytes]) -> list[dict[str, object]]:
        raise ValueError("this protocol has no rows")


def iso(at: float) -> str:
    """An instant as ISO 8601 in UTC with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def joined(
    session: str, records: Iterable[Timed], rows: Rows, sealed: Callable[[], bool] = lambda: False
) -> Iterator[Mapping[str, Any]]:
    """Every statement of a recording in order of its end; those that never ended last: they run, outcome None, or,
    if the recording turns out to be ``sealed`` (asked after the last record), what came of them is unknown."""
    joiner = Joiner(session, rows)
    for timed in records:
        found = joiner.feed(timed)
        if found is not None:
            yield found[0]
    for opened in joiner.running.values():
        yield opened.joined | {"outcome": Outcome.UNKNOWN.name.lower()} if sealed() else opened.joined
