"""Requests: each transition of their table, who may cause it, and what is kept when it is refused."""

from dataclasses import replace
from typing import Any

import pytest

from proxy.access.limits import AccessLimits
from proxy.core.access import Approval, Decision, Outcome, Request
from proxy.core.errors import Denied, NotFound, PeerError, Unavailable
from proxy.core.feed import FeedKind, Scope
from proxy.core.ports import Page
from proxy.core.states import REQUEST_TRANSITIONS, GrantStatus, RequestStatus
from tests.access.world import HOUR, OFFICE, PEOPLE, RULES, World, approval, rule, world


async def ask(a: World, account: str = "owner", name: str = "alice", duration: float = HOUR) -> Request:
    return await a.requests.make(a.who(name), "shop", account, duration, "because", OFFICE)


async def in_status(a: World, status: RequestStatus) -> Request:
    """A request that has come to ``status`` the way people bring it there."""
    made = await ask(a)
    if status is RequestStatus.APPROVED:
        return await a.requests.approve(made.id, a.who("bob"))
    if status is RequestStatus.DENIED:
        return await a.requests.deny(made.id, a.who("bob"), "no")
    if status is RequestStatus.WITHDRAWN:
        return await a.requests.withdraw(made.id, a.who("alice"))
    if status is RequestStatus.EXPIRED:
        a.clock.advance(86_400)
        return (await a.requests.expire_due())[0]
    return made


async def move(a: World, request: Request, to: RequestStatus) -> Request:
    """Try to bring it to ``to``."""
    if to is RequestStatus.APPROVED:
        return await a.requests.approve(request.id, a.who("bea"))
    if to is RequestStatus.DENIED:
        return await a.requests.deny(request.id, a.who("bea"), "no")
    return await a.requests.withdraw(request.id, a.who("alice"))


@pytest.mark.parametrize("to", [RequestStatus.APPROVED, RequestStatus.DENIED, RequestStatus.WITHDRAWN])
@pytest.mark.parametrize("status", RequestStatus)
async def test_the_table_is_what_happens(status: RequestStatus, to: RequestStatus) -> None:
    a = world()
    request = await in_status(a, status)
    assert request.status is status
    before, trail = a.store.state.requests[request.id], len(a.store.state.trail)
    if to in REQUEST_TRANSITIONS[status]:
        assert (await move(a, request, to)).status is to
        assert a.store.state.requests[request.id].decided == a.clock.now()
    else:
        with pytest.raises(PeerError) as refused:
            await move(a, request, to)
        assert refused.value.code == "conflict"
        assert (a.store.state.requests[request.id], len(a.store.state.trail)) == (before, trail)


@pytest.mark.parametrize("status", RequestStatus)
async def test_only_what_is_pending_lapses(status: RequestStatus) -> None:
    a = world()
    request = await in_status(a, status)
    a.clock.advance(2 * 86_400)
    lapsed = await a.requests.expire_due()
    assert [each.id for each in lapsed] == ([request.id] if status is RequestStatus.PENDING else [])
    assert await a.requests.expire_due() == []


async def test_what_policy_allows_is_granted_in_the_same_commit() -> None:
    a = world()
    made = await ask(a, "readonly", duration=600)
    assert (made.status, a.store.commits) == (RequestStatus.APPROVED, 1)
    grant = a.store.state.grants[made.grant or ""]
    assert (grant.identity, grant.resource, grant.account) == ("alice", "shop", "readonly")
    assert (grant.starts, grant.ends) == (a.clock.now(), a.clock.now() + 600)
    assert (grant.databases, grant.conditions, grant.rule) == (("shop",), {"record_rows": 20}, "auto")
    assert a.seal.intact(grant)
    assert a.kinds() == ["request_made", "request_decided", "grant_issued"]


async def test_what_needs_approval_waits_and_the_grant_starts_when_it_is_given() -> None:
    a = world()
    made = await ask(a)
    assert (made.status, made.grant) == (RequestStatus.PENDING, None)
    assert a.store.state.grants == {}
    a.clock.advance(500)
    approved = await a.requests.approve(made.id, a.who("bob"), "fine")
    grant = a.store.state.grants[approved.grant or ""]
    assert (grant.starts, grant.ends) == (a.clock.now(), a.clock.now() + HOUR)
    assert a.kinds() == ["request_made", "request_approved", "request_decided", "grant_issued"]


