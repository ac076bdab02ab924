"""One check says whether a grant can be used: the gate, tokens and certificates give the same answer."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from proxy.access.revocations import Target
from proxy.core.access import Grant, Refusal
from proxy.core.errors import Denied, TidegateError
from proxy.core.feed import Scope
from proxy.core.identity import Resource
from proxy.core.ports import Lock
from tests.access.world import HOUR, KEY, World, wish, world

Change = Callable[[World, Grant], Awaitable[None]]


async def lock_the_person(a: World, grant: Grant) -> None:
    await a.revocations.lock(Scope.IDENTITY, grant.identity, a.who("dave"), "x")


async def lock_the_resource(a: World, grant: Grant) -> None:
    await a.revocations.lock(Scope.RESOURCE, grant.resource, a.who("dave"), "x")


async def lock_a_namesake(a: World, grant: Grant) -> None:
    """A resource is called like the holder, and is locked; the grant is for that resource."""
    shop = a.catalog.resources[grant.resource]
    a.catalog = replace(a.catalog, resources={**a.catalog.resources, "alice": replace(shop, name="alice")})
    rules = tuple(replace(each, resources=(*each.resources, "alice")) for each in a.catalog.rules)
    a.catalog = replace(a.catalog, rules=rules)
    moved = a.seal.seal(replace(grant, resource="alice"))
    await a.store.commit(lambda writer: writer.put_grant(moved))
    await a.revocations.lock(Scope.RESOURCE, "alice", a.who("dave"), "x")


async def lock_another_resource_called_like_the_person(a: World, grant: Grant) -> None:
    """Nothing of this grant's is locked at all."""
    a.catalog = replace(
        a.catalog, resources={**a.catalog.resources, "alice": Resource("alice", "tcp", (("h", 1),))}
    )
    await a.revocations.lock(Scope.RESOURCE, "alice", a.who("dave"), "x")


async def revoke(a: World, grant: Grant) -> None:
    await a.revocations.revoke(Target(Scope.GRANT, grant.id), a.who("dave"), "x")


async def let_it_end(a: World, grant: Grant) -> None:
    a.clock.advance(HOUR)


async def begin_later(a: World, grant: Grant) -> None:
    later = a.seal.seal(replace(grant, starts=grant.starts + 60))
    await a.store.commit(lambda writer: writer.put_grant(later))


async def give_it_no_more(a: World, grant: Grant) -> None:
    a.reload(rules=())


async def lock_a_grant_that_has_ended(a: World, grant: Grant) -> None:
    await let_it_end(a, grant)
    lock = Lock(Scope.IDENTITY, grant.identity, "dave", "x", 1.0)
    await a.store.commit(lambda writer: writer.put_lock(lock))


CASES: list[tuple[Change, str | None]] = [
    (lock_the_person, Refusal.USER_LOCKED),
    (lock_the_resource, Refusal.RESOURCE_LOCKED),
    (lock_a_namesake, Refusal.RESOURCE_LOCKED),
    (lock_another_resource_called_like_the_person, None),
    (revoke, Refusal.GRANT_REVOKED),
    (let_it_end, Refusal.GRANT_EXPIRED),
    (begin_later, Refusal.GRANT_NOT_STARTED),
    (give_it_no_more, "not given"),
    (lock_a_grant_that_has_ended, Refusal.USER_LOCKED),
]


@pytest.mark.parametrize(("change", "why"), CASES)
async def test_gate_tokens_and_certificates_give_one_answer(change: Change, why: str | None) -> None:
    a = world()
    grant = await a.granted(account="ops", resource="box")
    a.life = 3 * HOUR
    text = a.tokens.mint(replace(grant, ends=grant.ends + 2 * HOUR), grant.identity)[0]
    await change(a, grant)
    asked = wish("ops", "", protocol="ssh")
    answers = []
    for attempt in (
        lambda: a.gate.admit(text, asked, a.registered.append),
        lambda: a.grants.token(grant.id, a.who("alice")),
        lambda: a.grants.certificate(grant.id, a.who("alice"), KEY),
    ):
        try:
            await attempt()
        except TidegateError as error:
            given_no_more = error.code == Refusal.BAD_TOKEN or "policy no longer" in error.public
            answers.append("not given" if given_no_more else error.code)
            if isinstance(error, Denied) and why == Refusal.RESOURCE_LOCKED:
                assert error.public.startswith("resource ")
        else:
            answers.append(None)
    assert answers == [why] * 3
