"""User certificates: an SSH key that carries one grant for minutes. Issued and verified here; stored nowhere.

To SSH what ``tokens`` is to the rest: the key id names the grant, the extension ``identity@tidegate`` its holder,
the one principal its account, the serial the certificate itself (``jti`` ``ssh-<serial>``). Everything before the
signature verifies gets one answer, ``BAD_TOKEN``. That whoever shows a certificate has its private key is the
protocol's to prove; whether the grant still stands is the gate's to find out.
"""

from collections.abc import Callable, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from proxy.access import ssh_wire as wire
from proxy.access.refusals import refused
from proxy.access.texts import shown
from proxy.access.tokens import LEEWAY_MOST
from proxy.core.access import Claims, Grant, Refusal, Wish
from proxy.core.errors import PeerError, Unavailable
from proxy.core.ports import Clock, SshKeys
from proxy.policy.networks import inside

IDENTITY = "identity@tidegate"
SOURCES = "source-address"
LIFE_LEAST, LIFE, LIFE_MOST = 300.0, 600.0, 900.0
BACKDATED = 60
"""Seconds before its making from which a certificate is valid: clocks differ, and not all software forgives it."""

_RSA_BITS = range(2048, 16385)
_TEXT_LONGEST = 256
_CURVES: Mapping[str, type[ec.EllipticCurve]] = {
    "nistp256": ec.SECP256R1,
    "nistp384": ec.SECP384R1,
    "nistp521": ec.SECP521R1,
}
_KEY_HINT = "for example the line of ~/.ssh/id_ed25519.pub"


def kept_life(seconds: float) -> float:
    """``seconds``, but no certificate is made for less than 5 minutes or more than 15."""
    return min(max(seconds, LIFE_LEAST), LIFE_MOST)


class Certificates:
    """Issues and verifies. ``life`` gives the seconds a certificate may be shown, as configured now; ``leeway`` is
    the clock difference in seconds that is forgiven, at most 10."""

    def __init__(
        self, keys: SshKeys, clock: Clock, life: Callable[[], float] = lambda: LIFE, leeway: float = 5.0
    ) -> None:
        if not 0 <= leeway <= LEEWAY_MOST:
            raise ValueError(f"leeway is between 0 and {LEEWAY_MOST:g} s")
        self._keys = keys
        self._clock = clock
        self._life = life
        self._leeway = leeway

    def issue(self, grant: Grant, subject: str, key: bytes) -> tuple[str, Claims]:
        """The line of a certificate of ``key`` (a blob of ``user_key``) for ``grant``, ending no later than it.
        ``Denied`` when that is now; ``PeerError`` for an account that no certificate can name."""
        now = int(self._clock.now())
        expires = int(min(now + kept_life(self._life()), grant.ends))
        if expires <= now:
            raise refused(Refusal.GRANT_EXPIRED)
        if not is_principal(grant.account):
            what = f"no certificate can be made for account {shown(grant.account)}"
            raise PeerError(what, code="conflict", hint="connect with a token")
        line = self._keys.issue_user(
            key, grant.account, grant.id, subject, grant.networks, now - BACKDATED, expires
        ).decode()
        try:
            return line, claims_of(wire.read_certificate(wire.read_line(line)).says)
        except wire.Malformed as error:
            # what nobody could use must not be given out: a name that is too long, or not printable
            raise Unavailable(
                "the certificate cannot be made", detail=f"its {error} is not as it must be"
            ) from None

    def verify(self, blob: bytes, wish: Wish) -> Claims:
        """What a certificate says, once it is certain that we said it and that it may be used now, from here, for
        this. ``Denied`` with ``BAD_TOKEN``, and only after the signature ``WRONG_NETWORK``, ``TOKEN_EXPIRED`` or
        ``WRONG_ACCOUNT``."""
        try:
            says = self._signed(blob)
            claims = claims_of(says)
            from_here = self._from_here(says, wish)
        except (wire.Malformed, InvalidSignature, ValueError) as error:
            raise refused(Refusal.BAD_TOKEN, detail=f"{type(error).__name__} {error}".strip()) from None
        # Where it is used from comes first, so that a thief elsewhere learns nothing more of it.
        if not from_here:
            raise refused(Refusal.WRONG_NETWORK, source=shown(wish.source))
        if claims.expires + self._leeway <= self._clock.now():
            raise refused(Refusal.TOKEN_EXPIRED)
        (account,) = says.principals
        if account != wish.account:
            raise refused(Refusal.WRONG_ACCOUNT, account=account)
        return claims

    def _signed(self, blob: bytes) -> wire.Statement:
        """What the certificate says, if one of our authorities for users signed it. An authority is a plain Ed25519
        key: one that is itself a certificate vouches for nothing (CVE-2025-49825)."""
        certificate = wire.read_certificate(blob)
        if certificate.authority not in self._keys.user_authorities():
            raise wire.Malformed("authority")
        authority = wire.read_key(certificate.authority)
        if authority.type != wire.ED25519 or certificate.algorithm != wire.ED25519:
            raise wire.Malformed("algorithm")
        Ed25519PublicKey.from_public_bytes(authority.parts[0]).verify(certificate.signature, certificate.signed)
        says = certificate.says
        self._check_times(says)
        if says.kind != wire.USER or not set(says.critical) <= {SOURCES}:
            raise wire.Malformed("kind" if says.kind != wire.USER else "critical options")
        return says

    def _check_times(self, says: wire.Statement) -> None:
        after, before = says.valid_after, says.valid_before
        if after > self._clock.now() + self._leeway or not 0 < before - after <= LIFE_MOST + BACKDATED:
            raise wire.Malformed("times")

    def _from_here(self, says: wire.Statement, wish: Wish) -> bool:
        if SOURCES not in says.critical:
            return True
        networks = tuple(wire.inner_text(says.critical[SOURCES], SOURCES).split(","))
        return inside(wish.source, networks)

    @staticmethod
    def fits(claims: Claims, grant: Grant) -> bool:
        """Whether this certificate may live as long as it says, under this grant."""
        return claims.expires <= grant.ends


