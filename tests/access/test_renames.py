"""What is stored holds ids: a new name keeps everything, locks too, and whoever takes an old name gets nothing."""

from dataclasses import replace

import pytest

from proxy.access.limits import AccessLimits
from proxy.access.logins import Logins
from proxy.access.revocations import Target
from proxy.access.stray_locks import stray_locks
from proxy.core.access import Refusal
from proxy.core.errors import Denied, NotFound, PeerError
from proxy.core.feed import FeedItem, FeedKind, Scope
from proxy.core.identity import Identity
from proxy.core.ports import Page
from proxy.core.states import EndReason, RequestStatus
from proxy.sessions.registry import act
from tests.access.world import HOUR, OFFICE, World, person, wish, world


def renamed(a: World, old: str, new: str) -> Identity:
    """Give somebody another name; the id stays."""
    changed = replace(a.catalog.named(old) or person(old), name=new)
    a.catalog = replace(a.catalog, identities={**a.catalog.identities, changed.id: changed})
    return changed


def joined(a: World, name: str, id: str, *groups: str) -> Identity:
    """Somebody new with a name that another one had."""
    new = replace(person(name, *groups), id=id)
    a.catalog = replace(a.catalog, identities={**a.catalog.identities, id: new})
    return new


def without(a: World, *ids: str) -> dict[str, Identity]:
    """Everybody but these."""
    return {each.id: each for each in a.catalog.identities.values() if each.id not in ids}


def logins(a: World) -> Logins:
    return Logins(a.store, lambda: a.catalog, a.clock, a.ids, a.keys, issuer="tidegate-test")


async def refusal(a: World, token: str) -> Denied:
    with pytest.raises(Denied) as refused:
        await a.gate.admit(token, wish(), a.registered.append)
    return refused.value


# -- the same person under another name


async def test_a_grant_its_token_and_a_new_one_are_good_under_the_new_name() -> None:
    a = world()
    grant = await a.granted("alice")
    assert (grant.identity, grant.identity_name) == ("alice", "alice")
    before = await a.token(grant)
    alicia = renamed(a, "alice", "alicia")
    for text in (before, (await a.grants.token(grant.id, alicia))[0]):
        admission = await a.gate.admit(text, wish(), a.registered.append)
        assert (admission.identity.id, admission.identity.name) == ("alice", "alicia")
    assert a.gate.still_holds(grant)
    assert {each.subject for each in a.registered} == {"alice"}


async def test_a_log_in_stays_and_the_new_name_logs_in() -> None:
    a = world()
    entry = logins(a)
    before = (await entry.open("alice", OFFICE)).token
    renamed(a, "alice", "alicia")
    assert (await entry.verify(before)).identity.name == "alicia"
    assert (await entry.verify((await entry.open("alicia", OFFICE)).token)).identity.id == "alice"
    with pytest.raises(Denied):
        await entry.open("alice", OFFICE)


@pytest.mark.parametrize("locked_as", ["alice", "alicia"])
async def test_a_rename_slips_no_lock(locked_as: str) -> None:
    """Locked before or after it, by the name of then."""
    a = world()
    entry = logins(a)
    grant = await a.granted("alice")
    text, token = await a.token(grant), (await entry.open("alice", OFFICE)).token
    if locked_as == "alice":
        await a.revocations.lock(Scope.IDENTITY, "alice", a.who("dave"), "x")
    alicia = renamed(a, "alice", "alicia")
    if locked_as == "alicia":
        await a.revocations.lock(Scope.IDENTITY, "alicia", a.who("dave"), "x")
    error = await refusal(a, text)
    assert (error.code, error.public) == (Refusal.USER_LOCKED, "alicia is locked")
    with pytest.raises(Denied):
        await entry.verify(token)
    with pytest.raises(Denied):
        await entry.open("alicia", OFFICE)
    with pytest.raises(Denied) as refused:
        await a.grants.token(grant.id, alicia)
    assert refused.value.code == Refusal.USER_LOCKED
    made = await a.requests.make(alicia, "shop", "readonly", HOUR, "a reason", OFFICE)
    assert (made.status, made.decision.reason) == (RequestStatus.DENIED, "alicia is locked")
    (lock,) = await a.revocations.locks(a.who("dave"))
    assert (lock.key, lock.name) == ("alice", locked_as)
    await a.revocations.unlock(Scope.IDENTITY, "alicia", a.who("dave"))
    await a.gate.admit(text, wish(), a.registered.append)


