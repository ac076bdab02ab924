"""The client's half of SCRAM-SHA-256 and -PLUS towards a target (RFC 5802, RFC 7677). Pure but for the nonce.

Why not scramp's client alone: it runs PBKDF2 inside one call, so the 1.5 ms a log-in could neither be kept for the
next log-in (``Salted``) nor moved off the loop by itself. The preparation of passwords is scramp's. Used by
``upstream``.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from scramp.utils import saslprep

from proxy.core.errors import Unreachable

MAX_ITERATIONS = 100_000
"""A hostile target could otherwise make the gateway compute for seconds."""
MAX_MESSAGE = 4096
SALT_MOST = 1024


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the server's first message asks for: a salted password depends on ``salt``, ``iterations``."""

    nonce: str
    salt: bytes
    iterations: int
    text: str


def salted(password: str, challenge: Challenge) -> bytes:
    """Hi(password, salt, i): about 1.5 ms at 4096 iterations, to be run off the loop and kept."""
    try:
        prepared = saslprep(password)
    except Exception:  # PostgreSQL too falls back to the raw bytes where the text is not valid
        prepared = password
    return hashlib.pbkdf2_hmac("sha256", prepared.encode(), challenge.salt, challenge.iterations)


class Exchange:
    """One log-in. ``binding`` is the tls-server-end-point data for -PLUS (RFC 5929), None without; ``could_bind``:
    the line has TLS, so a server that offers no -PLUS is told that we could. One that did offer it then refuses: a
    machine in the middle has taken the offer out."""

    def __init__(self, nonce: str, *, binding: bytes | None, could_bind: bool) -> None:
        self._header = "p=tls-server-end-point,," if binding is not None else "y,," if could_bind else "n,,"
        self._binding = binding or b""
        self._nonce = nonce
        self._bare = f"n=,r={nonce}"
        self._signature = b""

    def first(self) -> bytes:
        """client-first-message; PostgreSQL takes the user's name from the startup packet."""
        return f"{self._header}{self._bare}".encode()

    def challenge(self, message: bytes) -> Challenge:
        """server-first-message, checked. ``Unreachable`` when the server does not follow the protocol."""
        try:
            text = message[: MAX_MESSAGE + 1].decode("ascii")
            if len(text) > MAX_MESSAGE:
                raise ValueError("too long")
            challenge = _challenge(text)
        except (ValueError, binascii.Error) as error:
            raise _broken(f"server-first-message: {error}") from None
        if not challenge.nonce.startswith(self._nonce) or len(challenge.nonce) == len(self._nonce):
            raise _broken("the server did not extend our nonce")
        if len(challenge.salt) > SALT_MOST:
            raise _broken("the salt is too long")
        if not 1 <= challenge.iterations <= MAX_ITERATIONS:
            raise _broken(f"{challenge.iterations} iterations")
        return challenge

    def final(self, challenge: Challenge, salted_password: bytes) -> bytes:
        """client-final-message with the proof."""
        bound = base64.b64encode(self._header.encode() + self._binding).decode()
        without_proof = f"c={bound},r={challenge.nonce}"
        message = f"{self._bare},{challenge.text},{without_proof}".encode()
        client_key = _hmac(salted_password, b"Client Key")
        signature = _hmac(hashlib.sha256(client_key).digest(), message)
        self._signature = _hmac(_hmac(salted_password, b"Server Key"), message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, message: bytes) -> None:
        """server-final-message: the server knows the password too, or ``Unreachable``."""
        expected = b"v=" + base64.b64encode(self._signature)
        if not hmac.compare_digest(message.split(b",", 1)[0], expected):
            raise _broken("the server's signature is wrong")


def _challenge(text: str) -> Challenge:
    """Nonce, salt and iterations, in this order and first: an ``m=`` before them must be understood or refused,
    what comes after them may be ignored (RFC 5802, section 5.1)."""
    parts = text.split(",")
    if [part[:2] for part in parts[:3]] != ["r=", "s=", "i="]:
        raise ValueError("not a nonce, a salt and a number of iterations")
    nonce, salt, iterations = (part[2:] for part in parts[:3])
    if not iterations.isdecimal():
        raise ValueError("the iterations are not a number")
    return Challenge(nonce, base64.b64decode(salt, validate=True), int(iterations), text)


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _broken(detail: str) -> Unreachable:
    return Unreachable("the target did not prove that it knows its password", detail=f"SCRAM: {detail}")
