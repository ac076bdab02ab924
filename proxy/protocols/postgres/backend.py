"""The target's side of a conversation: hop over its messages, tell ``pending`` what came, pass the chunk on as it
is. Pure; called by ``inspector``. This is the inner loop for results: nothing is made per row.

Source: PostgreSQL manual, "Message Formats" and "Error and Notice Message Fields". Lengths are bounded as libpq
bounds them. Only three things are not passed on: the server's error for a message that was refused (ours stands in
its place); a BackendKeyData, which would tell the target's own cancel key; and whatever follows FATAL or PANIC,
after which a server says nothing: the conversation is over then. Types that are not known pass.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping

from proxy.core.errors import PeerError
from proxy.core.records import Note
from proxy.core.states import EndReason
from proxy.core.steps import TURN, Close, Forward, Observe, Pause, Reply, Step
from proxy.protocols.postgres import large_objects, messages
from proxy.protocols.postgres.entries import BIND, CLOSE, PARSE, REFUSED, Statement
from proxy.protocols.postgres.express import Express
from proxy.protocols.postgres.large_objects import Result
from proxy.protocols.postgres.pending import Pending
from proxy.protocols.postgres.redact import redact_option

_HEADER = struct.Struct("!BI")
HEADER = 5
SHORT_MOST = 30_000
"""libpq believes a longer message only of the types below, where a desynchronised stream is less likely."""
_LONG = frozenset(b"DdENATtV")
LONG_MOST = messages.MAX_FRAME
_AUTHENTICATION = 82
_KEY_DATA = 75
_ERROR = 69
_ROW = 68
_COPY_DATA = 100
_CALL_RESULT = 86
_BULK = (_ROW, _COPY_DATA)
_FATAL = frozenset({b"FATAL", b"PANIC"})
"""Severities that end a session: in V, which is never translated, or in S where there is no other (before 9.6)."""
_ERROR_KEPT = 8 * 1024
_DESCRIPTION_KEPT = 256 * 1024
VALUE_MOST = 1024
"""Of a setting's value; a longer one is not kept."""
TOGETHER = 24
"""So many messages are passed on at once, behind what is recorded of them."""
BYTES_A_STEP = 512
"""Bytes of a body that take as long to look at as a message without one."""
ROWS_A_STEP = 64
"""Rows hopped over in the time of one other message."""
_RUN_MOST = 4096
"""Rows, or copy data, that are hopped over at once."""

_LOOKED_AT: Mapping[int, int] = {
    ord("1"): 0,
    ord("2"): 0,
    ord("3"): 0,
    ord("n"): 0,
    ord("s"): 0,
    ord("I"): 0,
    ord("G"): 0,
    ord("H"): 0,
    ord("W"): 0,
    ord("C"): 1024,
    ord("Z"): 1,
    ord("E"): _ERROR_KEPT,
    ord("S"): SHORT_MOST,
    ord("t"): _DESCRIPTION_KEPT,
    ord("T"): _DESCRIPTION_KEPT,
    ord("K"): 0,
    ord("R"): 0,
    _CALL_RESULT: _ERROR_KEPT,
}
"""Message type -> how many bytes of its body are looked at. Of all others only the header is."""


