"""Records as bytes and back: compact, fixed fields first, no JSON but for notes. Pure; the session path's cost.

A *body* is what a frame holds behind its length and checksum: kind, flags, instant, frame number, then the record's
own fields (all little-endian). ``encode`` makes a whole body with one ``Struct`` call, since it runs before every
statement leaves. ``decode`` reads what follows those first fields; bytes that are no record are ``Torn``.
"""

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.records import (
    Content,
    Note,
    Parameter,
    Passed,
    Record,
    Resized,
    ResultRows,
    StatementAnswered,
    StatementFinished,
    StatementPrepared,
    StatementStarted,
)

HEADER = 1
CLOCK = 2
END = 3
PREPARED = 16
STARTED = 17
FINISHED = 18
ROWS = 19
NOTE = 20
ANSWERED = 21
PASSED = 22
RESIZED = 23
CONTENT = 24
TEXT = 25
RUN = 26
DONE = 27

PASSED_MOST = 1024 * 1024
"""Bytes of one ``Passed``: more is refused, written and read, so that whoever reads a recording piece by piece
knows how large a piece is."""

BODY = struct.Struct("<BBdI")
"""Every body begins so: kind, flags (0 today), monotonic seconds, frame number."""
_NUMBER = struct.Struct("<I")
_NUMBER_AT = BODY.size - _NUMBER.size

_STARTED = struct.Struct("<BBdI IBBIIIBIIH")
_STARTED_FIELDS = struct.Struct("<IBBIIIBIIH")
_PARAMETER = struct.Struct("<IiiIB")
_TEXT = struct.Struct("<BBdI IBBI")
_TEXT_FIELDS = struct.Struct("<IBBI")
_RUN = struct.Struct("<BBdI IBBIBH")
_RUN_FIELDS = struct.Struct("<IBBIBH")
_RUN_NAME_MOST = 255
_FEW = 16
"""Bind values that are added to a body one by one: for so few that is the quickest."""
_FINISHED = struct.Struct("<BBdI IBBqQIBI")
_FINISHED_FIELDS = struct.Struct("<IBBqQIBI")
_DONE = struct.Struct("<BBdI IBqQI")
_DONE_FIELDS = struct.Struct("<IBqQI")
_PREPARED = struct.Struct("<BBdI IIIH")
_PREPARED_FIELDS = struct.Struct("<IIIH")
_ROWS = struct.Struct("<BBdI III")
_ROWS_FIELDS = struct.Struct("<III")
_ANSWERED = struct.Struct("<BBdI I")
_ANSWERED_FIELDS = struct.Struct("<I")
_PASSED = struct.Struct("<BBdI IBI")
_PASSED_FIELDS = struct.Struct("<IBI")
_RESIZED = struct.Struct("<BBdI III")
_RESIZED_FIELDS = struct.Struct("<III")
_CONTENT = struct.Struct("<BBdI IBQQB")
_CONTENT_FIELDS = struct.Struct("<IBQQB")
_CLOCK = struct.Struct("<d")
NULL = -1


class Torn(ValueError):
    """The bytes are not what they should be."""


class Packed(tuple[Parameter, ...]):  # noqa: SLOT001 - a tuple has no room for others
    """Very many bind values, with what ``value_of`` gives for them in a row: whoever read them bit by bit made that
    too, so that it takes no time when they are recorded. ``held``: bytes that they hold in memory."""

    packed: bytes = b""
    held: int = 0


def started(record: StatementStarted, at: float, number: int) -> bytes:
    """The body of a statement's start: a TEXT where that is all, a RUN of what was prepared, else with all that a
    start may have. What is short costs less, and not only here."""
    seq, via, transaction, ref, text, text_length, digest, name, portal, parameters = record
    if portal or digest or text_length or (text if ref else parameters or name) or len(name) > _RUN_NAME_MOST:
        body = _whole(record, at, number)
    elif ref:
        body = _RUN.pack(RUN, 0, at, number, seq, via, transaction, ref, len(name), len(parameters)) + name
    else:
        return _TEXT.pack(TEXT, 0, at, number, seq, via, transaction, len(text)) + text
    if len(parameters) > _FEW:
        packed = parameters.packed if type(parameters) is Packed else b"".join(map(value_of, parameters))
        return body + packed
    for oid, form, value, length, hashed in parameters:
        if value is None:
            body += _PARAMETER.pack(oid, form, NULL, length, 0)
        elif hashed:
            body += _PARAMETER.pack(oid, form, len(value), length, len(hashed)) + value + hashed.encode()
        else:
            body += _PARAMETER.pack(oid, form, len(value), length, 0) + value
    return body


def value_of(parameter: Parameter) -> bytes:
    """One of many bind values: adding each to what is there would copy all of that once more."""
    oid, form, value, length, hashed = parameter
    if value is None:
        return _PARAMETER.pack(oid, form, NULL, length, 0)
    return _PARAMETER.pack(oid, form, len(value), length, len(hashed)) + value + hashed.encode()


