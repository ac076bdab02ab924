"""The trail's chain: each row's digest covers the row and the digest before it. Pure; used by the store and verify.

A digest is the SHA-256 (hex) of the row's other fields as canonical JSON: keys sorted, no spaces, UTF-8 as it is,
floats as Python's shortest ``repr``.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.trail import TrailRow

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode

FIRST = (0, "")
"""(seq, digest) that the first row comes after."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing that is wrong: at which row, and what, in words."""

    seq: int
    what: str


def link(
    seq: int,
    at: float,
    node: str,
    kind: str,
    actor: str,
    subjects: Mapping[str, str],
    body: Mapping[str, Any],
    previous: str,
) -> TrailRow:
    """The row with its digest."""
    row = TrailRow(seq, at, node, kind, actor, subjects, body, previous, "")
    return TrailRow(seq, at, node, kind, actor, subjects, body, previous, digest(row))


def digest(row: TrailRow) -> str:
    """What the row's digest must be; its own ``digest`` field is not looked at."""
    return hashlib.sha256(canonical(row)).hexdigest()


def canonical(row: TrailRow) -> bytes:
    """The bytes that are hashed."""
    fields = {
        "seq": row.seq,
        "at": row.at,
        "node": row.node,
        "kind": row.kind,
        "actor": row.actor,
        "subjects": dict(row.subjects),
        "body": dict(row.body),
        "previous": row.previous,
    }
    return _encode(fields).encode()


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
    if row.digest != digest(row):
        return Finding(row.seq, f"row {row.seq} was altered")
    return None
