"""Tokens: only what we signed, as we signed it, for as long as we said."""

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.access.tokens import AUDIENCE, SIZE_MINTED, SIZE_TAKEN, Tokens
from proxy.adapters.clock import UlidIds
from proxy.core.access import Claims, Grant, Refusal
from proxy.core.errors import Denied, Unavailable
from tests.access.world import MemoryKeys
from tests.fakes.clock import FakeClock, FakeIds

NOW = 1_800_000_000
ISSUER = "tidegate-test"


class Bench:
    """Tokens with everything they need, at ``NOW``."""

    def __init__(self, life: float = 600.0) -> None:
        self.clock = FakeClock(float(NOW))
        self.keys = MemoryKeys()
        self.tokens = Tokens(self.keys, self.clock, FakeIds(), ISSUER, lambda: life, leeway=5.0)

    def mint(self, **changes: Any) -> str:
        return self.tokens.mint(grant(**changes), "alice")[0]

    def sign(
        self, header: dict[str, Any] | None = None, key: Ed25519PrivateKey | None = None, **claims: Any
    ) -> str:
        """A token made by hand: RFC 7515, without any library's help."""
        payload = json.dumps(CLAIMS | claims).encode()
        return self.sign_raw(json.dumps(header or HEADER).encode(), payload, key)

    def sign_raw(self, header: bytes, payload: bytes, key: Ed25519PrivateKey | None = None) -> str:
        signed = f"{b64(header)}.{b64(payload)}"
        return f"{signed}.{b64((key or self.keys.keys['k1']).sign(signed.encode()))}"


HEADER = {"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"}
CLAIMS = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "alice",
    "jti": "token-1",
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 600,
    "grant": "grant-1",
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def grant(**changes: Any) -> Grant:
    given_: dict[str, Any] = {
        "id": "grant-1",
        "request": "request-1",
        "identity": "alice",
        "resource": "shop",
        "account": "readonly",
        "starts": float(NOW),
        "ends": NOW + 3600.0,
    }
    return Grant(**(given_ | changes))


def code_of(bench: Bench, text: str) -> str:
    with pytest.raises(Denied) as refused:
        bench.tokens.verify(text)
    assert text == "" or len(text) < 12 or text not in str(refused.value) + refused.value.hint
    return str(refused.value.code)


def test_what_is_minted_verifies_as_what_was_meant() -> None:
    bench = Bench()
    text, claims = bench.tokens.mint(grant(), "alice")
    assert bench.tokens.verify(text) == claims
    assert claims == Claims(claims.jti, "alice", "grant-1", float(NOW), NOW + 600.0)
    assert len(text) < SIZE_MINTED


def test_the_claims_and_header_are_those_of_the_contract() -> None:
    text = Bench().mint()
    assert jwt.get_unverified_header(text) == HEADER
    payload = jwt.decode(text, options={"verify_signature": False})
    assert set(payload) == set(CLAIMS)
    assert payload["aud"] == "tidegate"


def test_a_token_made_by_hand_by_the_standard_is_understood() -> None:
    bench = Bench()
    assert bench.tokens.verify(bench.sign()).jti == "token-1"


def test_the_jwks_is_enough_to_verify_by_the_standard() -> None:
    bench = Bench()
    (key,) = bench.tokens.jwks()["keys"]
    assert {name: key[name] for name in key if name != "x"} == {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": "k1",
        "alg": "EdDSA",
        "use": "sig",
    }
    signed, _, signature = bench.mint().rpartition(".")
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
    public.verify(base64.urlsafe_b64decode(signature + "=="), signed.encode())


def test_a_token_ends_no_later_than_its_grant() -> None:
    bench = Bench()
    _, claims = bench.tokens.mint(grant(ends=NOW + 90.9), "alice")
    assert claims.expires == NOW + 90
    with pytest.raises(Denied) as refused:
        bench.tokens.mint(grant(ends=NOW + 0.5), "alice")
    assert refused.value.code == Refusal.GRANT_EXPIRED


def test_a_token_that_would_be_too_long_is_not_minted() -> None:
    with pytest.raises(Unavailable):
        Bench().tokens.mint(grant(), "a" * 700)


def test_no_leeway_over_ten_seconds() -> None:
    with pytest.raises(ValueError):
        Tokens(MemoryKeys(), FakeClock(), FakeIds(), ISSUER, lambda: 600.0, leeway=11.0)