def _whole(record: StatementStarted, at: float, number: int) -> bytes:
    """A start but for its parameters."""
    seq, via, transaction, ref, text, text_length, digest, name, portal, parameters = record
    fixed = _STARTED.pack(
        STARTED,
        0,
        at,
        number,
        seq,
        via,
        transaction,
        ref,
        text_length,
        len(text),
        len(digest),
        len(name),
        len(portal),
        len(parameters),
    )
    return b"".join((fixed, text, digest.encode(), name, portal))


def answered(record: StatementAnswered, at: float, number: int) -> bytes:
    """The body of a statement's completion that may still be undone."""
    return _ANSWERED.pack(ANSWERED, 0, at, number, record.seq)


def finished(record: StatementFinished, at: float, number: int) -> bytes:
    """The body of a statement's end: a DONE where it just did what it should."""
    seq, outcome, tag, rows, data_bytes, sqlstate, error, transaction = record
    if not (outcome or sqlstate or error):
        return _DONE.pack(DONE, 0, at, number, seq, transaction, rows, data_bytes, len(tag)) + tag
    return (
        _FINISHED.pack(
            FINISHED,
            0,
            at,
            number,
            seq,
            outcome,
            transaction,
            rows,
            data_bytes,
            len(tag),
            len(sqlstate),
            len(error),
        )
        + tag
        + sqlstate
        + error
    )


def prepared(record: StatementPrepared, at: float, number: int) -> bytes:
    """The body of a text that later statements name by its ref."""
    ref, name, text, types = record
    fixed = _PREPARED.pack(PREPARED, 0, at, number, ref, len(name), len(text), len(types))
    return b"".join((fixed, name, text, struct.pack(f"<{len(types)}I", *types)))


def result_rows(record: ResultRows, at: float, number: int) -> bytes:
    """The body of a result's first rows."""
    seq, description, rows = record
    fixed = _ROWS.pack(ROWS, 0, at, number, seq, len(description), len(rows))
    lengths = struct.pack(f"<{len(rows)}I", *map(len, rows))
    return b"".join((fixed, lengths, description, *rows))


def passed(record: Passed, at: float, number: int) -> bytes:
    """The body of bytes that are kept as they were: what a busy terminal or tunnel costs. ``ValueError`` for more
    than ``PASSED_MOST``."""
    seq, flow, data = record
    if len(data) > PASSED_MOST:
        raise ValueError(f"{len(data)} bytes passed at once, {PASSED_MOST} is the most")
    return b"".join((_PASSED.pack(PASSED, 0, at, number, seq, flow, len(data)), data))


def resized(record: Resized, at: float, number: int) -> bytes:
    """The body of a terminal's size."""
    return _RESIZED.pack(RESIZED, 0, at, number, *record)


def content(record: Content, at: float, number: int) -> bytes:
    """The body of the hash of bytes that passed."""
    seq, flow, offset, size, digest = record
    return _CONTENT.pack(CONTENT, 0, at, number, seq, flow, offset, size, len(digest)) + digest.encode()


def note(record: Note, at: float, number: int) -> bytes:
    """The body of a note: rare, so JSON."""
    return BODY.pack(NOTE, 0, at, number) + json.dumps([record.kind, record.data]).encode()


ENCODERS: Mapping[type, Callable[[Any, float, int], bytes]] = {
    StatementStarted: started,
    StatementAnswered: answered,
    StatementFinished: finished,
    StatementPrepared: prepared,
    ResultRows: result_rows,
    Passed: passed,
    Resized: resized,
    Content: content,
    Note: note,
}


def encode(record: Record, at: float, number: int) -> bytes:
    """The body of any record. ``struct.error`` for a number that its field cannot hold."""
    return ENCODERS[type(record)](record, at, number)


def renumbered(body: bytes, number: int) -> bytes:
    """The same body as another frame."""
    return b"".join((body[:_NUMBER_AT], _NUMBER.pack(number), body[BODY.size :]))


def mapping(kind: int, value: Mapping[str, object], at: float, number: int) -> bytes:
    """The body of a HEADER or END: a JSON object."""
    return BODY.pack(kind, 0, at, number) + json.dumps(value).encode()


def clock(wall: float, key: str, at: float, number: int) -> bytes:
    """The body that ties the monotonic clock to the wall clock again, and says whose window this is."""
    return BODY.pack(CLOCK, 0, at, number) + _CLOCK.pack(wall) + key.encode()


def decode_clock(payload: bytes) -> tuple[float, str]:
    """(wall clock in epoch seconds, key)"""
    taken = _Taken(payload)
    try:
        return taken.fields(_CLOCK)[0], taken.rest().decode()
    except ValueError as error:
        raise Torn("no clock") from error