async def test_what_policy_denies_is_kept_with_its_explanation() -> None:
    a = world()
    made = await ask(a, "readonly", duration=5 * HOUR)
    assert made.status is RequestStatus.DENIED
    assert "the longest you could ask for is 1h" in made.decision.reason
    assert len(made.decision.trace) == len(RULES)
    assert a.store.state.requests[made.id] == made
    assert a.store.state.grants == {}
    assert a.kinds() == ["request_made", "request_decided"]


# -- unknown and forbidden


@pytest.mark.parametrize(
    ("name", "resource", "account"),
    [
        ("alice", "nowhere", "readonly"),
        ("alice", "vault", "root"),
        ("alice", "shop", "nobody"),
        ("zed", "shop", "readonly"),
        ("dave", "vault", "root"),
        ("alice", "x" * 300, "readonly"),
        ("alice", "", ""),
    ],
)
async def test_unknown_and_forbidden_get_one_answer(name: str, resource: str, account: str) -> None:
    a = world()
    with pytest.raises(NotFound) as refused:
        await a.requests.make(a.who(name), resource, account, HOUR, "because", OFFICE)
    assert str(refused.value) == "no such resource or account, or not for you"
    assert (refused.value.hint, refused.value.code) == ("", "not_found")
    assert a.store.state.requests == {}


async def test_trying_names_leaves_a_trail_that_does_not_grow_with_them() -> None:
    a = world()
    for number in range(50):
        with pytest.raises(NotFound):
            await a.requests.make(a.who("zed"), f"name-{number}", "root", HOUR, "because", OFFICE)
    assert a.kinds() == ["request_decided"]
    await a.requests.flush(a.clock.monotonic())
    assert len(a.kinds()) == 1
    a.clock.advance(10)
    await a.requests.flush(a.clock.monotonic())
    await a.requests.flush(a.clock.monotonic())
    first, counted = a.store.state.trail
    assert (first.actor, first.body["resource"]) == ("zed", "name-0")
    assert "49 more like it" in counted.body["decision"]["reason"]


# -- who may say yes


@pytest.mark.parametrize("maker", [each.name for each in PEOPLE])
async def test_nobody_decides_their_own_request_whatever_their_role(maker: str) -> None:
    a = world()
    open_to_all = rule("open", "owner", subjects=("*",), **approval(1))
    a.reload(rules=(open_to_all,))
    made = await ask(a, name=maker)
    with pytest.raises(Denied):
        await a.requests.approve(made.id, a.who(maker))
    with pytest.raises(Denied):
        await a.requests.deny(made.id, a.who(maker), "no")
    assert a.store.state.requests[made.id] == made
    assert a.store.state.grants == {}


@pytest.mark.parametrize("other", [each.name for each in PEOPLE if each.name != "alice"])
async def test_only_the_group_says_yes(other: str) -> None:
    a = world()
    made = await ask(a)
    if "approvers" in a.who(other).groups:
        assert (await a.requests.approve(made.id, a.who(other))).status is RequestStatus.APPROVED
    else:
        sees = bool(a.who(other).roles)
        with pytest.raises(Denied if sees else NotFound):
            await a.requests.approve(made.id, a.who(other))
        assert a.store.state.requests[made.id] == made


async def test_admins_may_say_no() -> None:
    a = world()
    assert (await a.requests.deny((await ask(a)).id, a.who("dave"), "no")).status is RequestStatus.DENIED
    with pytest.raises(Denied):
        await a.requests.deny((await ask(a)).id, a.who("carol"), "no")


async def test_two_different_people_are_two() -> None:
    a = world()
    made = await ask(a, "super")
    waiting = await a.requests.approve(made.id, a.who("bob"))
    assert (waiting.status, len(waiting.approvals)) == (RequestStatus.PENDING, 1)
    with pytest.raises(PeerError) as again:
        await a.requests.approve(made.id, a.who("bob"))
    assert again.value.code == "conflict"
    assert (await a.requests.approve(made.id, a.who("bea"))).status is RequestStatus.APPROVED


