"""The shapes of chunk that most sessions consist of, taken in one go: a Query of one statement; a Bind, Describe,
Execute, Sync of a settled prepared statement; and the whole answer to one of them. Pure; given every chunk first
by ``inspector``.

Whatever is not exactly such a chunk is left to the general way, which gives the same steps: this file is speed
alone. While a statement that was sent this way is unanswered it is ``pending.quick``, and nothing else is.
"""

import struct
from collections.abc import Callable, Iterable, Mapping

from proxy.core.errors import PeerError
from proxy.core.records import StatementFinished, StatementStarted
from proxy.core.steps import Fed, Recorded, Step
from proxy.protocols.postgres.binding import kinds_at, read_values, values_at
from proxy.protocols.postgres.entries import IDLE, Quick, rows_of
from proxy.protocols.postgres.names import Usual
from proxy.protocols.postgres.naming import prepare_plain
from proxy.protocols.postgres.pending import ENDS, Pending
from proxy.protocols.postgres.redact import sensitive
from proxy.protocols.postgres.verbs import WATCHED

_LENGTH = struct.Struct("!xI").unpack_from
_HEADER = struct.Struct("!BI").pack
_MOST = 16 * 1024
_USUAL_MOST, _KIND = 2048, 64
"""Bytes of a usual Bind that may be kept, and what each of its kinds takes: it is kept with every name, beside what
those are allowed to hold."""
_QUERY, _PARSE, _BIND, _ROW, _COMPLETE = 81, 80, 66, 68, 67
_SLOW = WATCHED | frozenset(b"eE")
"""What a text begins with that is looked at closely: what changes names, COPY, ALTER, EXECUTE."""
_HARMLESS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ _,.=()*<>+\n\t"
"""A text of these alone has no literal, comment, URI or second statement in it."""
_NO_NUMBERS = bytes.maketrans(b"123456789", b"000000000")
_SHAPE_MOST, _SHAPES_MOST = 512, 64
"""What is remembered of texts that were looked at: their length, and how many."""
_RUN = b"E\0\0\0\x09\0\0\0\0\0S\0\0\0\4"
_DESCRIBE_RUN = b"D\0\0\0\6P\0" + _RUN
"""What follows a Bind of the unnamed portal: Execute of all rows and Sync, with or without Describe of the
portal."""
_BIND_DONE = b"2\0\0\0\4"
_PARSE_DONE = b"1\0\0\0\4" + _BIND_DONE
_READY = (b"Z\0\0\0\5I", b"Z\0\0\0\5T", b"Z\0\0\0\5E")
_USUAL_TAGS = (
    b"SELECT 1",
    b"SELECT 0",
    b"INSERT 0 1",
    b"UPDATE 1",
    b"DELETE 1",
    b"BEGIN",
    b"COMMIT",
    b"ROLLBACK",
    b"SET",
)
_USUAL_ENDS: Mapping[bytes, tuple[bytes, int, int]] = {
    _HEADER(_COMPLETE, len(tag) + 5) + tag + b"\0" + ready: (tag, rows_of(tag), ready[-1])
    for tag in _USUAL_TAGS
    for ready in _READY
}
"""What ``_read_end`` makes of it: looking it up takes a third of reading it."""
_tuple = tuple.__new__
"""A NamedTuple's own constructor takes twice as long."""


