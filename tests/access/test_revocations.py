"""Revocations, locks and cuts: who may, what it ends, and that it is one commit."""

from dataclasses import replace

import pytest

from proxy.access.revocations import Target
from proxy.core.access import Grant
from proxy.core.errors import Denied, NotFound, PeerError
from proxy.core.feed import FeedKind, Scope
from proxy.core.states import GRANT_TRANSITIONS, SESSION_TRANSITIONS, GrantStatus, SessionStatus
from tests.access.world import HOUR, OFFICE, PEOPLE, World, world


async def everything(a: World) -> dict[str, Grant]:
    """alice on shop and box, eve on shop; a session under each."""
    grants = {
        "alice-shop": await a.granted(),
        "alice-box": await a.granted(account="ops", resource="box"),
        "eve-shop": await a.granted("eve"),
    }
    for number, grant in enumerate(grants.values()):
        await a.start_session(grant, f"session-{number}")
    return grants


@pytest.mark.parametrize(
    ("scope", "key", "ends"),
    [
        (Scope.GRANT, "alice-shop", {"alice-shop"}),
        (Scope.IDENTITY, "alice", {"alice-shop", "alice-box"}),
        (Scope.RESOURCE, "shop", {"alice-shop", "eve-shop"}),
        (Scope.ALL, "", {"alice-shop", "alice-box", "eve-shop"}),
    ],
)
async def test_a_revocation_ends_what_its_preview_said_in_one_commit(
    scope: Scope, key: str, ends: set[str]
) -> None:
    a = world()
    grants = await everything(a)
    target = Target(scope, grants[key].id if scope is Scope.GRANT else key)
    before, commits = a.store.state.copy(), a.store.commits
    preview = await a.revocations.preview(target, a.who("dave"))
    assert a.store.state == before
    done = await a.revocations.revoke(target, a.who("dave"), "it is over")
    expected = {grants[each].id for each in ends}
    assert {each.id for each in preview.grants} == set(done.grants) == expected
    assert {each.grant for each in preview.sessions} == {each.grant for each in done.sessions} == expected
    assert a.store.commits == commits + 1
    for grant in a.store.state.grants.values():
        assert (grant.status(a.clock.now()) is GrantStatus.REVOKED) is (grant.id in expected)
        assert a.seal.intact(grant)
    (item,) = a.store.state.feed
    assert (item.seq, item.kind, item.scope, item.key) == (done.seq, FeedKind.REVOKED, scope, target.key)
    assert (item.by, item.reason) == ("dave", "it is over")
    new = [row.kind for row in a.store.state.trail[len(before.trail) :]]
    assert new == ["grant_revoked"] * len(expected) + ["revoked"]
    assert a.store.state.trail[-1].body["grants"] == len(expected)


@pytest.mark.parametrize("name", [each.name for each in PEOPLE])
async def test_who_may_end_a_grant(name: str) -> None:
    a = world()
    made = await a.requests.make(a.who("alice"), "shop", "owner", HOUR, "because", OFFICE)
    grant = (await a.requests.approve(made.id, a.who("bob"))).grant or ""
    target = Target(Scope.GRANT, grant)
    allowed = name in {"alice", "bob", "dave", "dana"}
    if allowed:
        await a.revocations.revoke(target, a.who(name), "done")
    else:
        with pytest.raises(Denied if name == "carol" else NotFound):
            await a.revocations.revoke(target, a.who(name), "done")
        if name == "carol":  # an auditor sees what a cut would end
            assert [each.id for each in (await a.revocations.preview(target, a.who(name))).grants] == [grant]
        else:
            with pytest.raises(NotFound):
                await a.revocations.preview(target, a.who(name))
    assert (a.store.state.grants[grant].revoked is not None) is allowed
    assert len(a.store.state.feed) == allowed


