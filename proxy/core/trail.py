"""A row of the trail, as stored, chained and exported. Made by ``audit.chain``, kept by the store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TrailRow:
    """``digest`` (hex SHA-256) covers every other field and ``previous``, the digest of the row before.

    ``seq`` starts at 1 and has no gaps. ``subjects`` are the ids a reader searches by. ``format`` says how the row
    is hashed (see ``audit.chain``). In format 2 ``digest`` covers ``body_digest`` in the place of actor, subjects
    and body, and that covers them with ``salt`` (hex): so these four can be erased, and the chain still holds.
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
    format: int = 1
    body_digest: str = ""
    salt: str = ""

    @property
    def erased(self) -> bool:
        """Whether what the row said was taken out: a row that can be erased and has no salt."""
        return self.format > 1 and not self.salt


@dataclass(frozen=True, slots=True)
class TrailHead:
    """A signed statement that the trail had ``seq`` rows and ended in ``digest`` at ``at``. The signature is
    Ed25519 over the text of ``audit.heads.signed_text`` by key ``kid``, base64url. ``origin`` is 1 until a store is
    put back from a backup; each time it is one more, since from there on rows have the numbers of lost ones."""

    seq: int
    digest: str
    at: float
    kid: str
    signature: str
    origin: int = 1
