"""Tokens: a short-lived JWT that names one grant. Minted and verified here; stored nowhere.

EdDSA alone, by our own keys (RFC 8037; the checks are those of RFC 8725 and RFC 9068). Nothing in a header chooses
anything: ``kid`` is only a key of our own dictionary. A token is taken apart once, strictly (``compact``), and what
was verified is what is read: PyJWT, which mints, would take it apart in its own way again. Everything before the
signature verifies gets one answer, ``BAD_TOKEN``, but for what anyone can see from the outside of the text: that a
client cut it short. Knows nothing of the store: whether the grant still stands is the gate's to find out. No
message here ever holds a token.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from proxy.access.compact import Malformed, Parts, cut_short, encoded, split
from proxy.access.refusals import refused
from proxy.core.access import Claims, Grant, Refusal
from proxy.core.errors import Denied, Unavailable
from proxy.core.ports import Clock, Ids, TokenKeys

AUDIENCE = "tidegate"
TYPE = "at+jwt"
ALGORITHM = "EdDSA"
SIZE_MINTED = 900
"""Bytes a token stays under: OpenSSH cuts what is typed at its prompt at 1023."""
SIZE_TAKEN = 8192
LEEWAY_MOST = 10.0
AS_LONG_AS_GRANT = "grant"
"""The value of the condition ``token_life`` (and of our own claim ``life``) for tokens that live as their grant."""

_NUMBERS = ("iat", "nbf", "exp")
_TEXTS = ("iss", "sub", "jti", "grant")
_TEXT_LONGEST = 256


class Tokens:
    """Mints and verifies. ``life`` gives the seconds a token may be presented, as configured now; ``leeway`` is the
    clock difference in seconds that is forgiven, at most 10."""

    def __init__(
        self,
        keys: TokenKeys,
        clock: Clock,
        ids: Ids,
        issuer: str,
        life: Callable[[], float],
        leeway: float = 5.0,
    ) -> None:
        if not 0 <= leeway <= LEEWAY_MOST:
            raise ValueError(f"leeway is between 0 and {LEEWAY_MOST:g} s")
        self._keys = keys
        self._clock = clock
        self._ids = ids
        self._issuer = issuer
        self._life = life
        self._leeway = leeway

    def mint(self, grant: Grant, subject: str) -> tuple[str, Claims]:
        """A token for ``grant``, ending no later than it. ``Denied`` when that is now; ``Unavailable`` if the token
        would be too long to be typed."""
        now = int(self._clock.now())
        expires = int(grant.ends) if lives_as_grant(grant) else int(min(now + self._life(), grant.ends))
        if expires <= now:
            raise refused(Refusal.GRANT_EXPIRED)
        claims = Claims(self._ids.new("token"), subject, grant.id, float(now), float(expires))
        payload: dict[str, object] = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": subject,
            "jti": claims.jti,
            "iat": now,
            "nbf": now,
            "exp": expires,
            "grant": grant.id,
        }
        if lives_as_grant(grant):
            payload["life"] = AS_LONG_AS_GRANT
        return self._signed(payload), claims

    def _signed(self, payload: dict[str, object]) -> str:
        kid, key = self._keys.current()
        if not isinstance(key, Ed25519PrivateKey):
            raise Unavailable("tokens cannot be signed now", detail="the current key is no Ed25519 key")
        text = jwt.encode(payload, key, ALGORITHM, headers={"typ": TYPE, "kid": kid})
        if len(text) >= SIZE_MINTED:
            raise Unavailable("the token would be too long", detail=f"{len(text)} bytes: a name in it is too long")
        return text

    def verify(self, text: str) -> Claims:
        """What a token says, once it is certain that we said it and that it may be presented now.

        ``Denied`` with ``TOKEN_CUT_SHORT`` (from its shape alone), ``TOKEN_EXPIRED`` (only after the signature) or
        ``BAD_TOKEN``. A token of a grant's length passes; whether its grant allows that is the gate's to ask.
        """
        if len(text) <= SIZE_TAKEN and cut_short(text):
            raise refused(Refusal.TOKEN_CUT_SHORT, size=len(text))
        try:
            claims = self._checked(text)
        except (Malformed, InvalidSignature) as error:
            raise _bad(type(error).__name__) from None
        if claims.expires + self._leeway <= self._clock.now():
            raise refused(Refusal.TOKEN_EXPIRED)
        return claims

    def _checked(self, text: str) -> Claims:
        """Form, header, signature, claims, in this order."""
        parts = split(text, SIZE_TAKEN)
        self._key_of(parts).verify(parts.signature, parts.signed)
        return self._claims(parts.payload)

    def _key_of(self, parts: Parts) -> Ed25519PublicKey:
        """The key that the header names. A header has what ours have and no more: no ``crit``, ``b64``, ``jku``."""
        header = parts.header
        if set(header) != {"alg", "typ", "kid"} or header["alg"] != ALGORITHM or header["typ"] != TYPE:
            raise Malformed("header")
        key = self._keys.public().get(parts.kid())
        if not isinstance(key, Ed25519PublicKey):
            raise Malformed("kid")
        return key

    def _claims(self, payload: Mapping[str, Any]) -> Claims:
        for name in _NUMBERS:
            if type(payload.get(name)) is not int:
                raise Malformed(name)
        for name in _TEXTS:
            value = payload.get(name)
            if type(value) is not str or not 0 < len(value) <= _TEXT_LONGEST:
                raise Malformed(name)
        for name, value in (("iss", self._issuer), ("aud", AUDIENCE)):
            if payload.get(name) != value:
                raise Malformed(name)
        self._check_times(payload)
        return Claims(
            jti=payload["jti"],
            subject=payload["sub"],
            grant=payload["grant"],
            issued=float(payload["iat"]),
            expires=float(payload["exp"]),
        )

    def _check_times(self, payload: Mapping[str, Any]) -> None:
        issued, starts, expires = (payload[name] for name in _NUMBERS)
        latest = self._clock.now() + self._leeway
        if issued > latest or starts > latest or not issued < expires or starts > expires:
            raise Malformed("times")
        if payload.get("life") != AS_LONG_AS_GRANT and expires - issued > self._life():
            raise Malformed("life")

    def fits(self, claims: Claims, grant: Grant) -> bool:
        """Whether this token may live as long as it says, under this grant."""
        if claims.expires - claims.issued <= self._life():
            return True
        return lives_as_grant(grant) and claims.expires <= grant.ends

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys as a JWK set (RFC 7517, RFC 8037)."""
        return {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "x": encoded(key.public_bytes_raw()),
                    "kid": kid,
                    "alg": ALGORITHM,
                    "use": "sig",
                }
                for kid, key in sorted(self._keys.public().items())
                if isinstance(key, Ed25519PublicKey)
            ]
        }


def lives_as_grant(grant: Grant) -> bool:
    """By policy a token may live as long as its grant; only where networks bind it, so that a copy is of no use."""
    return grant.conditions.get("token_life") == AS_LONG_AS_GRANT and bool(grant.networks)


def _bad(detail: str) -> Denied:
    return refused(Refusal.BAD_TOKEN, detail=detail)
