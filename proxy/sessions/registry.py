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
    def extend(self, ends: float, rule: str, mac: str) -> None: ...


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
"""Which items of the feed end sessions, and how the end is called."""


class Registry:
    """Sessions by (scope, key). A session is filed under its grant, identity and token as soon as its token names
    them, before they are checked (subscribe first, check second), and under its resource once that is known."""

    def __init__(self) -> None:
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

    def matching(self, item: FeedItem) -> list[Endable]:
        """The sessions an item is about."""
        if item.scope is Scope.ALL:
            return list(self._sessions.values())
        if item.scope is Scope.SESSION:
            session = self._sessions.get(item.key)
            return [session] if session else []
        return list(self._filed.get((item.scope, item.key), {}).values())

    def apply(self, item: FeedItem) -> int:
        """End, or extend, what the item is about; how many that were."""
        sessions = self.matching(item)
        for session in sessions:
            act(session, item)
        return len(sessions)


def act(session: Endable, item: FeedItem) -> None:
    """Do to one session what an item of the feed says."""
    reason = END_OF.get((item.kind, item.scope))
    if reason is not None:
        who = f"by {item.name_of(item.by)}" if item.by else ""
        session.end(reason, ": ".join(part for part in (who, item.reason) if part), item.at)
    elif item.kind is FeedKind.EXTENDED:
        ends = item.data.get("ends")
        if isinstance(ends, int | float):
            session.extend(float(ends), str(item.data.get("rule", "")), str(item.data.get("mac", "")))