async def test_groups_are_those_of_now_not_of_the_log_in() -> None:
    a = world()
    made = await ask(a)
    stale = a.who("bob")
    a.catalog = replace(a.catalog, identities={**a.catalog.identities, "bob": replace(stale, groups=frozenset())})
    with pytest.raises(NotFound):
        await a.requests.approve(made.id, stale)
    a.reload(without="bob")
    with pytest.raises(Denied) as gone:
        await a.requests.approve(made.id, stale)
    assert gone.value.code == "unauthenticated"


async def test_a_yes_of_somebody_who_left_the_group_counts_no_more() -> None:
    a = world()
    made = await ask(a, "super")
    await a.requests.approve(made.id, a.who("bob"))
    a.reload(without="bob")
    assert (await a.requests.approve(made.id, a.who("bea"))).status is RequestStatus.PENDING
    assert (await a.requests.approve(made.id, a.who("abe"))).status is RequestStatus.APPROVED


async def test_a_locked_approver_decides_nothing() -> None:
    a = world()
    made = await ask(a)
    await a.revocations.lock(Scope.IDENTITY, "bob", a.who("dave"), "stolen laptop")
    with pytest.raises(Denied):
        await a.requests.approve(made.id, a.who("bob"))


# -- policy is asked again


async def test_a_policy_that_changed_denies_at_the_last_yes() -> None:
    a = world()
    made = await ask(a)
    a.reload(rules=(*RULES, rule("freeze", "*", subjects=("*",), effect=Outcome.DENY)))
    decided = await a.requests.approve(made.id, a.who("bob"))
    assert (decided.status, decided.decision.rule, decided.grant) == (RequestStatus.DENIED, "freeze", None)
    assert a.store.state.grants == {}


@pytest.mark.parametrize("gone", ["alice", "shop"])
async def test_who_or_what_is_gone_gets_no_grant(gone: str) -> None:
    a = world()
    made = await ask(a)
    a.reload(without=gone)
    assert (await a.requests.approve(made.id, a.who("bob"))).status is RequestStatus.DENIED
    assert a.store.state.grants == {}


async def test_a_policy_that_now_wants_more_people_waits_for_them() -> None:
    a = world()
    made = await ask(a)
    a.reload(rules=(rule("stricter", "owner", **approval(2)),))
    assert (await a.requests.approve(made.id, a.who("bob"))).status is RequestStatus.PENDING
    assert (await a.requests.approve(made.id, a.who("bea"))).status is RequestStatus.APPROVED


async def test_a_policy_that_names_another_group_lets_that_group_decide() -> None:
    a = world()
    made = await ask(a)
    a.reload(rules=(rule("moved", "owner", effect=Outcome.NEEDS_APPROVAL, approvals=1, approvers="engineers"),))
    with pytest.raises(Denied):
        await a.requests.approve(made.id, a.who("bob"))
    assert (await a.requests.approve(made.id, a.who("eve"))).status is RequestStatus.APPROVED


async def test_the_locked_get_nothing_though_policy_is_automatic() -> None:
    a = world()
    await a.revocations.lock(Scope.IDENTITY, "alice", a.who("dave"), "left")
    made = await ask(a, "readonly")
    assert (made.status, made.decision.reason) == (RequestStatus.DENIED, "alice is locked")
    await a.revocations.lock(Scope.RESOURCE, "shop", a.who("dave"), "migration")
    assert (await ask(a, "readonly", name="eve")).decision.reason == "shop is locked"


# -- extensions


async def test_an_extension_moves_the_end_and_tells_the_nodes() -> None:
    a = world()
    grant = await a.granted(duration=1200)
    made = await a.grants.extend(grant.id, a.who("alice"), 600, "more", OFFICE)
    moved = a.store.state.grants[grant.id]
    assert (made.status, made.grant, made.extends) == (RequestStatus.APPROVED, grant.id, grant.id)
    assert moved.ends == grant.ends + 600
    assert a.seal.intact(moved)
    (item,) = a.store.state.feed
    assert (item.kind, item.scope, item.key) == (FeedKind.EXTENDED, Scope.GRANT, grant.id)
    assert item.data == {"ends": moved.ends, "rule": moved.rule, "mac": moved.mac, "sealed": moved.sealed}
    assert "grant_extended" in a.kinds()