async def test_a_locked_approver_has_no_vote_under_another_name() -> None:
    a = world()
    request = await a.requests.make(a.who("alice"), "shop", "owner", HOUR, "a reason", OFFICE)
    await a.revocations.lock(Scope.IDENTITY, "bob", a.who("dave"), "x")
    bobby = renamed(a, "bob", "bobby")
    with pytest.raises(Denied, match="locked"):
        await a.requests.approve(request.id, bobby)


async def test_nobody_decides_their_own_request_by_being_renamed() -> None:
    a = world()
    request = await a.requests.make(a.who("abe"), "shop", "owner", HOUR, "a reason", OFFICE)
    with pytest.raises(Denied, match="their own"):
        await a.requests.approve(request.id, renamed(a, "abe", "abraham"))


async def test_nobody_says_yes_twice_by_being_renamed() -> None:
    a = world()
    request = await a.requests.make(a.who("alice"), "shop", "super", HOUR, "a reason", OFFICE)
    await a.requests.approve(request.id, a.who("bob"))
    with pytest.raises(PeerError, match="already"):
        await a.requests.approve(request.id, renamed(a, "bob", "bobby"))
    (vote,) = a.store.state.requests[request.id].approvals
    assert (vote.by, vote.by_name) == ("bob", "bob")


async def test_the_limit_of_undecided_requests_goes_with_the_person() -> None:
    a = world()
    a.limits = AccessLimits(pending_per_identity=1)
    await a.requests.make(a.who("alice"), "shop", "owner", HOUR, "a reason", OFFICE)
    with pytest.raises(PeerError, match="undecided"):
        await a.requests.make(renamed(a, "alice", "alicia"), "shop", "owner", HOUR, "a reason", OFFICE)


async def test_lists_and_ends_are_ones_own_under_the_new_name() -> None:
    a = world()
    grant = await a.granted("alice")
    session = await a.start_session(grant)
    alicia = renamed(a, "alice", "alicia")
    assert await a.grants.visible_to(alicia, Page()) == [grant]
    assert (await a.grants.own("shop", "", alicia)).id == grant.id
    for word in ("alicia", "alice"):
        assert await a.grants.visible_to(a.who("carol"), Page(), identity=word) == [grant]
    await a.revocations.cut(session.id, alicia, "done")
    done = await a.revocations.revoke(Target(Scope.IDENTITY, "alicia"), alicia, "given back")
    assert done.grants == (grant.id,)
    ended = a.store.state.grants[grant.id]
    assert (ended.revoked_by, ended.revoked_by_name) == ("alice", "alicia")


# -- somebody else with the old name


