"""Reading a Bind message: which statement, which portal, which values. Pure; called by ``frontend``.

Source: PostgreSQL manual, "Message Formats", Bind. Two ways to the same answer: at once, for a message in memory,
and piece by piece for one too long to hold. Of a value over the limit only a prefix is kept, with its length and
SHA-256. Errors: ``PeerError`` (protocol).
"""

import hashlib
import struct
from collections.abc import Callable, Collection, Generator, Iterable
from itertools import repeat, zip_longest
from typing import NamedTuple

from proxy.core.errors import PeerError
from proxy.core.records import Parameter
from proxy.protocols.postgres.keeping import VALUE
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.redact import redact_value
from proxy.recording.codec import Packed, value_of

_COUNT = struct.Struct("!H")
_LENGTH = struct.Struct("!i")
VALUES_A_TURN, BYTES_A_VALUE = 128, 32
"""Values of a long Bind that are read at once, and how many bytes of one take as long as a short one."""
FEW = 512
"""Of more values what is recorded is made as they are read."""
PLAIN_MOST = 12
"""No token, and no URI or setting with a password worth the name, is shorter."""

Known = tuple[tuple[int, ...], Collection[int]]

Kind = tuple[int, int]
"""Of a value: its type oid, 0 where that is not known, and its format code."""


class Bind(NamedTuple):
    """A Bind as read. ``formats`` are the result format codes; the values of the parameters ``masked`` are not kept
    any more."""

    portal: bytes
    statement: bytes
    parameters: tuple[Parameter, ...]
    formats: tuple[int, ...]
    masked: Collection[int] = ()


def _broken(why: str) -> PeerError:
    return PeerError(f"invalid Bind message: {why}", code="protocol")


def read_names(data: bytes, start: int, stop: int) -> tuple[bytes, bytes, int]:
    """Portal and statement of the Bind whose body is ``data[start:stop]``, and where its values begin."""
    portal_end = data.find(0, start, stop)
    name_end = data.find(0, portal_end + 1, stop)
    if portal_end < 0 or name_end < 0:
        raise _broken("a name does not end")
    return data[start:portal_end], data[portal_end + 1 : name_end], name_end + 1


class Values(NamedTuple):
    """What a Bind holds behind its names: the values, which stand from ``begin`` to ``end``, and result formats."""

    parameters: tuple[Parameter, ...]
    formats: tuple[int, ...]
    begin: int
    end: int


def read_values(data: bytes, position: int, stop: int, limits: Limits, types: tuple[int, ...]) -> Values:
    """The values of a Bind, with the type oids given, and its result formats."""
    try:
        kinds, begin = kinds_at(data, position, types)
        values, end = values_at(data, begin, stop, kinds, limits)
        formats, position = _formats(data, end)
    except struct.error:
        raise _broken("it ends too early") from None
    if position != stop:
        raise _broken("its parts do not add up to its length")
    return Values(values, formats, begin, end)


def kinds_at(data: bytes, position: int, types: tuple[int, ...]) -> tuple[Iterable[Kind], int]:
    """What each value of a Bind is, and where the first one begins."""
    formats, position = _formats(data, position)
    (count,) = _COUNT.unpack_from(data, position)
    if formats:
        _check(formats, count)
    forms = formats if len(formats) > 1 else repeat(formats[0] if formats else 0, count)
    return zip_longest(types[:count], forms, fillvalue=0), position + 2


def values_at(
    data: bytes, position: int, stop: int, kinds: Iterable[Kind], limits: Limits
) -> tuple[tuple[Parameter, ...], int]:
    """The values that begin at ``position``, one for each of ``kinds``, and where they end: at ``stop`` at the
    latest."""
    length_at = _LENGTH.unpack_from
    budget, most = limits.max_values, limits.max_value
    values: list[Parameter] = []
    for oid, form in kinds:
        (length,) = length_at(data, position)
        position += 4
        if length < 0:
            if length != -1:
                raise _broken("a negative length")
            values.append((oid, form, None, 0, ""))
            continue
        value = data[position : position + length]
        position += length
        if position > stop:
            raise _broken("a value does not end")
        if length <= PLAIN_MOST and length <= budget and length <= most:
            budget -= length
            values.append((oid, form, value, length, ""))
        else:
            kept = kept_of(oid, value, form, budget, most)
            budget -= len(kept[2] or b"")
            values.append(kept)
    return tuple(values), position


def _formats(data: bytes, position: int) -> tuple[tuple[int, ...], int]:
    (count,) = _COUNT.unpack_from(data, position)
    position += 2
    if not count:
        return (), position
    return struct.unpack_from(f"!{count}h", data, position), position + 2 * count


