"""What travels from the control side to every node: the items of the feed.

A feed item is written in the same transaction as the change it tells of. Nodes read it in order of ``seq``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.core.identity import Who, names
from proxy.core.words import StoredWord


class Effect(StoredWord):
    """What an item does to sessions, for a reader that does not know its kind: ends what its scope names, or
    nothing. Any other word ends too."""

    ENDS = "ends"
    INFORMS = "informs"


class FeedKind(StoredWord):
    """What an item tells; ``EFFECTS`` says which of them end."""

    REVOKED = "revoked"  # scope grant | identity | resource | token | all
    LOCKED = "locked"  # scope identity | resource
    EXTENDED = "extended"  # scope grant; data: {"ends": float, "rule": str, "mac": str}
    CUT = "cut"  # scope session
    CANCEL = "cancel"  # scope node; data: the protocol's own, see protocols.postgres.cancels
    RELOADED = "reloaded"  # configuration changed; data: {"digest": str}
    KEYS = "keys"  # the signing keys changed: read them again


EFFECTS: Mapping[FeedKind, Effect] = {
    FeedKind.REVOKED: Effect.ENDS,
    FeedKind.LOCKED: Effect.ENDS,
    FeedKind.EXTENDED: Effect.INFORMS,
    FeedKind.CUT: Effect.ENDS,
    FeedKind.CANCEL: Effect.INFORMS,
    FeedKind.RELOADED: Effect.INFORMS,
    FeedKind.KEYS: Effect.INFORMS,
}


class Scope(StoredWord):
    """What the key of an item or a lock names."""

    ALL = "all"
    GRANT = "grant"
    IDENTITY = "identity"
    RESOURCE = "resource"
    TOKEN = "token"
    SESSION = "session"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One row: ``seq`` increases without gaps in commit order; ``by``, ``reason``: shown to who is cut. ``by`` and
    the ``key`` of an identity are ids; ``data["names"]`` has the names of those whose name was another. ``effect``
    is what the row says for who does not know its kind; ask ``ends``."""

    seq: int
    at: float
    kind: FeedKind
    scope: Scope
    key: str
    by: str = ""
    reason: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
    effect: Effect = Effect.INFORMS

    @property
    def ends(self) -> bool:
        """Whether it ends sessions: what its kind does, where that is known, not what somebody wrote beside it."""
        return EFFECTS.get(self.kind, self.effect) is not Effect.INFORMS

    @property
    def is_known(self) -> bool:
        """Whether this version knows both what it tells and what it names."""
        return self.kind.is_known and self.scope.is_known

    def name_of(self, id: str) -> str:
        """Return the name that went with an id of this item when it was published."""
        names = self.data.get("names")
        return str(names.get(id, id)) if isinstance(names, Mapping) else id


def with_names(*known: Who) -> dict[str, object]:
    """Return the ``data`` of an item that tells the names of these people; empty where each name is the id."""
    found = names(*known)
    return {"names": found} if found else {}