@pytest.mark.parametrize(
    "target",
    [
        Target(Scope.IDENTITY, "eve"),
        Target(Scope.RESOURCE, "shop"),
        Target(Scope.ALL),
        Target(Scope.TOKEN, "token-1"),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", [each.name for each in PEOPLE if each.name not in {"dave", "dana", "eve"}])
async def test_only_admins_end_what_is_others(name: str, target: Target) -> None:
    a = world()
    await everything(a)
    before = a.store.state
    with pytest.raises(Denied):
        await a.revocations.revoke(target, a.who(name), "x")
    assert a.store.state is before


async def test_one_may_give_back_everything_of_ones_own() -> None:
    a = world()
    await everything(a)
    done = await a.revocations.revoke(Target(Scope.IDENTITY, "alice"), a.who("alice"), "")
    assert len(done.grants) == 2


@pytest.mark.parametrize("status", GrantStatus)
async def test_the_table_of_grants_is_what_happens(status: GrantStatus) -> None:
    a = world()
    grant = await a.granted()
    if status is GrantStatus.SCHEDULED:
        a.store.state.grants[grant.id] = a.seal.seal(replace(grant, starts=grant.starts + 60))
    elif status is GrantStatus.EXPIRED:
        a.clock.advance(HOUR)
    elif status is GrantStatus.REVOKED:
        await a.revocations.revoke(Target(Scope.GRANT, grant.id), a.who("dave"), "first")
    assert a.store.state.grants[grant.id].status(a.clock.now()) is status
    before = a.store.state.grants[grant.id]
    if GrantStatus.REVOKED in GRANT_TRANSITIONS[status]:
        await a.revocations.revoke(Target(Scope.GRANT, grant.id), a.who("dave"), "second")
    else:
        with pytest.raises(PeerError) as refused:
            await a.revocations.revoke(Target(Scope.GRANT, grant.id), a.who("dave"), "second")
        assert refused.value.code == "conflict"
        assert a.store.state.grants[grant.id] == before


async def test_unknown_and_not_yours_get_one_answer() -> None:
    a = world()
    grant = await a.granted()
    with pytest.raises(NotFound) as hidden:
        await a.revocations.revoke(Target(Scope.GRANT, grant.id), a.who("eve"), "x")
    with pytest.raises(NotFound) as unknown:
        await a.revocations.revoke(Target(Scope.GRANT, "grant-none"), a.who("eve"), "x")
    assert str(hidden.value) == str(unknown.value)
    session = await a.start_session(grant)
    with pytest.raises(NotFound) as hidden:
        await a.revocations.cut(session.id, a.who("eve"), "x")
    with pytest.raises(NotFound) as unknown:
        await a.revocations.cut("session-none", a.who("eve"), "x")
    assert str(hidden.value) == str(unknown.value)


@pytest.mark.parametrize("scope", [Scope.IDENTITY, Scope.RESOURCE])
async def test_a_name_that_is_not_there_is_said_to_admins(scope: Scope) -> None:
    a = world()
    with pytest.raises(NotFound):
        await a.revocations.revoke(Target(scope, "nobody"), a.who("dave"), "x")
    with pytest.raises(NotFound):
        await a.revocations.lock(scope, "nobody", a.who("dave"), "x")
    assert a.store.state.feed == []


async def test_somebody_who_left_the_configuration_can_still_be_revoked() -> None:
    a = world()
    grants = await everything(a)
    a.reload(without="eve")
    done = await a.revocations.revoke(Target(Scope.IDENTITY, "eve"), a.who("dave"), "left")
    assert done.grants == (grants["eve-shop"].id,)


@pytest.mark.parametrize(
    "target",
    [Target(Scope.ALL, "x"), Target(Scope.TOKEN), Target(Scope.SESSION, "s"), Target(Scope.NODE, "n")],
    ids=str,
)
async def test_what_is_no_revocation_is_refused(target: Target) -> None:
    with pytest.raises(PeerError):
        await world().revocations.revoke(target, PEOPLE[6], "x")


async def test_a_token_is_refused_from_then_on() -> None:
    a = world()
    _, claims = await a.grants.token((await a.granted()).id, a.who("alice"))
    done = await a.revocations.revoke(Target(Scope.TOKEN, claims.jti), a.who("dave"), "leaked")
    assert a.store.state.tokens[claims.jti] >= claims.expires
    assert done.grants == ()
    assert a.store.state.feed[0].scope is Scope.TOKEN


async def test_a_changed_row_is_ended_but_not_made_whole() -> None:
    a = world()
    grant = await a.granted()
    a.store.state.grants[grant.id] = replace(grant, ends=grant.ends + 99)
    await a.revocations.revoke(Target(Scope.ALL), a.who("dave"), "x")
    after = a.store.state.grants[grant.id]
    assert after.revoked is not None
    assert not a.seal.intact(after)


async def test_more_grants_than_a_page_all_end() -> None:
    a = world()
    grant = await a.granted()
    for number in range(1203):
        each = a.seal.seal(replace(grant, id=f"grant-x{number:05}"))
        a.store.state.grants[each.id] = each
    done = await a.revocations.revoke(Target(Scope.IDENTITY, "alice"), a.who("dave"), "x")
    assert len(set(done.grants)) == 1204


# -- locks


async def test_a_lock_is_kept_told_and_taken_away() -> None:
    a = world()
    await everything(a)
    done = await a.revocations.lock(Scope.IDENTITY, "alice", a.who("dave"), "left")
    assert {each.identity for each in done.sessions} == {"alice"}
    (item,) = a.store.state.feed
    assert (item.kind, item.scope, item.key, item.seq) == (FeedKind.LOCKED, Scope.IDENTITY, "alice", done.seq)
    assert [each.key for each in await a.revocations.locks(a.who("carol"))] == ["alice"]
    assert [each.key for each in await a.revocations.locks(a.who("alice"))] == ["alice"]
    assert await a.revocations.locks(a.who("eve")) == []
    # Grants stay: a lock is a pause.
    assert all(each.revoked is None for each in a.store.state.grants.values())
    await a.revocations.unlock(Scope.IDENTITY, "alice", a.who("dave"))
    assert a.kinds()[-2:] == ["locked", "unlocked"]
    with pytest.raises(NotFound):
        await a.revocations.unlock(Scope.IDENTITY, "alice", a.who("dave"))


async def test_only_admins_lock_and_only_people_and_resources() -> None:
    a = world()
    for name in ("alice", "bob", "carol", "zed"):
        with pytest.raises(Denied):
            await a.revocations.lock(Scope.RESOURCE, "shop", a.who(name), "x")
        with pytest.raises(Denied):
            await a.revocations.unlock(Scope.RESOURCE, "shop", a.who(name))
    for scope in (Scope.ALL, Scope.GRANT, Scope.TOKEN, Scope.SESSION, Scope.NODE):
        with pytest.raises(PeerError):
            await a.revocations.lock(scope, "shop", a.who("dave"), "x")
    assert a.store.state.locks == {}


# -- cuts


@pytest.mark.parametrize("name", [each.name for each in PEOPLE])
async def test_who_may_cut_a_session(name: str) -> None:
    a = world()
    session = await a.start_session(await a.granted())
    if name in {"alice", "dave", "dana"}:
        done = await a.revocations.cut(session.id, a.who(name), "enough")
        (item,) = a.store.state.feed
        assert (item.kind, item.scope, item.key, item.seq) == (FeedKind.CUT, Scope.SESSION, session.id, done.seq)
        assert a.kinds()[-1] == "session_cut_ordered"
    else:
        with pytest.raises(Denied if name == "carol" else NotFound):
            await a.revocations.cut(session.id, a.who(name), "enough")
        assert a.store.state.feed == []


@pytest.mark.parametrize("status", SessionStatus)
async def test_the_table_of_sessions_is_what_happens(status: SessionStatus) -> None:
    a = world()
    session = replace(await a.start_session(await a.granted()), status=status)
    await a.store.commit(lambda writer: writer.put_session(session))
    if SessionStatus.ENDED in SESSION_TRANSITIONS[status]:
        await a.revocations.cut(session.id, a.who("dave"), "x")
    else:
        with pytest.raises(PeerError) as refused:
            await a.revocations.cut(session.id, a.who("dave"), "x")
        assert refused.value.code == "conflict"


async def test_somebody_the_configuration_has_no_more_ends_nothing() -> None:
    a = world()
    dave, session = a.who("dave"), await a.start_session(await a.granted())
    a.reload(without="dave")
    for attempt in (
        a.revocations.revoke(Target(Scope.ALL), dave, "x"),
        a.revocations.lock(Scope.IDENTITY, "alice", dave, "x"),
        a.revocations.cut(session.id, dave, "x"),
    ):
        with pytest.raises(Denied):
            await attempt
    assert a.store.state.feed == []


async def test_nobody_locks_themselves_out() -> None:
    a = world()
    with pytest.raises(PeerError, match="lock you out"):
        await a.revocations.lock(Scope.IDENTITY, "dave", a.who("dave"), "oops")
    assert not await a.revocations.locks(a.who("dave"))