def _check(formats: tuple[int, ...], count: int) -> None:
    if len(formats) > 1 and len(formats) != count:
        raise _broken(f"{len(formats)} formats for {count} parameters")
    for form in {*formats} - {0, 1}:
        raise _broken(f"format {form}")


def kept_of(oid: int, value: bytes, form: int, budget: int, most: int) -> Parameter:
    """What is kept of a whole value."""
    length = len(value)
    if length <= most and length <= budget:
        return oid, form, redact_value(value, form) if length > PLAIN_MOST else value, length, ""
    prefix = value[: min(most, budget)]
    return oid, form, redact_value(prefix, form), length, hashlib.sha256(value).hexdigest()


def hidden(value: Parameter) -> Parameter:
    """A value of which nothing is kept but that there was one."""
    return value[0], 0, b"***", value[3], ""


class BindReader:
    """Reads a long Bind as its bytes come by: ``feed``, and then ``more`` until that is False; until ``bind`` is
    there. Holds a prefix of each value. ``known`` gives, of a statement by its name, the types of its parameters
    and the numbers of those whose values are not kept."""

    def __init__(self, limits: Limits, length: int, known: Callable[[bytes], Known]) -> None:
        self.bind: Bind | None = None
        self._limits = limits
        self._known = known
        self._left = length
        self._buffer = bytearray()
        self._paused = False
        self._reading = self._read()
        next(self._reading)

    def feed(self, data: bytes) -> None:
        """The next bytes of the body."""
        self._left -= len(data)
        self._buffer += data

    def more(self) -> bool:
        """Read a few values; whether more are here to be read."""
        self._paused = False
        try:
            next(self._reading)
        except StopIteration:
            if self._buffer or self._left:
                raise _broken("its parts do not add up to its length") from None
        if self._left <= 0 and self.bind is None and not self._paused:
            raise _broken("it ends too early")
        return self._paused

    def _need(self, size: int) -> Generator[None, None, bytes]:
        while len(self._buffer) < size:
            if size > len(self._buffer) + self._left:
                raise _broken("it ends too early")
            yield
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _string(self) -> Generator[None, None, bytes]:
        while (end := self._buffer.find(b"\0")) < 0:
            if len(self._buffer) > self._limits.hold_bind or not self._left:
                raise _broken("a name does not end")
            yield
        taken = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return taken

    def _codes(self) -> Generator[None, None, tuple[int, ...]]:
        count = _COUNT.unpack((yield from self._need(2)))[0]
        return struct.unpack(f"!{count}h", (yield from self._need(2 * count)))

    def _read(self) -> Generator[None, None, None]:
        yield
        portal = yield from self._string()
        statement = yield from self._string()
        formats = yield from self._codes()
        count = _COUNT.unpack((yield from self._need(2)))[0]
        _check(formats, count)
        types, secrets = self._known(statement)
        values: list[Parameter] = []
        packed: list[bytes] = []
        budget, work = self._limits.max_values, 0
        for index in range(count):
            form = formats[index] if len(formats) > 1 else formats[0] if formats else 0
            value = yield from self._value(types[index] if index < len(types) else 0, form, budget)
            budget -= len(value[2] or b"")
            values.append(hidden(value) if index + 1 in secrets else value)
            if count > FEW:
                packed.append(value_of(values[-1]))
            work += 1 + len(value[2] or b"") // BYTES_A_VALUE
            if work >= VALUES_A_TURN:
                work, self._paused = 0, True
                yield
        results = yield from self._codes()
        parameters = self._packed(values, packed, self._limits.max_values - budget) if packed else tuple(values)
        self.bind = Bind(portal, statement, parameters, results, secrets)

    def _packed(self, values: list[Parameter], packed: list[bytes], size: int) -> Packed:
        parameters = Packed(values)
        parameters.packed = b"".join(packed)
        parameters.held = VALUE * len(values) + size + len(parameters.packed)
        return parameters

    def _value(self, oid: int, form: int, budget: int) -> Generator[None, None, Parameter]:
        length = _LENGTH.unpack((yield from self._need(4)))[0]
        if length < 0:
            if length != -1:
                raise _broken("a negative length")
            return oid, form, None, 0, ""
        if length <= self._limits.max_value and length <= budget:
            return kept_of(oid, (yield from self._need(length)), form, budget, self._limits.max_value)
        if length > len(self._buffer) + self._left:
            raise _broken("a value does not end")
        most = min(self._limits.max_value, budget)
        prefix, digest, left = b"", hashlib.sha256(), length
        while left:
            while not self._buffer:
                yield
            piece = bytes(self._buffer[:left])
            del self._buffer[:left]
            left -= len(piece)
            digest.update(piece)
            prefix = (prefix + piece[:most])[:most] if len(prefix) < most else prefix
        return oid, form, redact_value(prefix, form), length, digest.hexdigest()
