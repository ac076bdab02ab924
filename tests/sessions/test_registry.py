"""Which items of the feed reach which sessions, and how the end is called."""

import pytest

from proxy.core.feed import Effect, FeedItem, FeedKind, Scope
from proxy.core.states import EndReason
from proxy.sessions.registry import Registry


class Kept:
    def __init__(self, id: str) -> None:
        self.id = id
        self.ends: list[tuple[EndReason, str, float | None]] = []
        self.extended: list[float] = []

    def end(self, reason: EndReason, detail: str = "", requested: float | None = None) -> None:
        self.ends.append((reason, detail, requested))

    def extend(self, item: FeedItem) -> None:
        self.extended.append(item.data["ends"])


def item(kind: FeedKind, scope: Scope, key: str, **data: object) -> FeedItem:
    return FeedItem(1, 50.0, kind, scope, key, by="dave", reason="leak", data=data)


@pytest.fixture
def registry() -> tuple[Registry, Kept, Kept]:
    registry, first, second = Registry("node-1"), Kept("s1"), Kept("s2")
    for session, grant, user, resource in ((first, "g1", "alice", "shop"), (second, "g2", "alice", "box")):
        registry.file(session, Scope.GRANT, grant)
        registry.file(session, Scope.IDENTITY, user)
        registry.file(session, Scope.RESOURCE, resource)
    return registry, first, second


@pytest.mark.parametrize(
    ("kind", "scope", "key", "reason", "hit"),
    [
        (FeedKind.REVOKED, Scope.GRANT, "g1", EndReason.GRANT_REVOKED, (1, 0)),
        (FeedKind.REVOKED, Scope.IDENTITY, "alice", EndReason.GRANT_REVOKED, (1, 1)),
        (FeedKind.REVOKED, Scope.RESOURCE, "box", EndReason.GRANT_REVOKED, (0, 1)),
        (FeedKind.REVOKED, Scope.ALL, "", EndReason.GRANT_REVOKED, (1, 1)),
        (FeedKind.LOCKED, Scope.IDENTITY, "alice", EndReason.USER_LOCKED, (1, 1)),
        (FeedKind.LOCKED, Scope.RESOURCE, "shop", EndReason.RESOURCE_LOCKED, (1, 0)),
        (FeedKind.CUT, Scope.SESSION, "s2", EndReason.CUT_BY_ADMIN, (0, 1)),
        (FeedKind.REVOKED, Scope.GRANT, "unknown", EndReason.GRANT_REVOKED, (0, 0)),
    ],
)
def test_an_item_ends_just_what_it_is_about(registry, kind, scope, key, reason, hit) -> None:  # type: ignore[no-untyped-def]
    kept, first, second = registry
    assert kept.apply(item(kind, scope, key)) == sum(hit)
    for session, was_hit in zip((first, second), hit, strict=True):
        assert session.ends == ([(reason, "by dave: leak", 50.0)] if was_hit else [])


def test_an_extension_moves_the_end_and_ends_nothing(registry) -> None:  # type: ignore[no-untyped-def]
    kept, first, second = registry
    kept.apply(item(FeedKind.EXTENDED, Scope.GRANT, "g1", ends=99.0))
    assert first.extended == [99.0]
    assert not first.ends
    assert not second.extended


def test_a_removed_session_is_reached_by_nothing(registry) -> None:  # type: ignore[no-untyped-def]
    kept, first, second = registry
    kept.remove(first)
    assert kept.apply(item(FeedKind.REVOKED, Scope.ALL, "")) == 1
    assert not first.ends
    assert len(kept) == 1
    assert second.ends


def later(kind: str, scope: str, key: str, effect: str) -> FeedItem:
    """An item with words of a later version."""
    return FeedItem(1, 50.0, FeedKind(kind), Scope(scope), key, by="dave", reason="quota", effect=Effect(effect))


@pytest.mark.parametrize(
    ("found", "hit"),
    [
        (later("paused", "grant", "g1", "ends"), (1, 0)),
        (later("paused", "identity", "alice", "ends"), (1, 1)),
        (later("paused", "identity", "bob", "ends"), (0, 0)),
        (later("paused", "session", "s2", "ends"), (0, 1)),
        (later("paused", "node", "node-1", "ends"), (1, 1)),
        (later("paused", "node", "node-2", "ends"), (0, 0)),
        (later("paused", "all", "", "ends"), (1, 1)),
        (later("paused", "team", "red", "ends"), (1, 1)),
        (later("revoked", "team", "red", "informs"), (1, 1)),
        (later("cut", "grant", "g2", "ends"), (0, 1)),
        (later("paused", "grant", "g1", "a third effect"), (1, 0)),
        (later("paused", "grant", "g1", "informs"), (0, 0)),
        (later("paused", "team", "red", "informs"), (0, 0)),
        (later("reloaded", "team", "red", "ends"), (0, 0)),
    ],
    ids=lambda each: f"{each.kind}-{each.scope}-{each.key}-{each.effect}" if isinstance(each, FeedItem) else "",
)
def test_what_a_later_version_wrote_ends_what_its_scope_names(registry, found, hit) -> None:  # type: ignore[no-untyped-def]
    kept, first, second = registry
    assert kept.apply(found) == sum(hit)
    for session, was_hit in zip((first, second), hit, strict=True):
        assert session.ends == [(EndReason.UNKNOWN_ORDER, "by dave: quota", 50.0)] * was_hit
        assert session.extended == []
