"""Descriptions of kept result rows. Pure; called by ``pending`` where rows are kept.

Source: PostgreSQL manual, "Message Formats", RowDescription. A description that was asked for a *statement* says
format 0 for every column, since the formats are only chosen by Bind: they are put in before the record is written.
"""

import struct

from proxy.protocols.postgres.names import Portal

_FORMAT = struct.Struct("!h")
FIELD_TAIL = 18
"""Bytes of a field behind its name: table, column, type, size, modifier, format."""


def described(description: bytes, portal: Portal | None) -> bytes:
    """The RowDescription body that fits the rows: the query's own, the portal's, or the statement's with the
    portal's formats; b"" when the client never asked for one."""
    if description or portal is None:
        return description
    if portal.description:
        return portal.description
    if portal.prepared is None or not portal.prepared.description:
        return b""
    return with_formats(portal.prepared.description, portal.formats)


def with_formats(description: bytes, formats: tuple[int, ...]) -> bytes:
    """``description`` with result format codes as Bind gives them: none, one for all, or one each."""
    if not formats:
        return description
    patched = bytearray(description)
    position = 2
    for index in range(int.from_bytes(description[:2], "big")):
        end = description.find(b"\0", position) + 1
        if not end or end + FIELD_TAIL > len(description):
            return description
        chosen = formats[0] if len(formats) == 1 else formats[index] if index < len(formats) else 0
        _FORMAT.pack_into(patched, end + FIELD_TAIL - 2, chosen)
        position = end + FIELD_TAIL
    return bytes(patched)
