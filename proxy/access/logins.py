"""Log-ins to the API: a token of their own kind, and who a caller is.

A log-in token says only who logged in (``typ`` ``login+jwt``, audience ``tidegate-api``, 12 h); what that person
may do is looked up at every call: still in the catalog, not locked, not logged out. A grant's token is never taken
here and this one never by the gate: kind and audience differ (RFC 8725 section 3.11, 3.12). Called by ``api``;
passwords are checked before it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from proxy.access.compact import Malformed, Parts, split
from proxy.core.errors import Denied, Unavailable
from proxy.core.events import LoggedIn, LoggedOut
from proxy.core.feed import Scope
from proxy.core.identity import Catalog, Identity, names
from proxy.core.ports import Clock, Ids, Reader, Store, TokenKeys, Writer

KIND = "login+jwt"
AUDIENCE = "tidegate-api"
LIFE = 12 * 3600.0
LEEWAY = 10.0
MAX_TOKEN = 2048
CLAIMS = ("iss", "aud", "sub", "jti", "iat", "nbf", "exp")


@dataclass(frozen=True, slots=True)
class Login:
    """A log-in just made. ``token`` is the bearer credential; ``expires`` in epoch seconds."""

    identity: Identity
    token: str
    expires: float

    def __repr__(self) -> str:
        return f"Login({self.identity.name}, ***)"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls the API, as checked for this one call."""

    identity: Identity
    jti: str
    expires: float


class Logins:
    """Makes, checks and ends log-ins. Every failure is ``Denied`` with code ``unauthenticated`` and one text."""

    def __init__(
        self,
        store: Store,
        catalog: Callable[[], Catalog],
        clock: Clock,
        ids: Ids,
        keys: TokenKeys,
        *,
        issuer: str,
        life: float = LIFE,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._ids = ids
        self._keys = keys
        self._issuer = issuer
        self._life = life

    async def open(self, name: str, source: str, proved: str = "") -> Login:
        """Log in ``name``, whose password was right, from the IP address ``source``. Told to the trail first. The
        log-in is of that person's id: it stays theirs under another name, and is nobody's who takes their name.

        ``proved`` is the id that the name had before the password was looked at (""; not asked): while it was, a
        reload may have given the name to somebody else, whose password it was not.
        """

        def unit(writer: Writer) -> Identity:
            identity = self._usable(writer, self._catalog().named(name), name)
            if proved not in ("", identity.id):
                raise _unauthenticated(f"{name!r} is somebody else's name by now")
            writer.append(LoggedIn(actor=identity.id, source=source, names=names(identity.who)))
            return identity

        identity = await self._store.commit(unit)
        now = self._clock.now()
        return Login(identity, self._sign(identity.id, now), now + self._life)

    async def verify(self, token: str) -> Caller:
        """Who presents ``token`` now."""
        claims = self._claims(token)
        jti, expires = claims["jti"], float(claims["exp"])

        def query(reader: Reader) -> Identity:
            if reader.token_revoked(jti):
                raise _unauthenticated("logged out")
            return self._usable(reader, self._catalog().identities.get(claims["sub"]), claims["sub"])

        return Caller(await self._store.read(query), jti, expires)

    async def close(self, caller: Caller, source: str) -> None:
        """Log out: this token is refused from now on, here and on every node."""
        person = caller.identity

        def unit(writer: Writer) -> None:
            writer.revoke_token(caller.jti, caller.expires, person.id, "logged out")
            writer.append(LoggedOut(actor=person.id, source=source, names=names(person.who)))

        await self._store.commit(unit)

    @staticmethod
    def _usable(reader: Reader, identity: Identity | None, word: str) -> Identity:
        """The person, if in the catalog and not locked: the same answer otherwise. ``word`` is what named them."""
        if identity is None or reader.lock(Scope.IDENTITY, identity.id) is not None:
            raise _unauthenticated(f"{word!r} is unknown or locked")
        return identity

    def _sign(self, subject: str, now: float) -> str:
        kid, key = self._keys.current()
        if not isinstance(key, Ed25519PrivateKey):
            raise Unavailable("log-ins cannot be signed now", detail="the current key is no Ed25519 key")
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": subject,
            "jti": self._ids.new("login"),
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now + self._life),
        }
        return jwt.encode(claims, key, algorithm="EdDSA", headers={"typ": KIND, "kid": kid})

    def _claims(self, token: str) -> Mapping[str, Any]:
        """The claims of a token whose kind, key, signature, audience and times are right."""
        try:
            key = self._key_of(split(token, MAX_TOKEN))
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                issuer=self._issuer,
                # the times are checked below by our own clock
                options={
                    "require": list(CLAIMS),
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (Malformed, jwt.PyJWTError, ValueError, RecursionError) as error:
            raise _unauthenticated(type(error).__name__) from None
        if not all(type(claims[name]) is str for name in ("sub", "jti")):
            raise _unauthenticated("a name that is no text")
        self._check_times(claims)
        return claims

    def _key_of(self, parts: Parts) -> Ed25519PublicKey:
        """The key that the header names. It says exactly what ours say: no ``crit``, ``b64`` or ``jku``."""
        header = parts.header
        if set(header) != {"alg", "typ", "kid"} or header["alg"] != "EdDSA" or header["typ"] != KIND:
            raise Malformed("header")
        key = self._keys.public().get(parts.kid())
        if not isinstance(key, Ed25519PublicKey):
            raise Malformed("kid")
        return key

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now()
        times = [claims[name] for name in ("iat", "nbf", "exp")]
        if any(type(each) is not int for each in times):
            raise _unauthenticated("a time that is not a whole number")
        issued, starts, expires = times
        if expires - issued > self._life + 1 or not max(issued, starts) - LEEWAY <= now < expires + LEEWAY:
            raise _unauthenticated("expired, not begun, or too long a life")


def _unauthenticated(detail: str) -> Denied:
    return Denied(
        "you are not logged in, or no longer",
        hint="log in again: tidegate login",
        code="unauthenticated",
        detail=detail,
    )
