"""The gate: each refusal reached, one answer for what is unknown, forbidden or forged, and nothing lost between
check and registration."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from proxy.access.limits import AccessLimits
from proxy.access.revocations import Target
from proxy.access.sources import source_kind
from proxy.access.ssh_wire import read_line
from proxy.core.access import Claims, Grant, Outcome, Refusal, UserCertificate, Wish
from proxy.core.errors import Denied, Unavailable
from proxy.core.feed import Scope
from proxy.core.grounds import GATE, Ground
from tests.access.world import HOUR, KEY, OFFICE, RULES, World, rule, wish, world

Situation = Callable[[World], Awaitable[tuple[str, Wish]]]


async def plain(a: World) -> tuple[str, Wish]:
    return await a.token(await a.granted()), wish()


async def admit(a: World, token: str, asked: Wish) -> None:
    await a.gate.admit(token, asked, a.registered.append)


async def refusal(a: World, token: str, asked: Wish) -> Denied:
    with pytest.raises(Denied) as refused:
        await admit(a, token, asked)
    assert token not in f"{refused.value} {refused.value.hint} {refused.value.detail}"
    return refused.value


async def put(a: World, grant: Grant) -> None:
    await a.store.commit(lambda writer: writer.put_grant(grant))


async def test_everything_in_order_gives_an_admission() -> None:
    a = world()
    grant = await a.granted()
    await a.revocations.lock(Scope.IDENTITY, "eve", a.who("dave"), "another")
    text, claims = await a.grants.token(grant.id, a.who("alice"))
    admission = await a.gate.admit(text, wish(), a.registered.append)
    assert (admission.grant, admission.identity, admission.jti) == (grant, a.who("alice"), claims.jti)
    assert (admission.resource.name, admission.account.name, admission.database) == ("shop", "readonly", "shop")
    assert (admission.session, admission.source) == ("session-9", OFFICE)
    assert (admission.admitted, admission.feed_position) == (a.clock.now(), a.store.state.published)
    assert a.registered == [claims]
    # It is the kernel that tells the trail of it, with the session's start.
    assert "admission_granted" not in a.kinds()


async def test_who_names_no_account_gets_the_grants_own_and_may_name_the_resource_and_its_port() -> None:
    a = world()
    token = await a.token(await a.granted())
    ports = [port for _, port in a.catalog.resources["shop"].addresses]
    for port in (0, *ports):
        asked = wish(account=None, resource="shop", port=port)
        admission = await a.gate.admit(token, asked, a.registered.append)
        assert (admission.resource.name, admission.account.name) == ("shop", "readonly")


async def test_a_resource_that_is_not_there_and_one_that_is_somebody_elses_get_one_answer() -> None:
    answers = set()
    for asked in (wish(resource="box"), wish(resource="no-such-thing"), wish(resource="shop", port=1)):
        a = world()
        error = await refusal(a, await a.token(await a.granted()), asked)
        answers.add((error.code, error.public, error.hint))
    assert len(answers) == 1


# -- each refusal


async def cut_short(a: World) -> tuple[str, Wish]:
    text, asked = await plain(a)
    return text[:100], asked


async def forged(a: World) -> tuple[str, Wish]:
    text, asked = await plain(a)
    return text[:-3] + ("AAA" if text[-3:] != "AAA" else "BBA"), asked


async def no_token(_: World) -> tuple[str, Wish]:
    return "hunter2", wish()


async def expired_token(a: World) -> tuple[str, Wish]:
    text, asked = await plain(a)
    a.clock.advance(606)
    return text, asked


async def other_account(a: World) -> tuple[str, Wish]:
    return (await plain(a))[0], wish("owner")


async def other_database(a: World) -> tuple[str, Wish]:
    return (await plain(a))[0], wish(database="postgres")


async def database_not_of_the_account(a: World) -> tuple[str, Wish]:
    a.reload(rules=(rule("all", "owner"),))
    return await a.token(await a.granted(account="owner")), wish("owner", "postgres")


async def other_protocol(a: World) -> tuple[str, Wish]:
    return await a.token(await a.granted(account="ops", resource="box")), wish("ops", "")


async def other_resource(a: World) -> tuple[str, Wish]:
    return (await plain(a))[0], wish(resource="stock")


async def other_port(a: World) -> tuple[str, Wish]:
    return (await plain(a))[0], wish(resource="shop", port=1)


async def other_network(a: World) -> tuple[str, Wish]:
    return await a.token(await a.granted(account="pinned")), wish("pinned", source="192.0.2.1")


async def nowhere_known(a: World) -> tuple[str, Wish]:
    return await a.token(await a.granted(account="pinned")), wish("pinned", source="")


async def not_started(a: World) -> tuple[str, Wish]:
    grant = await a.granted()
    text = await a.token(grant)
    await put(a, a.seal.seal(replace(grant, starts=grant.starts + 60)))
    return text, wish()


async def ended(a: World) -> tuple[str, Wish]:
    grant = await a.granted(duration=HOUR)
    text = await a.token(grant)
    await put(a, a.seal.seal(replace(grant, ends=a.clock.now())))
    return text, wish()


async def revoked(a: World) -> tuple[str, Wish]:
    grant = await a.granted()
    text = await a.token(grant)
    await a.revocations.revoke(Target(Scope.GRANT, grant.id), a.who("dave"), "laptop stolen")
    return text, wish()


async def user_locked(a: World) -> tuple[str, Wish]:
    text, asked = await plain(a)
    await a.revocations.lock(Scope.IDENTITY, "alice", a.who("dave"), "left")
    return text, asked


async def resource_locked(a: World) -> tuple[str, Wish]:
    text, asked = await plain(a)
    await a.revocations.lock(Scope.RESOURCE, "shop", a.who("dave"), "migration")
    return text, asked


async def too_many(a: World) -> tuple[str, Wish]:
    a.limits = AccessLimits(sessions_per_grant=1)
    grant = await a.granted()
    await a.start_session(grant)
    return await a.token(grant), wish()


async def unknown_grant(a: World) -> tuple[str, Wish]:
    text, asked = await plain(a)
    a.store.state.grants.clear()
    return text, asked


async def changed_row(a: World) -> tuple[str, Wish]:
    grant = await a.granted()
    text = await a.token(grant)
    await put(a, replace(grant, ends=grant.ends + 86_400))
    return text, wish()


async def changed_account(a: World) -> tuple[str, Wish]:
    grant = await a.granted()
    text = await a.token(grant)
    await put(a, replace(grant, account="owner"))
    return text, wish("owner")


async def somebody_elses(a: World) -> tuple[str, Wish]:
    text, _ = a.tokens.mint(await a.granted(), "eve")
    return text, wish()


async def token_revoked(a: World) -> tuple[str, Wish]:
    text, claims = await a.grants.token((await a.granted()).id, a.who("alice"))
    await a.revocations.revoke(Target(Scope.TOKEN, claims.jti), a.who("dave"), "posted in a chat")
    return text, wish()


async def user_gone(a: World) -> tuple[str, Wish]:
    text, asked = await plain(a)
    a.reload(without="alice")
    return text, asked


async def resource_gone(a: World) -> tuple[str, Wish]:
    text, asked = await plain(a)
    a.reload(without="shop")
    return text, asked


async def policy_denies(a: World) -> tuple[str, Wish]:
    text, asked = await plain(a)
    a.reload(rules=(*RULES, rule("freeze", "*", subjects=("*",), effect=Outcome.DENY)))
    return text, asked


async def policy_gives_no_more(a: World) -> tuple[str, Wish]:
    text, asked = await plain(a)
    a.reload(rules=RULES[1:])
    return text, asked


async def long_token_of_a_grant_that_allows_none(a: World) -> tuple[str, Wish]:
    grant = await a.granted()
    text, _ = a.tokens.mint(replace(grant, conditions={"token_life": "grant"}, networks=("10.0.0.0/8",)), "alice")
    return text, wish()


async def newer(a: World) -> tuple[str, Wish]:
    token, asked = await plain(a)
    (grant,) = a.store.state.grants.values()
    await put(a, a.later(grant, must={"mask": "email"}))
    return token, asked


TABLE: list[tuple[Situation, Refusal]] = [
    (no_token, Refusal.BAD_TOKEN),
    (forged, Refusal.BAD_TOKEN),
    (unknown_grant, Refusal.BAD_TOKEN),
    (changed_row, Refusal.BAD_TOKEN),
    (changed_account, Refusal.BAD_TOKEN),
    (somebody_elses, Refusal.BAD_TOKEN),
    (token_revoked, Refusal.BAD_TOKEN),
    (user_gone, Refusal.BAD_TOKEN),
    (resource_gone, Refusal.BAD_TOKEN),
    (policy_denies, Refusal.BAD_TOKEN),
    (policy_gives_no_more, Refusal.BAD_TOKEN),
    (long_token_of_a_grant_that_allows_none, Refusal.BAD_TOKEN),
    (cut_short, Refusal.TOKEN_CUT_SHORT),
    (expired_token, Refusal.TOKEN_EXPIRED),
    (other_account, Refusal.WRONG_ACCOUNT),
    (other_database, Refusal.WRONG_DATABASE),
    (database_not_of_the_account, Refusal.WRONG_DATABASE),
    (other_protocol, Refusal.WRONG_PROTOCOL),
    (other_resource, Refusal.WRONG_RESOURCE),
    (other_port, Refusal.WRONG_RESOURCE),
    (other_network, Refusal.WRONG_NETWORK),
    (nowhere_known, Refusal.WRONG_NETWORK),
    (not_started, Refusal.GRANT_NOT_STARTED),
    (ended, Refusal.GRANT_EXPIRED),
    (revoked, Refusal.GRANT_REVOKED),
    (newer, Refusal.GRANT_NEWER),
    (user_locked, Refusal.USER_LOCKED),
    (resource_locked, Refusal.RESOURCE_LOCKED),
    (too_many, Refusal.TOO_MANY_SESSIONS),
]


@pytest.mark.parametrize(("situation", "why"), TABLE, ids=[each.__name__ for each, _ in TABLE])
async def test_each_refusal_says_why_and_is_in_the_trail(situation: Situation, why: Refusal) -> None:
    a = world()
    token, asked = await situation(a)
    error = await refusal(a, token, asked)
    assert error.code == why
    assert error.hint
    last = a.store.state.trail[-1]
    assert (last.kind, last.body["why"], last.body["times"]) == ("admission_refused", why, 1)
    assert last.body["session"] == "session-9"
    assert last.actor in {"anonymous", "alice", "eve"}


BEFORE = {Refusal.NO_TLS, Refusal.PLAINTEXT}


@pytest.mark.parametrize("why", sorted(BEFORE))
async def test_some_are_refused_before_a_token_is_looked_at(why: Refusal) -> None:
    a = world()
    error = await a.gate.refuse(why, wish())
    assert (error.code, a.kinds()) == (why, ["admission_refused"])


def test_no_refusal_is_without_a_test() -> None:
    assert {why for _, why in TABLE} | BEFORE == set(Refusal)


async def test_unknown_forbidden_and_forged_get_one_answer() -> None:
    answers = set()
    for situation, why in TABLE:
        if why is Refusal.BAD_TOKEN:
            a = world()
            error = await refusal(a, *await situation(a))
            answers.add((error.public, error.hint, error.code))
    assert len(answers) == 1


async def test_the_holder_is_told_what_the_grant_is_for() -> None:
    a = world()
    error = await refusal(a, *await other_account(a))
    assert error.public == "this token is for account readonly"
    assert (await refusal(a, *await other_database(a))).hint == "this grant is for database shop"
    assert "dave: laptop stolen" in (await refusal(a, *await revoked(a))).public


async def test_a_thief_elsewhere_learns_nothing_of_the_grant() -> None:
    a = world()
    grant = await a.granted(account="pinned")
    text = await a.token(grant)
    await a.revocations.revoke(Target(Scope.GRANT, grant.id), a.who("dave"), "x")
    assert (await refusal(a, text, wish("readonly", source="192.0.2.1"))).code == Refusal.WRONG_NETWORK


async def test_a_mapped_address_is_the_address() -> None:
    a = world()
    text = await a.token(await a.granted(account="pinned"))
    await admit(a, text, wish("pinned", source="::ffff:10.1.2.3"))


async def test_a_token_lives_as_long_as_its_bound_grant_where_policy_says_so() -> None:
    a = world()
    text = await a.token(await a.granted(account="pinned"))
    a.clock.advance(HOUR - 1)
    await admit(a, text, wish("pinned"))
    a.clock.advance(1)
    assert (await refusal(a, text, wish("pinned"))).code == Refusal.GRANT_EXPIRED


async def test_a_session_limit_of_none_is_none() -> None:
    a = world()
    grant = await a.granted()
    for number in range(30):
        await a.start_session(grant, f"session-{number}")
    await admit(a, await a.token(grant), wish())


# -- subscribe first, check second


async def test_registration_comes_before_the_look() -> None:
    """A revocation committed after registration and before the read is seen by the read."""
    a = world()
    grant = await a.granted()
    text = await a.token(grant)
    order: list[str] = []

    def register(_: Claims) -> None:
        order.append("registered")
        a.store.state.grants[grant.id] = a.seal.seal(replace(grant, revoked=a.clock.now(), revoked_by="dave"))

    with pytest.raises(Denied) as refused:
        await a.gate.admit(text, wish(), register)
    assert (refused.value.code, order) == (Refusal.GRANT_REVOKED, ["registered"])


async def test_a_revocation_after_the_look_lies_beyond_the_feed_position() -> None:
    a = world()
    grant = await a.granted()
    admission = await a.gate.admit(await a.token(grant), wish(), a.registered.append)
    done = await a.revocations.revoke(Target(Scope.GRANT, grant.id), a.who("dave"), "x")
    assert done.seq > admission.feed_position
    missed = await a.store.read(lambda reader: reader.feed_after(admission.feed_position))
    assert [each.key for each in missed] == [grant.id]


async def test_what_is_not_verified_is_not_registered() -> None:
    a = world()
    await refusal(a, *await forged(a))
    await refusal(a, *await expired_token(a))
    assert a.registered == []


@pytest.mark.parametrize("ground", GATE)
async def test_a_node_that_has_a_ground_admits_nobody(ground: Ground) -> None:
    a = world()
    text, asked = await plain(a)
    a.ground = ground
    for _ in range(3):
        with pytest.raises(Unavailable):
            await admit(a, text, asked)
    assert "admission_refused" not in a.kinds()  # what it does not hear from is the store: nobody waits for it
    await a.gate.flush(math.inf)
    last = a.store.state.trail[-1]
    assert (last.kind, last.actor, last.body["why"], last.body["times"]) == (
        "admission_refused",
        "alice",
        ground,
        3,
    )


async def test_a_node_that_went_deaf_while_it_read_admits_nobody() -> None:
    a = world()
    text, asked = await plain(a)
    read = a.store.read

    async def slow(query):  # type: ignore[no-untyped-def]
        facts = await read(query)
        a.ground = Ground.NOT_FRESH
        return facts

    a.store.read = slow  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await admit(a, text, asked)


async def test_without_the_store_nobody_gets_in_and_refusals_are_kept_for_later() -> None:
    a = world()
    text, asked = await plain(a)
    a.store.lost = True
    with pytest.raises(Unavailable):
        await admit(a, text, asked)
    assert (await refusal(a, "hunter2", asked)).code == Refusal.BAD_TOKEN
    a.clock.advance(10)
    await a.gate.flush(a.clock.monotonic())
    a.store.lost = False
    a.clock.advance(10)
    await a.gate.flush(a.clock.monotonic())
    assert a.kinds()[-1] == "admission_refused"
    assert a.store.state.trail[-1].body["times"] == 1


async def test_a_row_of_before_its_revocation_is_no_grant_again() -> None:
    """Who has the store's password puts it back, seal and all: the trail says otherwise."""
    a = world()
    text, asked = await plain(a)
    (grant,) = a.store.state.grants.values()
    await a.revocations.revoke(Target(Scope.GRANT, grant.id), a.who("dave"), "laptop stolen")
    assert (await refusal(a, text, asked)).code == Refusal.GRANT_REVOKED
    await a.store.commit(lambda writer: writer.put_grant(grant))
    denied = await refusal(a, text, asked)
    assert (denied.code, "put back" in denied.detail) == (Refusal.BAD_TOKEN, True)
    await admit(a, await a.token(await a.granted()), asked)


