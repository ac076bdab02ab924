"""Grants: who sees them, and who gets a token for them."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from proxy.access.revocations import Target
from proxy.core.access import Grant, Refusal
from proxy.core.errors import Denied, NotFound, PeerError
from proxy.core.feed import Scope
from proxy.core.ports import Page
from tests.access.world import HOUR, KEY, OFFICE, PEOPLE, RULES, World, world


async def approved_grant(a: World) -> Grant:
    made = await a.requests.make(a.who("alice"), "shop", "owner", HOUR, "because", OFFICE)
    approved = await a.requests.approve(made.id, a.who("bob"))
    return a.store.state.grants[approved.grant or ""]


@pytest.mark.parametrize("name", [each.name for each in PEOPLE])
async def test_who_sees_a_grant(name: str) -> None:
    a = world()
    grant = await approved_grant(a)
    listed = await a.grants.visible_to(a.who(name), Page())
    if name in {"alice", "bob", "carol", "dave", "dana"}:
        assert (await a.grants.get(grant.id, a.who(name))) == grant
        assert listed == [grant]
        return
    assert listed == []
    with pytest.raises(NotFound) as hidden:
        await a.grants.get(grant.id, a.who(name))
    with pytest.raises(NotFound) as unknown:
        await a.grants.get("grant-none", a.who(name))
    assert str(hidden.value) == str(unknown.value)


async def test_lists_are_filtered() -> None:
    a = world()
    old = await a.granted(duration=60)
    new = await a.granted(account="ops", resource="box")
    a.clock.advance(60)
    alice, dave = a.who("alice"), a.who("dave")
    assert await a.grants.visible_to(alice, Page()) == [new, old]
    assert await a.grants.visible_to(alice, Page(), live=True) == [new]
    assert await a.grants.visible_to(alice, Page(), identity="alice", resource="shop") == [old]
    assert await a.grants.visible_to(dave, Page(limit=1, before=new.id)) == [old]
    assert await a.grants.visible_to(dave, Page(), identity="eve") == []


async def test_a_token_names_its_grant_and_is_in_the_trail_without_itself() -> None:
    a = world()
    grant = await a.granted()
    text, claims = await a.grants.token(grant.id, a.who("alice"))
    assert a.tokens.verify(text) == claims
    assert (claims.grant, claims.subject) == (grant.id, "alice")
    row = a.store.state.trail[-1]
    assert (row.kind, row.body["jti"]) == ("token_issued", claims.jti)
    assert text not in str(a.store.state)


@pytest.mark.parametrize("name", [each.name for each in PEOPLE if each.name != "alice"])
async def test_nobody_gets_a_token_for_anothers_grant(name: str) -> None:
    a = world()
    grant = await approved_grant(a)
    with pytest.raises(NotFound):
        await a.grants.token(grant.id, a.who(name))
    assert "token_issued" not in a.kinds()


async def end(a: World, _: Grant) -> None:
    a.clock.advance(HOUR)


async def revoke(a: World, grant: Grant) -> None:
    await a.revocations.revoke(Target(Scope.GRANT, grant.id), a.who("dave"), "x")


async def postpone(a: World, grant: Grant) -> None:
    a.store.state.grants[grant.id] = a.seal.seal(replace(grant, starts=grant.starts + 9))


async def lock_user(a: World, _: Grant) -> None:
    await a.revocations.lock(Scope.IDENTITY, "alice", a.who("dave"), "x")


async def lock_resource(a: World, _: Grant) -> None:
    await a.revocations.lock(Scope.RESOURCE, "shop", a.who("dave"), "x")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (end, Refusal.GRANT_EXPIRED),
        (revoke, Refusal.GRANT_REVOKED),
        (postpone, Refusal.GRANT_NOT_STARTED),
        (lock_user, Refusal.USER_LOCKED),
        (lock_resource, Refusal.RESOURCE_LOCKED),
    ],
)
async def test_no_token_where_the_gate_would_not_take_it(
    change: Callable[[World, Grant], Awaitable[None]], code: Refusal
) -> None:
    a = world()
    grant = await a.granted()
    await change(a, grant)
    with pytest.raises(Denied) as refused:
        await a.grants.token(grant.id, a.who("alice"))
    assert refused.value.code == code
    assert "token_issued" not in a.kinds()


async def test_no_token_for_a_changed_row_or_what_the_configuration_gives_no_more() -> None:
    a = world()
    grant = await a.granted()
    a.store.state.grants[grant.id] = replace(grant, ends=grant.ends + 1)
    with pytest.raises(NotFound):
        await a.grants.token(grant.id, a.who("alice"))
    a.store.state.grants[grant.id] = grant
    a.reload(rules=RULES[1:])
    with pytest.raises(PeerError):
        await a.grants.token(grant.id, a.who("alice"))
    a.reload(without="shop")
    with pytest.raises(PeerError, match="policy no longer gives"):
        await a.grants.token(grant.id, a.who("alice"))


# -- certificates


async def test_a_certificate_goes_to_the_trail_with_its_id_and_key() -> None:
    a = world()
    grant = await a.granted(account="ops", resource="box")
    line, claims = await a.grants.certificate(grant.id, a.who("alice"), KEY)
    row = a.store.state.trail[-1]
    assert row.kind == "certificate_issued"
    assert row.body["jti"] == claims.jti
    assert row.body["account"] == "ops"
    assert row.body["key"] == "SHA256:YUmts2SdPNGGM2vg361eYApNmw0/NMERMauC6Ul74Ik"
    assert line not in str(a.store.state)


@pytest.mark.parametrize("name", [each.name for each in PEOPLE if each.name != "alice"])
async def test_nobody_gets_a_certificate_for_anothers_grant(name: str) -> None:
    a = world()
    grant = await a.granted(account="ops", resource="box")
    with pytest.raises(NotFound):
        await a.grants.certificate(grant.id, a.who(name), KEY)
    with pytest.raises(NotFound):
        await a.grants.own("box", "", a.who(name))
    assert "certificate_issued" not in a.kinds()


@pytest.mark.parametrize(
    ("change", "code"),
    [(end, Refusal.GRANT_EXPIRED), (revoke, Refusal.GRANT_REVOKED), (lock_user, Refusal.USER_LOCKED)],
)
async def test_no_certificate_where_the_gate_would_not_take_it(
    change: Callable[[World, Grant], Awaitable[None]], code: Refusal
) -> None:
    a = world()
    grant = await a.granted(account="ops", resource="box")
    await change(a, grant)
    with pytest.raises(Denied) as refused:
        await a.grants.certificate(grant.id, a.who("alice"), KEY)
    assert refused.value.code == code
    assert "certificate_issued" not in a.kinds()


async def test_a_database_has_no_certificates() -> None:
    a = world()
    grant = await a.granted()
    with pytest.raises(PeerError, match="certificates are for SSH") as refused:
        await a.grants.certificate(grant.id, a.who("alice"), KEY)
    assert refused.value.code == "conflict"


async def test_ones_own_grant_of_a_resource() -> None:
    a = world()
    with pytest.raises(NotFound):
        await a.grants.own("shop", "", a.who("alice"))
    await a.granted(duration=60)
    longest = await a.granted()
    await a.granted("eve")
    assert await a.grants.own("shop", "", a.who("alice")) == longest
    await approved_grant(a)
    with pytest.raises(PeerError, match="owner, readonly"):
        await a.grants.own("shop", "", a.who("alice"))
    assert await a.grants.own("shop", "readonly", a.who("alice")) == longest
    await a.revocations.revoke(Target(Scope.GRANT, longest.id), a.who("alice"), "done")
    assert (await a.grants.own("shop", "readonly", a.who("alice"))).ends < longest.ends
    a.clock.advance(HOUR)
    with pytest.raises(NotFound):
        await a.grants.own("shop", "", a.who("alice"))
