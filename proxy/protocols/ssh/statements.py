"""The records of one statement of a transfer. Pure; made by ``sftp`` and ``scp``."""

import hashlib

from proxy.core.records import Note, Outcome, Record, StatementFinished, StatementStarted
from proxy.core.steps import Observe, Step

TEXT_MOST = 16 * 1024
"""Longer texts are kept as a prefix with their length and hash: no file system has such paths."""


def started(seq: int, via: int, text: bytes) -> StatementStarted:
    if len(text) <= TEXT_MOST:
        return StatementStarted(seq, via, 0, 0, text, 0, "", b"", b"", ())
    digest = hashlib.sha256(text).hexdigest()
    return StatementStarted(seq, via, 0, 0, text[:TEXT_MOST], len(text), digest, b"", b"", ())


def finished(seq: int, outcome: Outcome, tag: bytes, error: bytes = b"", size: int = 0) -> StatementFinished:
    return StatementFinished(seq, outcome, tag, -1, size, b"", error, 0)


def denied(seq: int, via: int, text: bytes, why: bytes) -> list[Step]:
    """It was asked for and never left."""
    records: list[Record] = [started(seq, via, text), finished(seq, Outcome.DENIED, b"", why)]
    return [Observe(record) for record in records]


def warning(seq: int, text: str) -> Note:
    """Something about statement ``seq`` that the record cannot vouch for."""
    return Note("warning", (("statement", seq), ("text", text)))
