"""Trails and signed heads for tests."""

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.audit.chain import linked, salted
from proxy.audit.heads import make
from proxy.core.trail import TrailHead, TrailRow

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC: Mapping[str, object] = {"head-1": KEY.public_key()}


def link(*said: Any) -> TrailRow:
    """A row of format 1: sequence, instant, node, kind, actor, subjects, body, and the digest before it."""
    return linked(TrailRow(*said, ""))


def link_salted(*said: Any) -> TrailRow:
    """A row of format 2: the same, and a salt."""
    return salted(TrailRow(*said[:-1], ""), said[-1])


def sign(text: bytes) -> tuple[str, str]:
    return "head-1", base64.urlsafe_b64encode(KEY.sign(text)).rstrip(b"=").decode()


def head(row: TrailRow) -> TrailHead:
    """The signed head of a trail that ends in ``row``."""
    return make(row.seq, row.digest, row.at + 0.5, sign)


def trail(length: int, *, word: str = "x") -> list[TrailRow]:
    rows: list[TrailRow] = []
    for seq in range(1, length + 1):
        previous = rows[-1].digest if rows else ""
        body: dict[str, Any] = {"reason": word, "ends": 1.5 * seq, "none": None, "list": [1, "ü"]}
        rows.append(
            link(seq, 1_800_000_000.0 + seq / 3, "n1", "grant_issued", "alice", {"grant": "g"}, body, previous)
        )
    return rows


SALT = "5a" * 16


def mixed(kinds: str) -> list[TrailRow]:
    """A row for each letter: of format 1, of format 2, or an erased one (e)."""
    rows: list[TrailRow] = []
    for seq, kind in enumerate(kinds, 1):
        previous = rows[-1].digest if rows else ""
        said = (seq, 1_800_000_000.0 + seq / 3, "n1", "request_made", "alice", {"grant": "g"}, {"reason": "x"})
        row = link(*said, previous) if kind == "1" else link_salted(*said, previous, SALT)
        rows.append(erased(row) if kind == "e" else row)
    return rows


def erased(row: TrailRow) -> TrailRow:
    """The row without what it said."""
    return changed(row, actor="", subjects={}, body={}, salt="")


def session_rows(*sessions: tuple[str, str, str], node: str = "") -> list[TrailRow]:
    """Start and end of each (session, recording's key, digest), on ``node``."""
    rows: list[TrailRow] = []

    def add(kind: str, session: str, body: dict[str, Any]) -> None:
        previous = rows[-1].digest if rows else ""
        rows.append(link(len(rows) + 1, 1.0, "n1", kind, "alice", {"session": session}, body, previous))

    for session, key, _ in sessions:
        add("session_started", session, {"session": session, "recording": key, "node": node})
    for session, _, digest in sessions:
        add("session_ended", session, {"session": session, "recording_digest": digest})
    return rows


def changed(row: TrailRow, **changes: object) -> TrailRow:
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]