async def test_who_takes_an_old_name_gets_nothing_of_it() -> None:
    a = world()
    entry = logins(a)
    grant = await a.granted("alice")
    pending = await a.requests.make(a.who("alice"), "shop", "owner", HOUR, "a reason", OFFICE)
    session = await a.start_session(grant)
    text, token = await a.token(grant), (await entry.open("alice", OFFICE)).token
    renamed(a, "alice", "alicia")
    other = joined(a, "alice", "u2")
    assert (await entry.verify(token)).identity.name == "alicia"
    assert (await entry.verify((await entry.open("alice", OFFICE)).token)).identity == other
    assert await a.grants.visible_to(other, Page()) == []
    assert await a.requests.visible_to(other, Page()) == []
    for attempt in (
        a.grants.token(grant.id, other),
        a.grants.get(grant.id, other),
        a.grants.own("shop", "", other),
        a.grants.extend(grant.id, other, 60, "x", OFFICE),
        a.requests.withdraw(pending.id, other),
        a.requests.make(other, "shop", "readonly", 60, "x", OFFICE, extends=grant.id),
        a.revocations.revoke(Target(Scope.GRANT, grant.id), other, "x"),
        a.revocations.cut(session.id, other, "x"),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert (await a.gate.admit(text, wish(), a.registered.append)).identity.name == "alicia"
    done = await a.revocations.revoke(Target(Scope.IDENTITY, "alice"), other, "x")
    assert done.grants == ()


async def test_an_id_that_was_given_up_leaves_its_grants_to_nobody() -> None:
    """The operator gave alice another id: what was hers ends safely, whoever has the name."""
    a = world()
    entry = logins(a)
    text, token = await a.token(await a.granted("alice")), (await entry.open("alice", OFFICE)).token
    known = without(a, "alice")
    a.catalog = replace(a.catalog, identities={**known, "u1": replace(person("alice", "engineers"), id="u1")})
    assert (await refusal(a, text)).code == Refusal.BAD_TOKEN
    with pytest.raises(Denied):
        await entry.verify(token)


async def test_who_takes_an_old_name_is_not_locked_nor_has_said_yes() -> None:
    a = world()
    request = await a.requests.make(a.who("alice"), "shop", "super", HOUR, "a reason", OFFICE)
    await a.requests.approve(request.id, a.who("bob"))
    bobby = renamed(a, "bob", "bobby")
    await a.revocations.lock(Scope.IDENTITY, "bobby", a.who("dave"), "x")
    other = joined(a, "bob", "u2", "approvers")
    made = await a.requests.approve(request.id, other)
    assert made.status is RequestStatus.APPROVED
    assert [(each.by, each.by_name) for each in made.approvals] == [("bob", "bob"), ("u2", "bob")]
    with pytest.raises(NotFound):
        await a.revocations.unlock(Scope.IDENTITY, "zed", a.who("dave"))
    await a.revocations.unlock(Scope.IDENTITY, bobby.name, a.who("dave"))


async def test_a_lock_that_a_namesake_hides_is_taken_away_by_its_id() -> None:
    a = world()
    await a.revocations.lock(Scope.IDENTITY, "zed", a.who("dave"), "x")
    known = without(a, "zed")
    a.catalog = replace(a.catalog, identities=known)
    joined(a, "zed", "u3")
    await a.revocations.unlock(Scope.IDENTITY, "zed", a.who("dave"))
    assert await a.revocations.locks(a.who("dave")) == []


# -- what is told


async def test_a_lock_that_holds_nobody_is_told_of() -> None:
    a = world()
    for name in ("zed", "eve", "bob"):
        await a.revocations.lock(Scope.IDENTITY, name, a.who("dave"), "x")
    await a.revocations.lock(Scope.RESOURCE, "shop", a.who("dave"), "x")
    renamed(a, "bob", "bobby")
    assert list(stray_locks(a.catalog, await a.revocations.locks(a.who("dave")))) == []
    known = without(a, "zed", "eve")
    known |= {"evelyn": person("evelyn"), "u3": replace(person("zed"), id="u3")}
    a.catalog = replace(a.catalog, identities=known)
    told = sorted(stray_locks(a.catalog, await a.revocations.locks(a.who("dave"))))
    assert told == [
        "the lock of user eve holds nobody: nobody has the id eve; whoever was renamed needs it as their `id`",
        (
            "the lock of user zed holds nobody: nobody has the id zed, and zed of now has the id u3: lock them "
            "anew if they are meant"
        ),
    ]


async def test_the_trail_and_the_feed_hold_ids_with_the_names_of_then() -> None:
    a = world()
    renamed(a, "dave", "david")
    renamed(a, "alice", "alicia")
    grant = await a.granted("alice")
    assert (grant.identity, grant.identity_name) == ("alice", "alicia")
    done = await a.revocations.revoke(Target(Scope.IDENTITY, "alicia"), a.who("dave"), "laptop stolen")
    rows = {row.kind: row for row in a.store.state.trail}
    assert rows["grant_issued"].body["names"] == {"alice": "alicia"}
    assert (rows["revoked"].actor, rows["revoked"].body["key"]) == ("dave", "alice")
    assert rows["revoked"].body["names"] == {"dave": "david", "alice": "alicia"}
    assert rows["grant_revoked"].subjects["identity"] == "alice"
    item = a.store.state.feed[done.seq - 1]
    assert (item.scope, item.key, item.by) == (Scope.IDENTITY, "alice", "dave")
    assert (item.name_of("dave"), item.name_of("alice")) == ("david", "alicia")
    text, _ = a.tokens.mint(grant, grant.identity)
    assert (await refusal(a, text)).public == "the grant was revoked by david: laptop stolen"


async def test_where_names_are_ids_rows_are_as_they_were() -> None:
    a = world()
    await a.revocations.revoke(Target(Scope.GRANT, (await a.granted()).id), a.who("dave"), "x")
    assert [row.kind for row in a.store.state.trail if "names" in row.body] == []
    assert [dict(item.data) for item in a.store.state.feed] == [{}]


def test_who_is_cut_reads_a_name() -> None:
    class Told:
        id = "s"

        def end(self, reason: EndReason, detail: str = "", requested: float | None = None) -> None:
            self.said = (reason, detail)

        def extend(self, ends: float, rule: str, mac: str) -> None: ...

    told = Told()
    data = {"names": {"u7": "dave"}}
    act(told, FeedItem(1, 0.0, FeedKind.CUT, Scope.SESSION, "s", by="u7", reason="lunch", data=data))
    assert told.said == (EndReason.CUT_BY_ADMIN, "by dave: lunch")