async def test_an_extension_never_passes_what_the_rule_gives_from_now() -> None:
    a = world()
    grant = await a.granted(duration=HOUR)
    assert (await a.grants.extend(grant.id, a.who("alice"), HOUR, "more", OFFICE)).status is RequestStatus.DENIED
    a.clock.advance(600)
    await a.grants.extend(grant.id, a.who("alice"), HOUR, "more", OFFICE)
    assert a.store.state.grants[grant.id].ends == a.clock.now() + HOUR


async def test_an_extension_may_need_people_too() -> None:
    a = world()
    approved = await a.requests.approve((await ask(a, duration=600)).id, a.who("bob"))
    before = a.store.state.grants[approved.grant or ""]
    made = await a.grants.extend(before.id, a.who("alice"), 600, "more", OFFICE)
    assert made.status is RequestStatus.PENDING
    assert a.store.state.grants[before.id] == before
    await a.requests.approve(made.id, a.who("bea"))
    assert a.store.state.grants[before.id].ends == before.ends + 600


async def test_an_extension_of_what_ended_meanwhile_is_denied() -> None:
    a = world()
    approved = await a.requests.approve((await ask(a, duration=600)).id, a.who("bob"))
    made = await a.grants.extend(approved.grant or "", a.who("alice"), 600, "more", OFFICE)
    a.clock.advance(601)
    late = await a.requests.approve(made.id, a.who("bob"))
    assert (late.status, late.decision.reason) == (RequestStatus.DENIED, "the grant is over")
    with pytest.raises(PeerError):
        await a.grants.extend(approved.grant or "", a.who("alice"), 600, "more", OFFICE)


async def test_an_extension_on_other_terms_is_a_new_request() -> None:
    a = world()
    grant = await a.granted(duration=600)
    a.reload(rules=(rule("auto", "readonly", networks=("10.0.0.0/8",), databases=("shop",)),))
    made = await a.grants.extend(grant.id, a.who("alice"), 600, "more", OFFICE)
    assert made.status is RequestStatus.DENIED
    assert "other terms" in made.decision.reason


async def test_only_the_holder_extends() -> None:
    a = world()
    grant = await a.granted(duration=600)
    with pytest.raises(NotFound):
        await a.grants.extend(grant.id, a.who("eve"), 600, "more", OFFICE)
    with pytest.raises(PeerError):
        await a.grants.extend(grant.id, a.who("dave"), 600, "more", OFFICE)
    with pytest.raises(NotFound):
        await a.requests.make(a.who("eve"), "shop", "readonly", 600, "r", OFFICE, extends=grant.id)
    with pytest.raises(NotFound):
        await a.requests.make(a.who("alice"), "shop", "owner", 600, "r", OFFICE, extends=grant.id)
    assert a.store.state.grants[grant.id] == grant


async def test_a_row_that_was_changed_behind_our_back_is_not_extended() -> None:
    a = world()
    grant = await a.granted(duration=600)
    a.store.state.grants[grant.id] = replace(grant, account="owner")
    with pytest.raises(NotFound):
        await a.grants.extend(grant.id, a.who("alice"), 600, "more", OFFICE)


# -- bounds and reading


@pytest.mark.parametrize("duration", [0.0, -1.0, 0.5, float("nan"), float("inf"), 367 * 86_400.0])
async def test_a_duration_that_is_none_is_refused(duration: float) -> None:
    with pytest.raises(PeerError):
        await ask(world(), duration=duration)


@pytest.mark.parametrize("reason", ["x" * 1001, "red \x1b[31m", "\x00"])
async def test_a_reason_is_fit_to_be_shown(reason: str) -> None:
    a = world()
    with pytest.raises(PeerError):
        await a.requests.make(a.who("alice"), "shop", "readonly", HOUR, reason, OFFICE)


async def test_a_reason_becomes_one_line() -> None:
    a = world()
    made = await a.requests.make(a.who("alice"), "shop", "readonly", HOUR, " two\nlines\t here ", OFFICE)
    assert made.reason == "two lines here"


async def test_undecided_requests_of_one_person_are_bounded() -> None:
    a = world()
    a.limits = AccessLimits(pending_per_identity=2)
    await ask(a)
    await ask(a)
    with pytest.raises(PeerError) as refused:
        await ask(a)
    assert refused.value.code == "conflict"
    assert (await ask(a, name="eve")).status is RequestStatus.PENDING