# -- floods


async def test_a_flood_of_refusals_is_two_rows() -> None:
    a = world()
    for _ in range(500):
        await refusal(a, "hunter2", wish("x" * 5000 + "\x1b"))
    assert a.kinds() == ["admission_refused"]
    await a.gate.flush(a.clock.monotonic() + 9)
    assert len(a.kinds()) == 1
    await a.gate.flush(math.inf)
    await a.gate.flush(math.inf)
    assert [row.body["times"] for row in a.store.state.trail] == [1, 499]
    assert len(a.store.state.trail[-1].body["account"]) == 63


async def test_sources_and_reasons_are_counted_apart() -> None:
    a = world()
    await refusal(a, "hunter2", wish())
    await refusal(a, "hunter2", wish(source="192.0.2.1"))
    await refusal(a, *await cut_short(a))
    assert a.kinds().count("admission_refused") == 3


async def test_no_refusal_of_a_known_holder_goes_under_anothers_name() -> None:
    """Many people come from one address; who could not get in is asked later."""
    a = world()
    for name in ("alice", "eve", "alice", "eve", "dave"):
        text = await a.token(await a.granted(name))
        assert (await refusal(a, text, wish("owner"))).code == Refusal.WRONG_ACCOUNT
    await a.gate.flush(math.inf)
    rows = [row for row in a.store.state.trail if row.kind == "admission_refused"]
    for name, times in (("alice", 2), ("eve", 2), ("dave", 1)):
        assert sum(row.body["times"] for row in rows if row.actor == name) == times


