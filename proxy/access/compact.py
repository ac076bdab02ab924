"""The outside of a JWT: three parts of base64url (RFC 7515, section 3.1), read strictly. Pure; for ``tokens``.

Stricter than libraries are: every text has one form only (no padding, no stray bits in a last character), no JSON
object names a member twice, and no number is longer than a number is.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any

_PART = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_COMPACT = re.compile(r"eyJ[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]*){0,2}", re.ASCII)
_KID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)

_SIGNATURE_CHARACTERS = 86
"""64 bytes of an Ed25519 signature in base64url without padding."""


class Malformed(Exception):
    """Not a token of ours. The message names a member, never a value."""


@dataclass(frozen=True, slots=True)
class Parts:
    """``signed`` is what ``signature`` is to be of."""

    header: dict[str, Any]
    payload: dict[str, Any]
    signed: bytes
    signature: bytes

    def kid(self) -> str:
        """The header's key id, if it has the form of one."""
        kid = self.header.get("kid")
        if not isinstance(kid, str) or not _KID.fullmatch(kid):
            raise Malformed("kid")
        return kid


def cut_short(text: str) -> bool:
    """Whether ``text`` looks like the beginning of a JWT: a client cut it at its own limit.

    Judged by nothing but shape, which whoever sent it can see as well, so it tells nothing of what would be valid.
    """
    if not _COMPACT.fullmatch(text):
        return False
    parts = text.split(".")
    if len(parts) > 1 and not _says_algorithm(parts[0]):
        return False
    return len(parts) < 3 or len(parts[2]) < _SIGNATURE_CHARACTERS


def _says_algorithm(header: str) -> bool:
    """Whether a whole header is one of a signature of that length; else nothing is cut, it is another's token."""
    try:
        return _members(decoded(header)).get("alg") == "EdDSA"
    except Malformed:
        return False


def split(text: str, most: int) -> Parts:
    """The header and payload of a compact JWT of at most ``most`` characters. ``Malformed`` for anything odd."""
    if len(text) > most:
        raise Malformed("size")
    parts = text.split(".")
    if len(parts) != 3:
        raise Malformed("parts")
    header, payload, signature = map(decoded, parts)
    if len(signature) != 64:
        raise Malformed("signature")
    return Parts(_members(header), _members(payload), text.rpartition(".")[0].encode("ascii"), signature)


def decoded(part: str) -> bytes:
    """The bytes of canonical base64url without padding."""
    if not _PART.fullmatch(part):
        raise Malformed("base64")
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise Malformed("base64") from None
    if encoded(data) != part:
        raise Malformed("base64")
    return data


def encoded(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _members(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise Malformed("json") from None
    if not isinstance(value, dict):
        raise Malformed("json")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A later member of the same name would win over the one that was looked at."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("twice")
    return members


def _no_constant(name: str) -> Any:
    raise Malformed(name)