async def test_a_lapsed_request_is_not_approved_before_housekeeping_came() -> None:
    a = world()
    made = await ask(a)
    a.clock.advance(86_400)
    with pytest.raises(PeerError):
        await a.requests.approve(made.id, a.who("bob"))
    assert a.store.state.grants == {}


async def test_nothing_is_kept_while_the_store_is_away() -> None:
    a = world()
    a.store.lost = True
    with pytest.raises(Unavailable):
        await ask(a, "readonly")
    with pytest.raises(Unavailable):
        await a.requests.make(a.who("zed"), "shop", "readonly", HOUR, "r", OFFICE)
    a.store.lost = False
    a.clock.advance(11)
    await a.requests.flush(a.clock.monotonic())
    assert a.kinds() == ["request_decided"]


@pytest.mark.parametrize(
    ("name", "sees"),
    [
        ("alice", {"own", "auto"}),
        ("eve", set()),
        ("bob", {"own"}),
        ("carol", {"own", "auto"}),
        ("dave", {"own", "auto"}),
        ("zed", set()),
    ],
)
async def test_who_sees_which_requests(name: str, sees: set[str]) -> None:
    a = world()
    ids = {"own": (await ask(a)).id, "auto": (await ask(a, "readonly")).id}
    listed = await a.requests.visible_to(a.who(name), Page())
    assert {each.id for each in listed} == {ids[each] for each in sees}
    for word, known in ids.items():
        if word in sees:
            assert (await a.requests.get(known, a.who(name))).id == known
        else:
            with pytest.raises(NotFound) as refused:
                await a.requests.get(known, a.who(name))
            with pytest.raises(NotFound) as unknown:
                await a.requests.get("request-none", a.who(name))
            assert str(refused.value) == str(unknown.value)


async def test_lists_page_over_what_is_not_seen() -> None:
    a = world()
    for name in ("alice", "eve", "alice", "eve", "alice"):
        await ask(a, "readonly", name)
    first = await a.requests.visible_to(a.who("alice"), Page(limit=2))
    rest = await a.requests.visible_to(a.who("alice"), Page(limit=2, before=first[-1].id))
    assert [each.identity for each in first + rest] == ["alice"] * 3
    assert len({each.id for each in first + rest}) == 3


async def test_who_said_yes_sees_it_also_when_the_rule_names_others_now() -> None:
    a = world()
    made = await ask(a, "super")
    await a.requests.approve(made.id, a.who("bob"))
    row = a.store.state.requests[made.id]
    await a.store.commit(lambda w: w.put_request(replace(row, decision=replace(row.decision, approvers="dba"))))
    for name, sees in (("bob", True), ("bea", False)):
        assert bool(await a.requests.visible_to(a.who(name), Page())) is sees
        if sees:
            assert (await a.requests.get(made.id, a.who(name))).id == made.id


async def test_a_scheduled_word_exists_for_every_time() -> None:
    grant = await world().granted()
    assert grant.status(grant.starts - 1) is GrantStatus.SCHEDULED
    assert grant.status(grant.starts) is GrantStatus.ACTIVE
    assert grant.status(grant.ends) is GrantStatus.EXPIRED
    assert replace(grant, revoked=grant.starts).status(grant.starts) is GrantStatus.REVOKED


async def test_a_yes_of_the_requester_that_somebody_put_into_the_row_does_not_count() -> None:
    a = world()
    made = await ask(a, "super", name="abe")
    forged = a.seal.seal(replace(made, approvals=(Approval("abe", True, a.clock.now()),)))
    await a.store.commit(lambda writer: writer.put_request(forged))
    assert (await a.requests.approve(made.id, a.who("bob"))).status is RequestStatus.PENDING


# -- against whoever can write to the store


def forged(a: World, made: Request, **changes: Any) -> Request:
    """The row as somebody changed it who has no key."""
    row = replace(a.store.state.requests[made.id], **changes)
    a.store.state.requests[made.id] = row
    return row