async def test_a_flood_from_many_addresses_is_bounded_too() -> None:
    a = world()
    for number in range(1000):
        await refusal(a, "hunter2", wish(source=f"10.{number // 250}.{number % 250}.1"))
    assert len(a.kinds()) <= 257
    await a.gate.flush(math.inf)
    assert sum(row.body["times"] for row in a.store.state.trail) == 1000


def test_one_network_of_ipv6_is_one_source() -> None:
    assert source_kind("2001:db8::1") == source_kind("2001:db8::ffff:2") == "2001:db8::/64"
    assert source_kind("::ffff:10.1.2.3") == source_kind("10.1.2.3") == "10.1.2.3"
    assert source_kind("no address") == ""


async def test_a_reload_is_seen_by_what_lives() -> None:
    a = world()
    grant = await a.granted()
    assert a.gate.still_holds(grant)
    a.reload(rules=RULES[1:])
    assert not a.gate.still_holds(grant)


# -- certificates


async def certified(a: World, source: str = OFFICE) -> tuple[UserCertificate, Grant, Wish]:
    grant = await a.granted(account="ops", resource="box")
    line, _ = await a.grants.certificate(grant.id, a.who("alice"), KEY)
    return UserCertificate(read_line(line)), grant, wish("ops", "", protocol="ssh", source=source)