def decode_mapping(payload: bytes) -> Mapping[str, Any]:
    """The object of a HEADER or END. ``Torn`` when it is none."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Torn("not JSON") from error
    if not isinstance(value, dict):
        raise Torn("not a JSON object")
    return value


def decode(kind: int, payload: bytes) -> Record:
    """The record of a body without its first fields; of a kind that only a later version has, a note that says so.
    ``Torn`` when the bytes are no such record."""
    decoder = _DECODERS.get(kind)
    if decoder is None and kind >= PREPARED:
        return Note("newer", (("record", kind), ("bytes", len(payload))))
    if decoder is None:
        raise Torn(f"no record has kind {kind}")
    taken = _Taken(payload)
    try:
        record = decoder(taken)
    except (struct.error, ValueError, TypeError, RecursionError) as error:
        raise Torn(str(error)) from error
    if taken.rest():
        raise Torn("bytes behind the record")
    return record


class _Taken:
    """A payload being read from its start."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise Torn("the record is cut short")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def text(self, length: int) -> str:
        return self.take(length).decode("ascii")

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))

    def numbers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self.take(4 * count))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)


def _started(taken: _Taken) -> StatementStarted:
    seq, via, transaction, ref, text_length, *lengths, parameters = taken.fields(_STARTED_FIELDS)
    text_size, digest_size, name_size, portal_size = lengths
    text, digest = taken.take(text_size), taken.text(digest_size)
    name, portal = taken.take(name_size), taken.take(portal_size)
    values = tuple(_parameter(taken) for _ in range(parameters))
    return StatementStarted(seq, via, transaction, ref, text, text_length, digest, name, portal, values)


def _text(taken: _Taken) -> StatementStarted:
    seq, via, transaction, size = taken.fields(_TEXT_FIELDS)
    return StatementStarted(seq, via, transaction, 0, taken.take(size), 0, "", b"", b"", ())


def _run(taken: _Taken) -> StatementStarted:
    seq, via, transaction, ref, size, parameters = taken.fields(_RUN_FIELDS)
    name = taken.take(size)
    values = tuple(_parameter(taken) for _ in range(parameters))
    return StatementStarted(seq, via, transaction, ref, b"", 0, "", name, b"", values)


def _parameter(taken: _Taken) -> Parameter:
    oid, form, size, length, digest_size = taken.fields(_PARAMETER)
    value = None if size == NULL else taken.take(size)
    return oid, form, value, length, taken.text(digest_size)


def _answered(taken: _Taken) -> StatementAnswered:
    return StatementAnswered(*taken.fields(_ANSWERED_FIELDS))


def _finished(taken: _Taken) -> StatementFinished:
    seq, outcome, transaction, rows, data_bytes, tag, sqlstate, error = taken.fields(_FINISHED_FIELDS)
    texts = taken.take(tag), taken.take(sqlstate), taken.take(error)
    return StatementFinished(seq, outcome, texts[0], rows, data_bytes, texts[1], texts[2], transaction)


def _done(taken: _Taken) -> StatementFinished:
    seq, transaction, rows, data_bytes, size = taken.fields(_DONE_FIELDS)
    return StatementFinished(seq, 0, taken.take(size), rows, data_bytes, b"", b"", transaction)


def _prepared(taken: _Taken) -> StatementPrepared:
    ref, name, text, types = taken.fields(_PREPARED_FIELDS)
    return StatementPrepared(ref, taken.take(name), taken.take(text), taken.numbers(types))


def _rows(taken: _Taken) -> ResultRows:
    seq, description, count = taken.fields(_ROWS_FIELDS)
    lengths = taken.numbers(count)
    return ResultRows(seq, taken.take(description), tuple(taken.take(each) for each in lengths))


def _passed(taken: _Taken) -> Passed:
    seq, flow, size = taken.fields(_PASSED_FIELDS)
    if size > PASSED_MOST:
        raise Torn(f"{size} bytes passed at once, {PASSED_MOST} is the most")
    return Passed(seq, flow, taken.take(size))


def _resized(taken: _Taken) -> Resized:
    return Resized(*taken.fields(_RESIZED_FIELDS))


def _content(taken: _Taken) -> Content:
    seq, flow, offset, size, digest = taken.fields(_CONTENT_FIELDS)
    return Content(seq, flow, offset, size, taken.text(digest))


def _note(taken: _Taken) -> Note:
    kind, pairs = json.loads(taken.rest())
    return Note(kind, tuple((name, value) for name, value in pairs))


_DECODERS: Mapping[int, Callable[[_Taken], Record]] = {
    STARTED: _started,
    ANSWERED: _answered,
    FINISHED: _finished,
    PREPARED: _prepared,
    ROWS: _rows,
    PASSED: _passed,
    RESIZED: _resized,
    CONTENT: _content,
    TEXT: _text,
    RUN: _run,
    DONE: _done,
    NOTE: _note,
}
