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


def signed_text(seq: int, digest: str, at: float) -> bytes:
    """What is signed (RFC 8032, pure Ed25519): four lines; ``at`` in epoch seconds as Python's shortest
    ``repr``."""
    return f"tidegate-trail-head-v1\n{seq}\n{digest}\n{float(at)!r}\n".encode()


def make(seq: int, digest: str, at: float, sign: Sign) -> TrailHead:
    """The signed head of a trail of ``seq`` rows that ends in ``digest``, at ``at``."""
    kid, signature = sign(signed_text(seq, digest, at))
    return TrailHead(seq, digest, float(at), kid, signature)


def problem(head: TrailHead, public_keys: Mapping[str, object]) -> str:
    """Why a head proves nothing, in words; "" when its signature is good. ``public_keys``: kid -> Ed25519 key."""
    key = public_keys.get(head.kid)
    if not isinstance(key, Ed25519PublicKey):
        return f"the head of row {head.seq} is signed by an unknown key, {head.kid}"
    try:
        key.verify(decoded(head.signature), signed_text(head.seq, head.digest, head.at))
    except (InvalidSignature, binascii.Error, ValueError):
        return f"the signature of the head of row {head.seq} is not good: the head was altered"
    return ""


def decoded(text: str) -> bytes:
    """The bytes of base64url without padding. ``binascii.Error`` or ``ValueError`` for anything else."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