async def certificate_refusal(a: World, shown: UserCertificate, asked: Wish) -> str:
    with pytest.raises(Denied) as refused:
        await a.gate.admit(shown, asked, a.registered.append)
    return refused.value.code


async def test_a_certificate_gives_an_admission_like_a_token() -> None:
    a = world()
    shown, grant, asked = await certified(a)
    admission = await a.gate.admit(shown, asked, a.registered.append)
    (claims,) = a.registered
    assert (claims.subject, claims.grant) == ("alice", grant.id)
    assert (admission.grant, admission.identity, admission.jti) == (grant, a.who("alice"), claims.jti)
    issued = a.store.state.trail[-1]
    assert (issued.kind, issued.body["jti"]) == ("certificate_issued", admission.jti)


async def test_a_certificate_is_revoked_by_its_jti() -> None:
    a = world()
    shown, _, asked = await certified(a)
    jti = a.store.state.trail[-1].body["jti"]
    await a.revocations.revoke(Target(Scope.TOKEN, jti), a.who("dave"), "key lost")
    assert await certificate_refusal(a, shown, asked) == Refusal.BAD_TOKEN
    again, _, asked = await certified(a)
    assert (await a.gate.admit(again, asked, a.registered.append)).jti != jti


async def revoke_the_grant(a: World, grant: Grant) -> None:
    await a.revocations.revoke(Target(Scope.GRANT, grant.id), a.who("dave"), "over")