class Express:
    """Fast lane of one conversation. ``busy``: what the client sends has to go the general way, ``inside``: so has
    what the target sends; the general ways say so themselves."""

    __slots__ = ("_answers", "_asks", "_most", "_pending", "_shapes", "busy", "inside")

    def __init__(self, pending: Pending) -> None:
        self.busy = self.inside = False
        self._asks: Callable[[bytes], Iterable[Step]] = _closed
        self._answers: Callable[[bytes], Iterable[Step]] = _closed
        self._pending = pending
        self._shapes: set[bytes] = set()
        self._most = min(_MOST, pending.limits.max_text)

    def beside(self, asks: Callable[[bytes], Iterable[Step]], answers: Callable[[bytes], Iterable[Step]]) -> None:
        """The general ways for what the client sends and for what the target sends."""
        self._asks, self._answers = asks, answers

    # -- the client ----------------------------------------------------------------------------------------------

    def asked(self, chunk: bytes) -> Fed:
        """``Inspector.feeder`` of the client."""
        pending = self._pending
        size = len(chunk)
        if (
            self.busy
            or not 9 <= size <= self._most
            or pending.queue
            or pending.quick
            or pending.open_group
            or pending.skipping
        ):
            return self._asks(chunk)
        kind = chunk[0]
        if kind != _QUERY:
            if kind == _BIND:
                return self._bound_again(chunk, size) or self._bound(chunk, 0, b"", None) or self._asks(chunk)
            return (kind == _PARSE and self._parsed(chunk, size)) or self._asks(chunk)
        if (
            _LENGTH(chunk)[0] != size - 1
            or chunk[-1]
            or chunk[5] in _SLOW
            or chunk[7] in b"tT"
            or b"" in pending.statements.things
        ):
            return self._asks(chunk)
        text = chunk[5:-1]
        if not self._plain(text):
            return self._asks(chunk)
        pending.seq = seq = pending.seq + 1
        pending.group += 1
        pending.quick = seq
        pending.quick_bind = None
        return _tuple(StatementStarted, (seq, 0, pending.status, 0, text, 0, "", b"", b"", ()))

    def _plain(self, text: bytes) -> bool:
        """Whether a text is one statement, without a secret, and nothing has to be done to it. A program sends few
        that differ in more than their numbers, and those say nothing of it."""
        shape = text.translate(_NO_NUMBERS)
        if shape in self._shapes:
            return self._pending.encoding.plain
        if not self._looked_plain(text):
            return False
        if len(shape) <= _SHAPE_MOST and b"md0" not in shape.lower():  # "md5" is a word that calls for redaction
            if len(self._shapes) >= _SHAPES_MOST:
                self._shapes.clear()
            self._shapes.add(shape)
        return self._pending.encoding.plain

    def _looked_plain(self, text: bytes) -> bool:
        special = text.translate(None, _HARMLESS)
        if special and special != b";":
            if special.find(0) >= 0 or sensitive(text):
                return False
        elif text.find(b"eyJ") >= 0:
            return False
        return not (special and special.find(b";") >= 0 and text.find(b";") < len(text) - 1)

    def _parsed(self, chunk: bytes, size: int) -> Fed | None:
        """A Parse of the unnamed statement, then the rest of such a chunk."""
        stop = 1 + _LENGTH(chunk)[0]
        if chunk[5] or not 12 <= stop < size - 7 or chunk[stop] != _BIND or chunk[6] in _SLOW or chunk[8] in b"tT":
            return None
        end = chunk.find(0, 6)
        count, odd = divmod(stop - end - 3, 4)
        if odd or count < 0 or int.from_bytes(chunk[end + 1 : end + 3], "big") != count:
            return None
        text = chunk[6:end]
        if not self._plain(text):
            return None
        return self._bound(chunk, stop, text, struct.unpack_from(f"!{count}I", chunk, end + 3))

    def _bound_again(self, chunk: bytes, size: int) -> StatementStarted | None:
        """A Bind that differs in nothing but its values from the last one of its statement, and such a rest."""
        pending = self._pending
        if chunk[5]:  # a portal with a name: where that ends no statement's begins
            return None
        end = chunk.find(0, 6)
        name = chunk[6:end]
        prepared = pending.statements.things.get(name)
        if prepared is None or prepared.usual is None or prepared.withdrawn or not pending.encoding.plain:
            return None
        head, kinds, tail, messages, formats = prepared.usual
        begin, stop = end + len(head), size - len(tail)
        if (
            begin > stop
            or _LENGTH(chunk)[0] != size - messages - 1
            or not chunk.startswith(head, end)
            or not chunk.endswith(tail)
        ):
            return None
        try:
            parameters, end = values_at(chunk, begin, stop, kinds, pending.limits)
        except PeerError:
            return None
        if end != stop:
            return None
        return self._run((prepared, name, parameters, formats, False, messages > len(_RUN)))

    def _bound(self, chunk: bytes, start: int, text: bytes, types: tuple[int, ...] | None) -> Fed | None:
        """A Bind at ``start`` and the rest of such a chunk. ``text`` and ``types`` are of a Parse of the unnamed
        statement before it, which the Bind must be of; None: there is none."""
        pending = self._pending
        stop = start + 1 + _LENGTH(chunk, start)[0]
        tail = chunk[stop:]
        if chunk[start + 5] or (tail != _RUN and tail != _DESCRIBE_RUN):
            return None
        end = chunk.find(0, start + 6, stop)
        name = chunk[start + 6 : end]
        if name and not pending.encoding.plain:
            return None
        prepared = None
        if types is None:
            prepared = pending.statements.things.get(name)
            if (
                prepared is None
                or prepared.withdrawn
                or not prepared.settled
                or prepared.effect[0]
                or prepared.secrets
                or len(name) > 63
            ):
                return None
        elif name or len(pending.statements) >= pending.limits.max_names:
            return None
        known = prepared.types if prepared else types or ()
        try:
            values = read_values(chunk, end + 1, stop, pending.limits, known)
        except PeerError:
            return None
        if end < 0:
            return None
        steps: list[Step] = []
        if prepared is None:
            prepared = prepare_plain(pending, b"", text, types or (), steps)
        else:
            head, rest = chunk[end : values.begin], chunk[values.end :]
            kinds = tuple(kinds_at(chunk, end + 1, known)[0])
            if len(kinds) * _KIND + len(head) + len(rest) <= _USUAL_MOST:
                prepared.usual = Usual(head, kinds, rest, len(tail), values.formats)
        parsed, described = types is not None, len(tail) > len(_RUN)
        started = self._run((prepared, name, values.parameters, values.formats, parsed, described))
        return [*steps, Recorded(started, chunk)] if steps else started

    def _run(self, quick: Quick) -> StatementStarted:
        """``quick`` is sent."""
        pending = self._pending
        pending.seq = seq = pending.seq + 1
        pending.group += 1
        pending.quick = seq
        pending.quick_bind = quick
        prepared, name, parameters, _, _, _ = quick
        return _tuple(
            StatementStarted,
            (
                seq,
                2 if prepared.copies else 1,
                pending.status,
                prepared.ref,
                b"",
                prepared.length,
                prepared.digest,
                name,
                b"",
                parameters,
            ),
        )

    # -- the target ----------------------------------------------------------------------------------------------

    def answered(self, chunk: bytes) -> Fed:
        """``Inspector.feeder`` of the target: the end of the quick statement for the whole answer to it, with its
        rows."""
        pending = self._pending
        if not pending.quick or self.inside or pending.keep_rows or not chunk.endswith(_READY):
            return self._answers(chunk)
        last = len(chunk) - 6
        bound = pending.quick_bind
        position = 0
        if bound is not None:
            prepared, _, _, _, parsed, _ = bound
            done = _PARSE_DONE if parsed else _BIND_DONE
            if not chunk.startswith(done):
                return self._answers(chunk)
            position = len(done)
        # A length that makes no sense leads to what is no end: on, into the length itself, or out of the chunk.
        if chunk[position] in b"Tn":  # a description, or that there is none
            position += 1 + _LENGTH(chunk, position)[0]
        data_bytes = 0
        while position < last and chunk[position] == _ROW:
            (length,) = _LENGTH(chunk, position)
            data_bytes += length - 4
            position += length + 1
        end = chunk[position:]
        found = _USUAL_ENDS.get(end) or _read_end(end)
        if found is None:
            return self._answers(chunk)
        tag, rows, status = found
        if bound is not None:
            if not tag.startswith(prepared.tags or b""):
                return self._answers(chunk)
            if parsed or status != IDLE:
                pending.ran(bound, status)
        pending.answered += 1
        pending.status = status
        if pending.portals.things and (status == IDLE or tag in ENDS):
            pending.portals.forget(pending.answered)
        finished = _tuple(StatementFinished, (pending.quick, 0, tag, rows, data_bytes, b"", b"", status))
        pending.quick = 0
        return finished


def _closed(chunk: bytes) -> Iterable[Step]:
    """The general way before there is one."""
    raise AssertionError("nothing is beside the fast lane")


def _read_end(end: bytes) -> tuple[bytes, int, int] | None:
    """Tag, rows and transaction status of a CommandComplete with the ReadyForQuery behind it; None when ``end`` is
    anything else."""
    tag = end[5:-7]
    if len(end) < 12 or end[:5] != _HEADER(_COMPLETE, len(end) - 7) or end[-7] or tag.find(0) >= 0:
        return None
    return tag, rows_of(tag), end[-1]
