"""A row of the trail, as stored, chained and exported. Made by ``audit.chain``, kept by the store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TrailRow:
    """``digest`` (hex SHA-256) covers every other field and ``previous``, the digest of the row before.

    ``seq`` starts at 1 and has no gaps. ``subjects`` are the ids a reader searches by.
    """

    seq: int
    at: float
    node: str
    kind: str
    actor: str
    subjects: Mapping[str, str]
    body: Mapping[str, Any]
    previous: str
    digest: str


@dataclass(frozen=True, slots=True)
class TrailHead:
    """A signed statement that the trail had ``seq`` rows and ended in ``digest`` at ``at``. The signature is
    Ed25519 over the text of ``audit.heads.signed_text`` by key ``kid``, base64url."""

    seq: int
    digest: str
    at: float
    kid: str
    signature: str