def test_a_token_is_good_until_it_expires_and_a_little_more() -> None:
    bench = Bench()
    text = bench.mint()
    bench.clock.advance(604.9)
    bench.tokens.verify(text)
    bench.clock.advance(0.1)
    assert code_of(bench, text) == Refusal.TOKEN_EXPIRED


def test_expiry_is_told_only_of_what_we_signed() -> None:
    bench = Bench()
    expired: dict[str, Any] = {"iat": NOW - 900, "nbf": NOW - 900, "exp": NOW - 300}
    assert code_of(bench, bench.sign(**expired)) == Refusal.TOKEN_EXPIRED
    forged = bench.sign(key=Ed25519PrivateKey.generate(), **expired)
    assert code_of(bench, forged) == Refusal.BAD_TOKEN


def test_keys_overlap_on_rotation() -> None:
    bench = Bench()
    old = bench.mint()
    bench.keys.keys["k2"] = Ed25519PrivateKey.generate()
    bench.keys.kid = "k2"
    new = bench.mint()
    assert bench.tokens.verify(old).grant == bench.tokens.verify(new).grant
    assert len(bench.tokens.jwks()["keys"]) == 2
    del bench.keys.keys["k1"]
    assert code_of(bench, old) == Refusal.BAD_TOKEN


def test_a_token_as_long_as_its_grant_only_where_networks_bind_it() -> None:
    bench = Bench()
    bound = grant(conditions={"token_life": "grant"}, networks=("10.0.0.0/8",))
    text, claims = bench.tokens.mint(bound, "alice")
    assert claims.expires == bound.ends
    assert bench.tokens.verify(text) == claims
    assert bench.tokens.fits(claims, bound)
    assert not bench.tokens.fits(claims, grant())
    assert not bench.tokens.fits(claims, grant(networks=("10.0.0.0/8",)))
    _, unbound = bench.tokens.mint(grant(conditions={"token_life": "grant"}), "alice")
    assert unbound.expires == NOW + 600


@pytest.mark.parametrize(
    "header",
    [
        HEADER | {"alg": "none"},
        HEADER | {"alg": "HS256"},
        HEADER | {"alg": "eddsa"},
        HEADER | {"alg": "Ed25519"},
        HEADER | {"typ": "JWT"},
        HEADER | {"typ": "at+JWT"},
        HEADER | {"kid": "k2"},
        HEADER | {"kid": "../k1"},
        HEADER | {"kid": "k" * 129},
        HEADER | {"kid": ["k1"]},
        HEADER | {"kid": None},
        HEADER | {"crit": ["exp"], "exp": 1},
        HEADER | {"crit": []},
        HEADER | {"b64": False},
        HEADER | {"b64": True},
        HEADER | {"jku": "https://example.com/"},
        HEADER | {"jwk": {}},
        {"alg": "EdDSA", "kid": "k1"},
        {"alg": "EdDSA", "typ": "at+jwt"},
    ],
    ids=str,
)
def test_another_header_is_refused_though_the_signature_is_ours(header: dict[str, Any]) -> None:
    bench = Bench()
    assert code_of(bench, bench.sign(header)) == Refusal.BAD_TOKEN


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "other"},
        {"aud": ["tidegate"]},
        {"aud": ["tidegate", "other"]},
        {"iss": "tidegate"},
        {"iss": ISSUER + "/"},
        {"iss": [ISSUER]},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a" * 257},
        {"grant": None},
        {"grant": ["grant-1"]},
        {"jti": 5},
        {"exp": NOW + 600.5},
        {"exp": str(NOW + 600)},
        {"exp": True},
        {"iat": float(NOW)},
        {"exp": 10**400},
        {"iat": -1},
        {"nbf": NOW + 6},
        {"iat": NOW + 6},
        {"exp": NOW + 601},
        {"exp": NOW},
        {"exp": NOW - 1},
        {"exp": 10**30},
        {"life": "forever", "exp": NOW + 601},
        {"nbf": NOW + 5, "iat": NOW, "exp": NOW + 4},
    ],
    ids=str,
)
def test_other_claims_are_refused_though_the_signature_is_ours(claims: dict[str, Any]) -> None:
    bench = Bench()
    assert code_of(bench, bench.sign(**claims)) == Refusal.BAD_TOKEN


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_every_claim_is_required(name: str) -> None:
    bench = Bench()
    payload = json.dumps({key: value for key, value in CLAIMS.items() if key != name}).encode()
    assert code_of(bench, bench.sign_raw(json.dumps(HEADER).encode(), payload)) == Refusal.BAD_TOKEN


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (json.dumps(HEADER)[:-1] + ',"alg":"EdDSA"}', json.dumps(CLAIMS)),
        (json.dumps(HEADER), json.dumps(CLAIMS)[:-1] + ',"grant":"grant-2"}'),
        (json.dumps(HEADER), json.dumps([CLAIMS])),
        (json.dumps(HEADER), json.dumps(CLAIMS).replace(str(NOW + 600), "NaN")),
        (json.dumps(HEADER), json.dumps(CLAIMS).replace(str(NOW + 600), "9" * 5000)),
        (json.dumps(HEADER), "[" * 5000),
        (json.dumps(HEADER), '{"a":' * 1000 + "1" + "}" * 1000),
        (json.dumps(HEADER), "\udcff"),
        (json.dumps(HEADER), ""),
    ],
    ids=["header twice", "claim twice", "list", "nan", "long number", "deep", "deep object", "no utf-8", "empty"],
)
def test_odd_json_is_refused_though_the_signature_is_ours(header: str, payload: str) -> None:
    bench = Bench()
    text = bench.sign_raw(header.encode(), payload.encode("utf-8", "surrogateescape"))
    assert code_of(bench, text) == Refusal.BAD_TOKEN