def claims_of(says: wire.Statement) -> Claims:
    """The claims in a certificate. ``Malformed`` where it is not for one account, or names no grant or holder."""
    if len(says.principals) != 1 or not is_principal(says.principals[0]):
        raise wire.Malformed("principals")
    subject = wire.inner_text(says.extensions.get(IDENTITY, b""), IDENTITY)
    for part, text in (("key id", says.key_id), (IDENTITY, subject)):
        if not 0 < len(text) <= _TEXT_LONGEST:
            raise wire.Malformed(part)
    return Claims(
        jti=f"ssh-{says.serial:016x}",
        subject=subject,
        grant=says.key_id,
        issued=float(says.valid_after),
        expires=float(says.valid_before),
    )


def is_principal(account: str) -> bool:
    """Whether an account may be the principal of a certificate: software matches lists and patterns in it."""
    return (
        bool(account) and account.isprintable() and len(account) <= _TEXT_LONGEST and not set(account) & set(",*?!")
    )


def user_key(line: str) -> bytes:
    """The blob of the public key in ``line``, which may be certified. ``PeerError`` with the reason why not."""
    try:
        blob = wire.read_line(line)
        if wire.Reader(blob).text("type").endswith(wire.certificate_type("")):
            raise PeerError("that is a certificate, not a public key", hint=_KEY_HINT)
        key = wire.read_key(blob)
        weak = weakness(key)
    except (wire.Malformed, ValueError):
        taken = "ed25519, ecdsa, rsa of 2048 bits or more, or one of a security key"
        raise PeerError(f"that is no public key that is taken: {taken}", hint=_KEY_HINT) from None
    if weak:
        raise PeerError(weak, hint="make another: ssh-keygen -t ed25519")
    return blob


def weakness(key: wire.PublicKey) -> str:
    """Why a key is too weak; "" when it is not. ``ValueError`` where it is no key of its type."""
    if key.type == "ssh-rsa":
        exponent, modulus = (int.from_bytes(part, "big", signed=True) for part in key.parts)
        if not 3 <= exponent < 1 << 64 or modulus < 0 or not exponent & modulus & 1:
            raise ValueError("not a key of RSA")
        if modulus.bit_length() not in _RSA_BITS:
            return f"an RSA key has {_RSA_BITS.start} to {_RSA_BITS.stop - 1} bits"
    elif "ecdsa" in key.type:
        check_point(key.type.partition("@")[0].rpartition("-")[2], *key.parts[:2])
    elif len(key.parts[0]) != 32:
        raise ValueError("not 32 bytes")
    if key.type.startswith("sk-") and not key.parts[-1].startswith(b"ssh:"):
        raise ValueError("not a security key for SSH")
    return ""


def check_point(curve: str, named: bytes, point: bytes) -> None:
    """``ValueError`` for a point that is not on the curve, or of another one than its type says."""
    if named != curve.encode():
        raise ValueError("another curve")
    ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[curve](), point)
