"""The trail's chain: each row's digest covers the row and the digest before it. Pure; used by the store and verify.

A row is hashed in one of two formats, and stores which. All JSON is canonical: keys sorted by code point, no space,
floats as Python's shortest ``repr``. A digest is SHA-256, in hex.

* Format 1 (all rows until 0.1): over one object of all the other fields, UTF-8 as it is.
* Format 2: over the list ``[2, seq, at, node, kind, previous, body digest]``, where the body digest is over
  ``[salt, actor, subjects, body]``; both in ASCII, everything else as ``\\uXXXX`` in UTF-16. The salt (16 random
  bytes) keeps anybody from finding out an erased name by hashing guesses. What an erased row has lost are these
  four; it still has both digests, so the chain goes through it. Whether it *may* be erased is ``erasure``'s matter.

An object is no list: no row of one format can be told as a row of the other with the same digest.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from proxy.core.trail import TrailRow

PLAIN, SALTED = 1, 2
"""The formats."""
SALT_BYTES = 16

FIRST = (0, "")
"""(seq, digest) that the first row comes after."""

_encode_plain = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_write = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing that is wrong: at which row, and what, in words."""

    seq: int
    what: str


def linked(row: TrailRow) -> TrailRow:
    """Return ``row`` as one of format 1, with its digest."""
    return replace(row, digest=digest(row))


def salted(row: TrailRow, salt: str) -> TrailRow:
    """Return what ``row`` says as a row of format 2, with its digests. ``salt``: ``SALT_BYTES`` random bytes, in
    hex. The row's fields are settled, so that it is hashed the same once it went through a store. Errors:
    ValueError for an ``at`` that is no number."""
    made = replace(
        row,
        at=float(row.at) + 0.0,  # -0.0 would come back from SQLite as 0.0
        node=storable(row.node),
        actor=storable(row.actor),
        subjects={name: storable(value) for name, value in row.subjects.items()},
        body=settled(row.body),
        format=SALTED,
        salt=salt,
    )
    made = replace(made, body_digest=body_digest(made))
    return replace(made, digest=digest(made))


def settled(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``body`` as it comes back from any store: lists for tuples, text for keys, one character where two
    halves of a surrogate pair stood beside each other, and the words NaN, Infinity and -Infinity for the floats
    that JSON lacks."""
    found: dict[str, Any] = json.loads(_write(body), parse_constant=str)
    return found


def storable(text: str) -> str:
    """Return ``text`` as a column of text can hold it in every database: U+FFFD for half a surrogate pair (SQLite
    and PostgreSQL refuse it) and for NUL (PostgreSQL does)."""
    if text.isascii():
        return text.replace("\0", "\ufffd")
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\0", "\ufffd")


def digest(row: TrailRow) -> str:
    """Return what the row's digest must be, by its format; its own ``digest`` field is not looked at."""
    return hashlib.sha256(canonical(row)).hexdigest()


def body_digest(row: TrailRow) -> str:
    """Return what the body digest of a row of format 2 must be, if it is not erased."""
    return hashlib.sha256(canonical_body(row)).hexdigest()


def canonical(row: TrailRow) -> bytes:
    """Return the bytes that are hashed."""
    if row.format != PLAIN:
        fields = [row.format, row.seq, float(row.at), row.node, row.kind, row.previous, row.body_digest]
        return _encode(fields).encode("ascii")
    whole = {
        "seq": row.seq,
        "at": row.at,
        "node": row.node,
        "kind": row.kind,
        "actor": row.actor,
        "subjects": dict(row.subjects),
        "body": dict(row.body),
        "previous": row.previous,
    }
    return _encode_plain(whole).encode()


def canonical_body(row: TrailRow) -> bytes:
    """Return the bytes of a row of format 2 that its body digest is over."""
    return _encode([row.salt, row.actor, dict(row.subjects), dict(row.body)]).encode("ascii")


def verify(rows: Iterable[TrailRow], after: tuple[int, str] = FIRST) -> Finding | None:
    """The first row, oldest first, that does not follow from ``after`` and the rows before it; None when all do."""
    seq, previous = after
    for row in rows:
        finding = follows(row, seq, previous)
        if finding is not None:
            return finding
        seq, previous = row.seq, row.digest
    return None


def follows(row: TrailRow, seq: int, previous: str) -> Finding | None:
    """What is wrong with ``row`` behind row ``seq`` with digest ``previous``; None when nothing is."""
    if row.seq != seq + 1:
        return Finding(seq + 1, f"row {seq + 1} is missing: row {row.seq} follows row {seq}")
    if row.previous != previous:
        return Finding(row.seq, f"row {row.seq} does not follow the row before it: one of them was replaced")
    if row.format not in (PLAIN, SALTED):
        return Finding(row.seq, f"row {row.seq} has a format that this version does not know, {row.format}")
    return None if _whole(row) else Finding(row.seq, f"row {row.seq} was altered")


def _whole(row: TrailRow) -> bool:
    """Whether the row says what was hashed, or, where it is erased, nothing at all."""
    try:
        if row.digest != digest(row):
            return False
        if row.format == PLAIN:
            return not row.body_digest and not row.salt
        if row.erased:
            return not (row.actor or row.subjects or row.body)
        return row.body_digest == body_digest(row)
    except (TypeError, ValueError):  # what no chain of ours ever held: half a surrogate pair, NaN, a set
        return False