async def lock_alice(a: World, _: Grant) -> None:
    await a.revocations.lock(Scope.IDENTITY, "alice", a.who("dave"), "gone")


async def hand_it_to_eve(a: World, grant: Grant) -> None:
    await put(a, a.seal.seal(replace(grant, identity="eve")))


async def change_the_row(a: World, grant: Grant) -> None:
    await put(a, replace(grant, ends=grant.ends + 1))


async def end_it_before_the_certificate(a: World, grant: Grant) -> None:
    await put(a, a.seal.seal(replace(grant, ends=a.clock.now() + 300)))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (revoke_the_grant, Refusal.GRANT_REVOKED),
        (lock_alice, Refusal.USER_LOCKED),
        (hand_it_to_eve, Refusal.BAD_TOKEN),
        (change_the_row, Refusal.BAD_TOKEN),
        (end_it_before_the_certificate, Refusal.BAD_TOKEN),
    ],
)
async def test_a_certificate_is_no_better_than_its_grant(
    change: Callable[[World, Grant], Awaitable[None]], code: Refusal
) -> None:
    a = world()
    shown, grant, asked = await certified(a)
    await change(a, grant)
    assert await certificate_refusal(a, shown, asked) == code
    assert a.kinds()[-1] == "admission_refused"


async def test_a_certificate_is_for_ssh_and_its_account_alone() -> None:
    a = world()
    shown, _, asked = await certified(a)
    assert await certificate_refusal(a, shown, replace(asked, protocol="postgres")) == Refusal.WRONG_PROTOCOL
    assert await certificate_refusal(a, shown, replace(asked, account="root")) == Refusal.WRONG_ACCOUNT
    a.clock.advance(606)
    assert await certificate_refusal(a, shown, asked) == Refusal.TOKEN_EXPIRED


async def test_a_forged_certificate_is_registered_nowhere() -> None:
    a = world()
    shown, _, asked = await certified(a)
    forged = UserCertificate(shown.blob[:-1] + bytes([shown.blob[-1] ^ 1]))
    assert await certificate_refusal(a, forged, asked) == Refusal.BAD_TOKEN
    assert a.registered == []
    row = a.store.state.trail[-1]
    assert (row.kind, row.actor) == ("admission_refused", "anonymous")


async def test_a_certificate_may_be_shown_longer_than_a_token() -> None:
    a = world()
    a.life = 60.0
    shown, _, asked = await certified(a)
    a.clock.advance(200)
    assert (await a.gate.admit(shown, asked, a.registered.append)).account.name == "ops"
