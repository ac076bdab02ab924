"""Recorded bind values and result columns as JSON can hold them: decoded when somebody reads them, never on the
session path. Pure; implements ``core.ports.Rows``; given to the API and to replay by the composition root.

Text format stays text, whatever the type: it is what the person saw. Binary values of the common types are decoded
as the server's ``typsend`` functions write them (PostgreSQL manual, chapter "Frontend/Backend Protocol", "Formats
and Format Codes"; the formats themselves are those of src/backend/utils/adt). Everything else, and whatever does
not decode, becomes ``{"base64": …, "format": "binary"}``. Never raises for what a target may have sent.
"""

import base64
import struct
from collections.abc import Callable, Iterable, Mapping

from proxy.protocols.postgres.binary import DECODERS, ELEMENTS, decode_array
from proxy.protocols.postgres.results import FIELD_TAIL

Decoder = Callable[[bytes], object]
TEXT = 0


def undecoded(value: bytes) -> dict[str, str]:
    """A binary value nobody here understands."""
    return {"base64": base64.b64encode(value).decode(), "format": "binary"}


class PostgresRows:
    """``core.ports.Rows`` for PostgreSQL."""

    def parameter(self, oid: int, format: int, value: bytes) -> object:
        """One bind value or column: ``oid`` 0 where the type is not known, ``format`` 0 text, 1 binary."""
        if format == TEXT:
            return text(value)
        return decode(oid, value)

    def rows(self, description: bytes, rows: Iterable[bytes]) -> list[dict[str, object]]:
        """Raw DataRow bodies as dicts by column name, in order; a name that comes twice gets a number. Without a
        description the columns are called 1, 2, 3 … and are taken for text where they are UTF-8."""
        columns = columns_of(description)
        return [_row(columns, body) for body in rows]


def text(value: bytes) -> object:
    """Text as text; bytes that are not UTF-8 (another client encoding) as base64."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode(), "format": "text"}


def decode(oid: int, value: bytes) -> object:
    """A binary value by its type."""
    decoder: Mapping[int, Decoder] = DECODERS
    try:
        if oid in decoder:
            return decoder[oid](value)
        if oid in ELEMENTS:
            return decode_array(ELEMENTS[oid], value)
    except (struct.error, ValueError, OverflowError, IndexError):
        pass
    return undecoded(value)


def columns_of(description: bytes) -> list[tuple[str, int, int]]:
    """(name, type oid, format) of each column of a RowDescription body; as many as it holds whole."""
    columns: list[tuple[str, int, int]] = []
    seen: dict[str, int] = {}
    position = 2
    for _ in range(int.from_bytes(description[:2], "big")):
        end = description.find(b"\0", position)
        if end < 0 or end + 1 + FIELD_TAIL > len(description):
            break
        name = description[position:end].decode("utf-8", "replace")
        seen[name] = seen.get(name, 0) + 1
        oid, _, _, form = struct.unpack_from("!IhiH", description, end + 7)
        columns.append((name if seen[name] == 1 else f"{name} ({seen[name]})", oid, form))
        position = end + 1 + FIELD_TAIL
    return columns


def _row(columns: list[tuple[str, int, int]], body: bytes) -> dict[str, object]:
    row: dict[str, object] = {}
    position = 2
    for index in range(int.from_bytes(body[:2], "big")):
        if position + 4 > len(body):
            break
        length = int.from_bytes(body[position : position + 4], "big", signed=True)
        position += 4
        name, oid, form = columns[index] if index < len(columns) else (str(index + 1), 0, TEXT)
        if length < 0:
            row[name] = None
            continue
        value = body[position : position + length]
        row[name] = text(value) if form == TEXT else decode(oid, value)
        position += length
    return row
