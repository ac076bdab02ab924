"""Log-in tokens: of their own kind, for their time, and only for who is still welcome."""

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from proxy.access.logins import LIFE, Logins
from proxy.core.errors import Denied, Unavailable
from proxy.core.feed import Scope
from proxy.core.ports import Lock
from tests.access.world import World, world


def logins(of: World) -> Logins:
    return Logins(of.store, lambda: of.catalog, of.clock, of.ids, of.keys, issuer="tidegate-test")


async def refused(of: Logins, token: str) -> None:
    with pytest.raises(Denied) as caught:
        await of.verify(token)
    assert caught.value.code == "unauthenticated"
    assert caught.value.public == "you are not logged in, or no longer"
    assert len(token) < 40 or token not in str(caught.value)


def signed(of: World, claims: dict[str, Any], **header: Any) -> str:
    """A token by our own key that says what the test wants."""
    now = int(of.clock.now())
    usual = {
        "iss": "tidegate-test",
        "aud": "tidegate-api",
        "sub": "alice",
        "jti": "login-1",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
    }
    merged = {name: each for name, each in {**usual, **claims}.items() if each is not None}
    return jwt.encode(merged, of.keys.keys["k1"], "EdDSA", headers={"typ": "login+jwt", "kid": "k1", **header})


async def test_a_login_says_who_until_its_time() -> None:
    here = world()
    service = logins(here)
    login = await service.open("alice", "10.1.2.3")
    caller = await service.verify(login.token)
    assert caller.identity == here.who("alice")
    assert caller.expires == login.expires == here.clock.now() + LIFE
    assert login.token not in repr(login)
    assert here.kinds() == ["logged_in"]
    here.clock.advance(LIFE + 11)
    await refused(service, login.token)


async def test_nobody_unknown_or_locked_logs_in() -> None:
    here = world()
    service = logins(here)
    await here.store.commit(lambda writer: writer.put_lock(Lock(Scope.IDENTITY, "eve", "dave", "x", 1.0)))
    for name in ("nobody", "eve"):
        with pytest.raises(Denied):
            await service.open(name, "10.1.2.3")
    assert here.kinds() == []


async def test_logged_out_is_out() -> None:
    here = world()
    service = logins(here)
    login = await service.open("alice", "10.1.2.3")
    await service.close(await service.verify(login.token), "10.1.2.4")
    await refused(service, login.token)
    last = here.store.state.trail[-1]
    assert (last.kind, last.actor, last.body) == ("logged_out", "alice", {"source": "10.1.2.4"})


async def test_a_grants_token_is_no_login_and_a_login_no_grants_token() -> None:
    here = world()
    service = logins(here)
    await refused(service, await here.token(await here.granted()))
    with pytest.raises(Denied):
        here.tokens.verify((await service.open("alice", "10.1.2.3")).token)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "tidegate"},
        {"aud": ["tidegate-api"]},
        {"iss": "somebody"},
        {"sub": None},
        {"sub": 7},
        {"jti": None},
        {"jti": 7},
        {"exp": None},
        {"iat": None},
        {"nbf": None},
        {"exp": 2**40},
        {"exp": 1.5},
        {"exp": True},
        {"iat": 2**40, "nbf": 2**40, "exp": 2**40 + 60},
        {"nbf": 2_000_000_000},
        {"iat": 0},
        {"iat": 0, "nbf": 0, "exp": 60},
        {"sub": "nobody"},
    ],
    ids=str,
)
async def test_claims_that_are_not_right(claims: dict[str, Any]) -> None:
    here = world()
    await refused(logins(here), signed(here, claims))


@pytest.mark.parametrize(
    "header", [{"typ": "at+jwt"}, {"typ": "JWT"}, {"kid": "k2"}, {"crit": ["exp"]}, {"jku": "https://x"}], ids=str
)
async def test_headers_that_are_not_right(header: dict[str, Any]) -> None:
    here = world()
    await refused(logins(here), signed(here, {}, **header))


async def test_the_right_ones_are_right() -> None:
    here = world()
    assert (await logins(here).verify(signed(here, {}))).identity.name == "alice"


async def test_another_key_and_no_key() -> None:
    here = world()
    good = signed(here, {})
    here.keys.keys["k1"] = Ed25519PrivateKey.generate()
    await refused(logins(here), good)
    header = base64.urlsafe_b64encode(json.dumps({"typ": "login+jwt", "kid": "k1", "alg": "none"}).encode())
    await refused(logins(here), f"{header.rstrip(b'=').decode()}.{good.split('.')[1]}.")


@given(st.text(max_size=300))
async def test_any_text_is_refused_alike(text: str) -> None:
    await refused(logins(world()), text)


@given(st.integers(0, 400), st.sampled_from("AZaz09-_.="))
async def test_any_changed_letter_is_refused(place: int, letter: str) -> None:
    here = world()
    token = signed(here, {})
    place %= len(token)
    changed = token[:place] + letter + token[place + 1 :]
    if changed != token:
        await refused(logins(here), changed)


async def test_a_lost_store_is_no_yes() -> None:
    here = world()
    service = logins(here)
    login = await service.open("alice", "10.1.2.3")
    here.store.lost = True
    with pytest.raises(Unavailable):
        await service.verify(login.token)