@pytest.mark.parametrize(
    "text",
    ["", "x", "password", "a.b.c", "....", "Bearer x", "\N{SNOWMAN}", "eyJ\N{SNOWMAN}", "e" * (SIZE_TAKEN + 1)],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    assert code_of(Bench(), text) == Refusal.BAD_TOKEN


def test_too_much_is_refused_before_it_is_read() -> None:
    bench = Bench()
    huge = bench.sign(HEADER | {"x": "y" * SIZE_TAKEN})
    assert code_of(bench, huge) == Refusal.BAD_TOKEN
    assert code_of(bench, "eyJ" + "a" * SIZE_TAKEN) == Refusal.BAD_TOKEN


def test_padding_and_other_forms_of_the_same_bytes_are_refused() -> None:
    bench = Bench()
    text = bench.mint()
    assert code_of(bench, text + "==") == Refusal.BAD_TOKEN
    assert code_of(bench, text + "\n") == Refusal.BAD_TOKEN
    assert code_of(bench, " " + text) == Refusal.BAD_TOKEN
    # The last character of a signature has four bits that no byte needs.
    others = [text[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if last != text[-1]]
    assert {code_of(bench, other) for other in others} == {Refusal.BAD_TOKEN}


BENCH = Bench()
TEXT = BENCH.mint()


@given(st.integers(0, len(TEXT) - 1), st.characters(max_codepoint=0x2FF))
@settings(max_examples=300)
def test_no_changed_character_verifies(at: int, new: str) -> None:
    changed = TEXT[:at] + new + TEXT[at + 1 :]
    if changed != TEXT:
        with pytest.raises(Denied):
            BENCH.tokens.verify(changed)


def test_every_truncation_says_that_the_token_was_cut_and_where() -> None:
    for length in range(3, len(TEXT)):
        with pytest.raises(Denied) as refused:
            BENCH.tokens.verify(TEXT[:length])
        assert refused.value.code == Refusal.TOKEN_CUT_SHORT
        assert f"{length} bytes" in refused.value.public


@given(st.text(max_size=300) | st.from_regex(r"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*", fullmatch=True))
def test_no_text_raises_anything_but_a_refusal(text: str) -> None:
    with pytest.raises(Denied):
        BENCH.tokens.verify(text)


def test_the_longest_names_fit_into_a_token_that_can_be_typed() -> None:
    """What the settings allow: an issuer of 128 characters, here the longest in JSON, and a name of 63."""
    clock, keys = FakeClock(float(NOW)), MemoryKeys()
    keys.kid = f"k-{'0' * 16}"
    keys.keys = {keys.kid: Ed25519PrivateKey.generate()}
    tokens = Tokens(keys, clock, UlidIds(clock), '"' * 128, lambda: 600.0)
    longest = grant(id=UlidIds(clock).new("grant"), networks=("10.0.0.0/8",), conditions={"token_life": "grant"})
    text, claims = tokens.mint(longest, "x" * 63)
    assert b'"life"' in base64.urlsafe_b64decode(text.split(".")[1] + "==")
    assert len(text) < SIZE_MINTED
    assert tokens.verify(text) == claims
