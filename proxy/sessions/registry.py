"""The live sessions of this process, found by whatever may end them. Used by ``watch``, the kernel and engines.

Knows keys only, no protocol and no store. Everything here is synchronous: nothing interleaves.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Protocol

from proxy.core.feed import FeedItem, FeedKind, Scope
from proxy.core.states import EndReason


class Endable(Protocol):
    """What the registry keeps: something with an id that can be ended and told of a new end of its grant."""

    id: str

    def end(self, reason: EndReason, detail: str = "", requested: float | None = None) -> None: ...
    def extend(self, item: FeedItem) -> None: ...


END_OF: Mapping[tuple[FeedKind, Scope], EndReason] = {
    (FeedKind.REVOKED, Scope.ALL): EndReason.GRANT_REVOKED,
    (FeedKind.REVOKED, Scope.GRANT): EndReason.GRANT_REVOKED,
    (FeedKind.REVOKED, Scope.IDENTITY): EndReason.GRANT_REVOKED,
    (FeedKind.REVOKED, Scope.RESOURCE): EndReason.GRANT_REVOKED,
    (FeedKind.REVOKED, Scope.TOKEN): EndReason.TOKEN_REVOKED,
    (FeedKind.LOCKED, Scope.IDENTITY): EndReason.USER_LOCKED,
    (FeedKind.LOCKED, Scope.RESOURCE): EndReason.RESOURCE_LOCKED,
    (FeedKind.CUT, Scope.SESSION): EndReason.CUT_BY_ADMIN,
}
"""How the end is called by which a known item of the feed ends sessions; for any other that ends,
``UNKNOWN_ORDER``."""


class Registry:
    """Sessions by (scope, key). A session is filed under its grant, identity and token as soon as its token names
    them, before they are checked (subscribe first, check second), and under its resource once that is known.
    ``node`` is whose process this is."""

    def __init__(self, node: str = "") -> None:
        self._node = node
        self._sessions: dict[str, Endable] = {}
        self._filed: defaultdict[tuple[Scope, str], dict[str, Endable]] = defaultdict(dict)
        self._keys: dict[str, list[tuple[Scope, str]]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Endable]:
        return iter(list(self._sessions.values()))

    def get(self, id: str) -> Endable | None:
        return self._sessions.get(id)

    def file(self, session: Endable, scope: Scope, key: str) -> None:
        """Let items of this scope and key reach the session."""
        self._sessions[session.id] = session
        self._filed[scope, key][session.id] = session
        self._keys.setdefault(session.id, []).append((scope, key))

    def remove(self, session: Endable) -> None:
        self._sessions.pop(session.id, None)
        for key in self._keys.pop(session.id, []):
            filed = self._filed[key]
            filed.pop(session.id, None)
            if not filed:
                del self._filed[key]

    def everybody(self, item: FeedItem) -> bool:
        """Whether an item is about each session here: one that ends something of which this version does not know
        what it is may be about any."""
        if item.scope is Scope.NODE:
            return item.key == self._node
        return item.scope is Scope.ALL or (item.ends and not item.scope.is_known)

    def matching(self, item: FeedItem) -> list[Endable]:
        """The sessions an item is about."""
        if self.everybody(item):
            return list(self)
        if item.scope is Scope.SESSION:
            session = self._sessions.get(item.key)
            return [session] if session else []
        return list(self._filed.get((item.scope, item.key), {}).values())

    def apply(self, item: FeedItem) -> int:
        """End, or extend, what the item is about; how many that were."""
        if not item.ends and item.kind is not FeedKind.EXTENDED:
            return 0
        sessions = self.matching(item)
        for session in sessions:
            act(session, item)
        return len(sessions)


def act(session: Endable, item: FeedItem) -> None:
    """Do to one session what an item of the feed says."""
    if item.ends:
        reason = END_OF.get((item.kind, item.scope), EndReason.UNKNOWN_ORDER)
        who = f"by {item.name_of(item.by)}" if item.by else ""
        session.end(reason, ": ".join(part for part in (who, item.reason) if part), item.at)
    elif item.kind is FeedKind.EXTENDED:
        session.extend(item)
