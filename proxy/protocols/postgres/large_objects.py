"""Function calls by oid: those of the large objects' functions pass and are recorded by name; what they are and do
is known. Pure; asked by ``frontend`` about each FunctionCall, told by ``backend`` what came of it.

A FunctionCall names a function by its oid alone, so the oids are asked of the target's catalog at the log-in
(``CATALOG``): by schema, name and argument types, and only those that the server was made with. A function of a
user's can be none of them, whatever its name. Content that is written or read is counted and hashed, not kept.
Source: PostgreSQL manual, "Message Formats", FunctionCall; chapter "Large Objects"; the server's ``pg_proc.dat``.
"""

import hashlib
import struct
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import NamedTuple

from proxy.core.errors import PeerError
from proxy.core.records import Content, Flow, Parameter, StatementStarted, Via
from proxy.core.steps import TURN, Observe, Step
from proxy.protocols.postgres.entries import QUERY, Query, Statement
from proxy.protocols.postgres.pending import Pending

MADE_WITH = 16_384
"""FirstNormalObjectId: what users create has an oid from here on."""
KEPT = 16
"""Bytes of a result that are kept: numbers are shorter."""
HASHED_A_TURN = 16 * 1024
"""Bytes of content that are hashed in one turn of the loop: about 0.1 ms."""
ARGUMENTS_MOST = 100
"""FUNC_MAX_ARGS: no function takes more."""
BYTEA, INT8, INT4, OID = 17, 20, 23, 26
_TYPES: Mapping[int, str] = {BYTEA: "bytea", INT8: "int8", INT4: "int4", OID: "oid"}


class Function(NamedTuple):
    """``arguments`` and ``result`` are type oids."""

    name: str
    arguments: tuple[int, ...]
    result: int


FUNCTIONS = (
    Function("lo_open", (OID, INT4), INT4),
    Function("lo_close", (INT4,), INT4),
    Function("loread", (INT4, INT4), BYTEA),
    Function("lowrite", (INT4, BYTEA), INT4),
    Function("lo_lseek", (INT4, INT4, INT4), INT4),
    Function("lo_lseek64", (INT4, INT8, INT4), INT8),
    Function("lo_creat", (INT4,), OID),
    Function("lo_create", (OID,), OID),
    Function("lo_tell", (INT4,), INT4),
    Function("lo_tell64", (INT4,), INT8),
    Function("lo_truncate", (INT4, INT4), INT4),
    Function("lo_truncate64", (INT4, INT8), INT4),
    Function("lo_unlink", (OID,), INT4),
)


def _asked(function: Function) -> str:
    """Every name qualified: what the client's search_path holds must not matter."""
    types = ",".join(f"pg_catalog.{_TYPES[each]}" for each in function.arguments)
    found = f"pg_catalog.to_regprocedure('pg_catalog.{function.name}({types})')"
    return f"coalesce({found}::pg_catalog.oid::pg_catalog.text, '0')"


_HEAD = "functions "
CATALOG = f"select pg_catalog.concat_ws(' ', 'functions', {', '.join(map(_asked, FUNCTIONS))})"


def functions(rows: Sequence[str]) -> Mapping[int, Function]:
    """Return which function has which oid, of the answer to ``CATALOG``, among others; none where there is none."""
    for row in rows:
        oids = row.removeprefix(_HEAD).split(" ")
        if row.startswith(_HEAD) and len(oids) == len(FUNCTIONS):
            named = zip((int(each) if each.isdecimal() else 0 for each in oids), FUNCTIONS, strict=True)
            return {oid: function for oid, function in named if 0 < oid < MADE_WITH}
    return {}


class Result:
    """What comes of a call, piece by piece: ``head`` its first bytes, ``size`` and ``digest`` of all of it."""

    __slots__ = ("_digest", "_length", "head", "size")

    def __init__(self) -> None:
        self.head = b""
        self.size = 0
        self._length = b""
        self._digest = hashlib.sha256()

    def take(self, piece: bytes) -> None:
        """The next bytes of a FunctionCallResponse's body."""
        missing = 4 - len(self._length)
        self._length += piece[:missing]
        piece = piece[missing:]
        self.size += len(piece)
        if len(self.head) < KEPT:
            self.head += piece[: KEPT - len(self.head)]
        self._digest.update(piece)

    @property
    def null(self) -> bool:
        return self._length == b"\xff\xff\xff\xff"

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()


class Call(NamedTuple):
    """A FunctionCall that was passed on; ``format`` is what its result comes in: 0 text, 1 binary."""

    function: Function
    format: int


Value = tuple[int, int, bytes | None]
"""Type oid, format, and the bytes; None for NULL."""


