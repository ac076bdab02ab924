"""Signed heads: at some instant the trail had so many rows and ended in this digest. Pure over a signing function.

The chain alone does not show that its end was cut off, or that all of it was written anew: a head does, to whoever
has the public key, which the store does not hold the other half of. Made by the composition root, checked by
``verification``.
"""

import base64
import binascii
from collections.abc import Callable, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from proxy.core.trail import TrailHead

Sign = Callable[[bytes], tuple[str, str]]
"""text -> (kid, Ed25519 signature in base64url without padding)"""


def signed_text(seq: int, digest: str, at: float, origin: int = 1) -> bytes:
    """Return what is signed (RFC 8032, pure Ed25519): four lines, ``at`` in epoch seconds as Python's shortest
    ``repr``; from the second origin on five, with its number."""
    end = f"{seq}\n{digest}\n{float(at)!r}\n"
    text = f"tidegate-trail-head-v1\n{end}" if origin == 1 else f"tidegate-trail-head-v2\n{origin}\n{end}"
    return text.encode()


def make(seq: int, digest: str, at: float, sign: Sign, origin: int = 1) -> TrailHead:
    """Return the signed head of a trail of ``seq`` rows that ends in ``digest``, at ``at``."""
    kid, signature = sign(signed_text(seq, digest, at, origin))
    return TrailHead(seq, digest, float(at), kid, signature, origin)


def problem(head: TrailHead, public_keys: Mapping[str, object]) -> str:
    """Why a head proves nothing, in words; "" when its signature is good. ``public_keys``: kid -> Ed25519 key."""
    if not isinstance(public_keys.get(head.kid), Ed25519PublicKey):
        return f"the head of row {head.seq} is signed by an unknown key, {head.kid}"
    text = signed_text(head.seq, head.digest, head.at, head.origin)
    if not good_signature(head.kid, head.signature, text, public_keys):
        return f"the signature of the head of row {head.seq} is not good: the head was altered"
    return ""


def good_signature(kid: str, signature: str, text: bytes, public_keys: Mapping[str, object]) -> bool:
    """Whether ``signature`` (base64url without padding) is that of ``text`` by the key called ``kid``."""
    key = public_keys.get(kid)
    if not isinstance(key, Ed25519PublicKey):
        return False
    try:
        key.verify(decoded(signature), text)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def encoded_key(key: object) -> str:
    """The raw public key in base64url without padding; "" for what is no Ed25519 key."""
    if not isinstance(key, Ed25519PublicKey):
        return ""
    return base64.urlsafe_b64encode(key.public_bytes_raw()).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """The bytes of base64url without padding. ``binascii.Error`` or ``ValueError`` for anything else."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