FORGERIES: list[dict[str, Any]] = [
    {"approvals": (Approval("bea", True, 1.0),)},
    {"approvals": (Approval("bea", True, 1.0), Approval("dana", True, 1.0))},
    {"account": "owner"},
    {"account": "readonly"},
    {"resource": "box"},
    {"identity": "eve"},
    {"duration": HOUR * 9},
    {"reason": "a nicer one"},
    {"extends": "grant-000009"},
    {"source": "10.9.9.9"},
    {"expires": 9e9},
    {"groups": frozenset({"approvers"})},
    {"decision": Decision(Outcome.NEEDS_APPROVAL, approvals=1, approvers="approvers")},
    {"decision": Decision(Outcome.NEEDS_APPROVAL, approvals=1, approvers="approvers", newer={"later": 1})},
    {"sealed": ""},
    {"sealed": "", "mac": ""},
    {"mac": "00"},
]


@pytest.mark.parametrize("changes", FORGERIES, ids=lambda each: "-".join(each))
async def test_nobody_s_yes_counts_for_a_row_that_was_changed(changes: dict[str, Any]) -> None:
    a = world()
    made = await ask(a, "super")
    forged(a, made, **changes)
    with pytest.raises(PeerError, match="no good seal") as refused:
        await a.requests.approve(made.id, a.who("bob"))
    assert (refused.value.code, "ask again" in refused.value.hint) == ("conflict", True)
    assert a.store.state.grants == {}
    done = await a.requests.deny(made.id, a.who("bob"), "it was changed")
    assert (done.status, a.seal.intact(done)) == (RequestStatus.DENIED, False), "and stays recognisable as such"


async def test_a_vote_of_one_request_is_none_of_another() -> None:
    a = world()
    one, two = await ask(a, "super"), await ask(a, "super")
    voted = await a.requests.approve(one.id, a.who("bea"))
    forged(a, two, approvals=voted.approvals, sealed=voted.sealed, mac=voted.mac)
    with pytest.raises(PeerError, match="no good seal"):
        await a.requests.approve(two.id, a.who("bob"))
    assert (await a.requests.approve(one.id, a.who("bob"))).status is RequestStatus.APPROVED


async def test_a_request_of_before_the_seal_is_asked_again_denied_withdrawn_or_lapses() -> None:
    """2881ff7 sealed no request: who wrote its votes is not known."""
    a = world()
    old = [forged(a, await ask(a, "owner"), sealed="", mac="") for _ in range(4)]
    with pytest.raises(PeerError, match="before the upgrade"):
        await a.requests.approve(old[0].id, a.who("bob"))
    assert (await a.requests.deny(old[1].id, a.who("bob"), "no")).status is RequestStatus.DENIED
    assert (await a.requests.withdraw(old[2].id, a.who("alice"))).status is RequestStatus.WITHDRAWN
    a.clock.advance(a.limits.request_life + 1)
    assert {each.id for each in await a.requests.expire_due()} == {old[0].id, old[3].id}


async def denied(a: World, made: Request) -> None:
    await a.requests.deny(made.id, a.who("bea"), "no")


async def withdrawn(a: World, made: Request) -> None:
    await a.requests.withdraw(made.id, a.who("alice"))


async def approved(a: World, made: Request) -> None:
    await a.requests.approve(made.id, a.who("bea"))


async def lapsed(a: World, made: Request) -> None:
    a.clock.advance(a.limits.request_life + 1)
    await a.requests.expire_due()
    a.clock.jump(-2.0)


@pytest.mark.parametrize("over", [denied, withdrawn, approved, lapsed])
async def test_a_request_that_was_over_and_is_put_back_seal_and_all_is_approved_by_nobody(over: Any) -> None:
    a = world()
    made = await ask(a, "owner")
    pending = a.store.state.requests[made.id]
    await over(a, made)
    a.store.state.requests[made.id] = pending
    grants = dict(a.store.state.grants)
    with pytest.raises(PeerError, match="put back"):
        await a.requests.approve(made.id, a.who("bob"))
    assert a.store.state.grants == grants
    assert (await a.requests.deny(made.id, a.who("bob"), "no")).status is RequestStatus.DENIED


async def test_each_word_on_a_request_is_sealed_with_it() -> None:
    a = world()
    made = await ask(a, "super")
    for name, status in (("bob", RequestStatus.PENDING), ("bea", RequestStatus.APPROVED)):
        done = await a.requests.approve(made.id, a.who(name))
        assert (done.status, a.seal.intact(done), a.store.state.requests[made.id]) == (status, True, done)