class Calls:
    """The function calls of one conversation; ``known``: which oids may be called."""

    def __init__(self, pending: Pending, known: Mapping[int, Function]) -> None:
        self._pending = pending
        self._known = known

    def allowed(self, body: bytes) -> bool:
        """Return whether a FunctionCall may pass: its function is one of these, with as many arguments as it takes.
        ``PeerError`` (protocol) where it is cut short."""
        if len(body) < 4:
            raise _broken()
        function = self._known.get(int.from_bytes(body[:4], "big"))
        return function is not None and _counts(body)[1] == len(function.arguments)

    def text(self, body: bytes) -> bytes:
        """Return an allowed call as it is recorded: ``lo_open(16444, 131072)``, ``lowrite(0, 8192 bytes)``."""
        return _text(*self._read(body))

    def call(self, body: bytes) -> Iterator[Step]:
        """Record an allowed call, and expect what comes of it: a response, and a ReadyForQuery of its own. Its
        content is hashed a little in each turn."""
        call, values = self._read(body)
        parameters: list[Parameter] = []
        for value in values:
            recorded = yield from _recorded(*value)
            parameters.append(recorded)
        pending = self._pending
        statement = pending.opened()
        statement.keeping = False
        statement.data_bytes = sum(each[3] for each in parameters if each[0] == BYTEA)
        statement.call = call
        record = (
            statement.seq,
            Via.FASTPATH,
            pending.status,
            0,
            self.text(body),
            0,
            "",
            b"",
            b"",
            tuple(parameters),
        )
        steps: list[Step] = [Observe(StatementStarted(*record))]
        pending.expect((QUERY, Query(statement)), steps, whole=True)
        yield from steps

    def _read(self, body: bytes) -> tuple[Call, list[Value]]:
        function = self._known[int.from_bytes(body[:4], "big")]
        formats, _, at = _counts(body)
        values: list[Value] = []
        try:
            for number, oid in enumerate(function.arguments):
                (length,) = struct.unpack_from("!i", body, at)
                stop = at + 4 + max(length, 0)
                if length < -1 or stop > len(body) - 2:
                    raise _broken()
                values.append((oid, _format(formats, number), None if length < 0 else body[at + 4 : stop]))
                at = stop
            (wanted,) = struct.unpack_from("!H", body, at)
        except struct.error:
            raise _broken() from None
        if at + 2 != len(body):
            raise _broken()
        return Call(function, wanted & 1), values


def answered(statement: Statement, result: Result, steps: list[Step]) -> None:
    """Record what came of a call, but for its end: a number as a row with it, content by its size and hash."""
    call: Call = statement.call
    function = call.function
    if function.result == BYTEA:
        statement.data_bytes = result.size
        steps.append(Observe(Content(statement.seq, Flow.OUTPUT, 0, result.size, result.digest)))
        return
    width = 8 if function.result == INT8 else 4
    field = struct.pack("!IHIhiH", 0, 0, function.result, width, -1, call.format)
    statement.description = b"\0\1" + function.name.encode() + b"\0" + field
    value = b"\xff\xff\xff\xff" if result.null else len(result.head).to_bytes(4, "big") + result.head
    statement.kept = [b"\0\1" + value]


def _counts(body: bytes) -> tuple[tuple[int, ...], int, int]:
    """The argument formats, how many arguments there are, and where the first begins."""
    try:
        (count,) = struct.unpack_from("!H", body, 4)
        if count > ARGUMENTS_MOST:
            raise _broken()
        formats = struct.unpack_from(f"!{count}H", body, 6)
        (arguments,) = struct.unpack_from("!H", body, 6 + 2 * count)
    except struct.error:
        raise _broken() from None
    return formats, arguments, 8 + 2 * count


def _broken() -> PeerError:
    return PeerError("invalid FunctionCall message", code="protocol")


def _format(formats: tuple[int, ...], number: int) -> int:
    """None given: text; one: that for all."""
    if len(formats) <= 1:
        return formats[0] if formats else 0
    return formats[number] if number < len(formats) else 0


def _recorded(oid: int, form: int, value: bytes | None) -> Generator[Step, None, Parameter]:
    """A value as a record has it: of content, and of what is too long for a number, the size and the hash."""
    if value is None:
        return oid, form, None, 0, ""
    if oid != BYTEA and len(value) <= KEPT:
        return oid, form, value, len(value), ""
    digest = hashlib.sha256()
    for start in range(0, len(value), HASHED_A_TURN):
        digest.update(value[start : start + HASHED_A_TURN])
        yield TURN
    return oid, form, b"", len(value), digest.hexdigest()


def _text(call: Call, values: Sequence[Value]) -> bytes:
    return f"{call.function.name}({', '.join(map(_shown, values))})".encode()


def _shown(value: Value) -> str:
    oid, form, content = value
    if content is None:
        return "null"
    if oid == BYTEA:
        return f"{len(content)} bytes"
    if form == 0:
        text = content[:KEPT].decode("ascii", "replace")
        return text if text.lstrip("-").isdecimal() else "?"
    return str(int.from_bytes(content, "big", signed=oid != OID)) if len(content) in (4, 8) else "?"