class Backend:
    """Fed whatever the target sends. ``left``: bytes of the message in flight; ``closed``: nothing passes any
    more."""

    def __init__(self, pending: Pending, express: Express) -> None:
        self.left = 0
        self.closed = False
        self._pending = pending
        self._express = express
        self._kind = 0
        self._head = b""
        self._held = False
        self._last = b""
        self._part: bytearray | None = None
        self._most = 0
        self._result: Result | None = None
        self._answers: Mapping[int, Callable[[bytes, list[Step]], None]] = {
            ord("1"): lambda _, __: pending.acknowledged(PARSE),
            ord("2"): lambda _, __: pending.acknowledged(BIND),
            ord("3"): lambda _, __: pending.acknowledged(CLOSE),
            ord("n"): lambda _, __: pending.described(None),
            ord("s"): lambda _, steps: pending.suspended(steps),
            ord("I"): lambda _, steps: pending.completed(b"", steps),
            ord("G"): lambda _, __: self._copy_in(),
            ord("H"): lambda _, __: self._copy_out(),
            ord("W"): lambda _, __: self._copy_out(),
            ord("C"): self._completed,
            ord("Z"): self._ready,
            ord("E"): self._failed,
            ord("S"): self._parameter,
            ord("t"): self._typed,
            ord("T"): lambda body, _: pending.described(body),
            ord("K"): lambda _, __: None,
        }

    @property
    def held(self) -> int:
        """Bytes of messages that are kept to be looked at."""
        return len(self._head) + len(self._part or b"")

    @property
    def boundary(self) -> int:
        """As ``Inspector.target_boundary``: what is held back, a header that is not whole included, has not begun
        for the client."""
        return 0 if self._held else self.left

    # -- the loop ------------------------------------------------------------------------------------------------

    def feed(self, chunk: bytes) -> Iterator[Step]:
        """What to do about the target's next bytes, made as it is asked for."""
        if self._pending.quick:
            self._pending.expand()
        if self.closed:
            return
        steps: list[Step] = []
        try:
            if self.left:
                position = self._go_on(chunk, steps)
                if not self._held:  # the client has had its beginning: no place for others' words before its end
                    yield Forward(chunk if position == len(chunk) else chunk[:position])
                self._held = self._held and self.left > 0
                yield from self._told(steps)
            else:
                position = 0
                chunk, self._head = (self._head + chunk, b"") if self._head else (chunk, b"")
            yield from self._hop(chunk, position)
        except PeerError as error:
            self.closed = True
            yield Close(EndReason.PROTOCOL_ERROR, f"the target: {error.public}")
        if self._last:
            self.closed = True
            yield Close(EndReason.TARGET_CLOSED, self._last.decode("utf-8", "replace"))
        self._express.inside = bool(self.left or self._head or self.closed)

    def _settled(self, steps: list[Step]) -> Iterator[Step]:
        """What an answer came to, with all that it leads to; ``steps`` is empty then."""
        pending = self._pending
        more = True
        while more:
            more = pending.catch_up(steps)
            yield from steps
            steps.clear()
            if more:
                yield TURN

    def _told(self, steps: list[Step]) -> Iterable[Step]:
        """What an answer came to; ``steps`` is empty then."""
        if self._pending.behind:
            return self._settled(steps)
        told = tuple(steps)
        steps.clear()
        return told

    def _effort(self, kind: int, length: int) -> int:
        """How many steps' work it was to look at a message."""
        effort = 1 + min(length, _LOOKED_AT[kind]) // BYTES_A_STEP if length > BYTES_A_STEP else 1
        return effort + self._pending.texts.effort() if kind == _ERROR else effort

    def _go_on(self, chunk: bytes, steps: list[Step]) -> int:
        """Within a body: where the next message begins."""
        taken = min(self.left, len(chunk))
        self.left -= taken
        if self._part is not None and len(self._part) < self._most:
            self._part += chunk[: min(taken, self._most - len(self._part))]
        if self._result is not None:
            self._called(chunk[:taken], not self.left, steps)
        if not self.left and self._part is not None:
            body, self._part = bytes(self._part), None
            self._answered(self._kind, body, steps)
        return taken

    def _hop(self, data: bytes, position: int) -> Iterator[Step]:
        """Over every message that begins in ``data`` from ``position`` on. The bytes of a few messages pass
        together, behind what is recorded of them."""
        end, sent, work = len(data), position, 0
        steps: list[Step] = []
        pending = self._pending
        try:
            while position + HEADER <= end and not self._last:
                if pending.quick:  # others had their turn
                    pending.expand()
                kind, length = _HEADER.unpack_from(data, position)
                if kind in _BULK:
                    position, effort = self._run(data, position, end, kind)
                else:
                    if length < 4 or length > SHORT_MOST:
                        _check(kind, length)
                    stop, effort = position + 1 + length, 1
                    if kind in _LOOKED_AT:
                        sent = self._look(kind, data, position, stop, sent, steps)
                        effort = self._effort(kind, length)
                        yield from self._told(steps)
                    if stop > end:
                        self._kind = kind
                    self._held = self._held and stop > end
                    position = stop
                work += effort
                if work >= TOGETHER and position < end:
                    forward(data, sent, position, steps)
                    sent = max(sent, position)
                    yield from self._told(steps)
                    yield Pause(work)
                    work = 0
        except PeerError:
            forward(data, sent, position, steps)
            yield from steps
            raise
        if position > end:
            self.left = position - end
        elif position < end and not self._last:
            self._head = data[position:]  # not passed on yet: its message may have to be held back
        forward(data, sent, min(position, end), steps)
        yield from steps

    def _look(self, kind: int, data: bytes, position: int, stop: int, sent: int, steps: list[Step]) -> int:
        """At a message whose body or coming means something; from where on ``data`` is still to be passed on."""
        if kind == _AUTHENTICATION:
            raise PeerError("it asks for a log-in in the middle of a session", code="protocol")
        if kind == _KEY_DATA or (kind == _ERROR and self._refusing()):
            forward(data, sent, position, steps)
            self._held = True
            sent = stop
        if kind == _CALL_RESULT:
            self._result = Result()
            self._called(data[position + HEADER : stop], stop <= len(data), steps)
        elif stop <= len(data):
            self._answered(kind, data[position + HEADER : stop], steps)
        else:
            self._most = _LOOKED_AT[kind]
            self._part = bytearray(data[position + HEADER : position + HEADER + self._most])
        return sent

    def _run(self, data: bytes, position: int, end: int, kind: int) -> tuple[int, int]:
        """Over a run of rows or copy data, to where it ends, which may be behind the end of ``data``; and how much
        work that was."""
        statement = self._pending.current()
        if statement is not None and statement.keeping and kind == _ROW:
            return self._keep_row(data, position, end, statement), 1
        unpack = _HEADER.unpack_from
        first, rows, last = position, 0, end - HEADER
        while True:
            following, length = unpack(data, position)
            if following != kind:
                break
            if length < 4 or length > LONG_MOST:
                if rows:
                    break  # what came before it is passed on first
                _check(kind, length)
            rows += 1
            position += length + 1
            if position > last or rows == _RUN_MOST:
                break
        if statement is not None:
            statement.rows += rows
            statement.data_bytes += position - first - HEADER * rows
        return position, 1 + rows // ROWS_A_STEP

    def _keep_row(self, data: bytes, position: int, end: int, statement: Statement) -> int:
        """One row that may be among the first of its result, which are kept whole."""
        pending = self._pending
        length = int.from_bytes(data[position + 1 : position + HEADER], "big")
        _check(_ROW, length)
        stop = position + 1 + length
        statement.rows += 1
        statement.data_bytes += length - 4
        if len(statement.kept) >= pending.keep_rows or statement.kept_bytes + length > pending.keep_bytes:
            statement.keeping = False  # the rest of the result is hopped over
            return stop
        statement.kept_bytes += length
        if stop <= end:
            statement.kept.append(data[position + HEADER : stop])
        else:
            self._kind, self._most = _ROW, length
            self._part = bytearray(data[position + HEADER : end])
        return stop

    # -- what is not passed on -----------------------------------------------------------------------------------

    def _refusing(self) -> bool:
        queue = self._pending.queue
        return len(queue) > 0 and int(queue[0][0]) == REFUSED and not queue[0][1].told

    # -- messages ------------------------------------------------------------------------------------------------

    def _answered(self, kind: int, body: bytes, steps: list[Step]) -> None:
        if kind == _ROW:
            statement = self._pending.current()
            if statement is not None:
                statement.kept.append(body)
            return
        self._answers[kind](body, steps)

    def _completed(self, body: bytes, steps: list[Step]) -> None:
        self._pending.completed(body.partition(b"\0")[0], steps)

    def _ready(self, body: bytes, steps: list[Step]) -> None:
        if len(body) != 1 or body not in b"ITE":
            raise PeerError("invalid ReadyForQuery", code="protocol")
        self._pending.ready(body[0], steps)

    def _failed(self, body: bytes, steps: list[Step]) -> None:
        fields = messages.error_fields(body)
        if not _FATAL.isdisjoint((fields.get(b"V"), fields.get(b"S"))):
            if self._held:
                steps.append(Forward(messages.frame(b"E", body)))  # that is no refusal
                self._pending.queue.popleft()
            self._pending.failed(fields, steps)
            self._last = b"it said FATAL, SQLSTATE " + fields.get(b"C", b"unknown")[:5]
        elif self._held:
            self._refused(steps)
        else:
            self._pending.failed(fields, steps)

    def _refused(self, steps: list[Step]) -> None:
        """The error for what went in a refused message's stead has come: the client is told why in its place."""
        pending = self._pending
        steps.append(Reply(pending.queue[0][1].answer))
        pending.refused(steps)

    def _called(self, piece: bytes, last: bool, steps: list[Step]) -> None:
        """Some of what comes of a function call; with the ``last`` of it the call is done."""
        result = self._result
        if result is None:
            return
        result.take(piece)
        if not last:
            return
        self._result = None
        statement = self._pending.current()
        if statement is not None and statement.call is not None:
            large_objects.answered(statement, result, steps)
            self._pending.completed(b"", steps)

    def _copy_out(self) -> None:
        self._pending.copying.out = True

    def _copy_in(self) -> None:
        self._pending.answered += self._pending.copying.begun()

    def _parameter(self, body: bytes, steps: list[Step]) -> None:
        name, value = messages.parameter(body)
        self._pending.texts.encoding.parameter(name, value)
        shown = redact_option(name, value) if len(value) <= VALUE_MOST else f"({len(value)} characters)"
        steps.append(Observe(Note("parameter", (("name", name), ("value", shown)))))

    def _typed(self, body: bytes, steps: list[Step]) -> None:
        count = int.from_bytes(body[:2], "big")
        if len(body) != 2 + 4 * count:
            raise PeerError("invalid ParameterDescription", code="protocol")
        self._pending.typed(struct.unpack_from(f"!{count}I", body, 2))


def forward(data: bytes, start: int, stop: int, steps: list[Step]) -> None:
    """Pass on ``data[start:stop]``, as the object it is when that is all of it."""
    if stop > start:
        steps.append(Forward(data if start == 0 and stop == len(data) else data[start:stop]))


def _check(kind: int, length: int) -> None:
    """``PeerError`` when no message of this type is that long."""
    if length < 4 or length > (LONG_MOST if kind in _LONG else SHORT_MOST):
        raise PeerError(f"a message of type {kind} and {length} bytes", code="protocol")
