"""SSH's public keys and certificates as bytes (RFC 4253, section 6.6; OpenSSH's PROTOCOL.certkeys), read strictly.

Standard library only: ``certificates`` judges what is read here, ``adapters.ssh_keys`` signs what is written here,
and ``tidegate ssh-certificate`` looks at the certificate it has. Every blob has one form only: nothing is left
over, no option is there twice or out of order. Whether a signature is good is not asked here.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

USER, HOST = 1, 2
ED25519 = "ssh-ed25519"
BLOB_MOST = 8192
"""Bytes of a key or certificate that is looked at: one of a 16384 bit RSA key fits."""
LINE_MOST = 2 * BLOB_MOST

_ENDING = "-cert-v01@openssh.com"
_FIELDS: Mapping[str, int] = {
    ED25519: 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}
"""How many strings a public key has after its type: point and curve, modulus and exponent, a token's application.
DSA is not here."""
_CERTIFIED: Mapping[str, str] = {name.removesuffix("@openssh.com") + _ENDING: name for name in _FIELDS}


class Malformed(Exception):
    """Not a key or certificate of a form that is taken. The message names the part, never what is in it."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: its type's name, and the strings that follow it."""

    type: str
    parts: tuple[bytes, ...]

    @property
    def blob(self) -> bytes:
        return string(self.type.encode()) + self.strings

    @property
    def strings(self) -> bytes:
        return b"".join(map(string, self.parts))


@dataclass(frozen=True, slots=True)
class Statement:
    """What a certificate says. ``kind`` is ``USER`` or ``HOST``; times are whole epoch seconds; the values of
    ``critical`` and ``extensions`` are raw (most are a string within)."""

    key: PublicKey
    serial: int
    kind: int
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical: Mapping[str, bytes] = field(default_factory=dict)
    extensions: Mapping[str, bytes] = field(default_factory=dict)

    def to_sign(self, nonce: bytes, authority: bytes) -> bytes:
        """The bytes that ``authority`` (a public key's blob) signs."""
        return b"".join(
            (
                string(certificate_type(self.key.type).encode()),
                string(nonce),
                self.key.strings,
                struct.pack(">QI", self.serial, self.kind),
                string(self.key_id.encode()),
                string(b"".join(string(each.encode()) for each in self.principals)),
                struct.pack(">QQ", self.valid_after, self.valid_before),
                string(_packed(self.critical)),
                string(_packed(self.extensions)),
                string(b""),
                string(authority),
            )
        )


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as it came: what it says, who is said to have signed it, over which bytes, and how."""

    says: Statement
    authority: bytes
    signed: bytes
    algorithm: str
    signature: bytes


def certificate_type(key_type: str) -> str:
    """The type's name of certificates of such keys."""
    return key_type.removesuffix("@openssh.com") + _ENDING


def read_key(blob: bytes) -> PublicKey:
    """The public key in ``blob``. ``Malformed`` for a certificate, a type that is not taken, or anything odd."""
    reader = Reader(blob)
    name = reader.text("type")
    if name not in _FIELDS:
        raise Malformed("type")
    key = PublicKey(name, tuple(reader.string("key") for _ in range(_FIELDS[name])))
    reader.end("key")
    return key


def read_certificate(blob: bytes) -> Certificate:
    """The certificate in ``blob``; nothing in it is believed yet."""
    reader = Reader(blob)
    name = _CERTIFIED.get(reader.text("type"))
    if name is None:
        raise Malformed("type")
    reader.string("nonce")
    key = PublicKey(name, tuple(reader.string("key") for _ in range(_FIELDS[name])))
    serial, kind = reader.number(8, "serial"), reader.number(4, "kind")
    key_id = reader.text("key id")
    principals = _principals(reader.string("principals"))
    after, before = reader.number(8, "valid after"), reader.number(8, "valid before")
    critical, extensions = (_options(reader.string(part), part) for part in ("critical options", "extensions"))
    reader.string("reserved")
    authority = reader.string("authority")
    signed = reader.behind()
    algorithm, signature = _signature(reader.string("signature"))
    reader.end("signature")
    says = Statement(key, serial, kind, key_id, principals, after, before, critical, extensions)
    return Certificate(says, authority, signed, algorithm, signature)


def read_line(line: str) -> bytes:
    """The blob of a line ``type base64 [comment]``, as in ``id_ed25519.pub``. ``Malformed`` when the type outside
    is not the one inside."""
    words = line.split(maxsplit=2)
    if len(line) > LINE_MOST or len(words) < 2:
        raise Malformed("line")
    try:
        blob = base64.b64decode(words[1].encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Malformed("base64") from None
    if Reader(blob).text("type") != words[0]:
        raise Malformed("type")
    return blob


def as_line(blob: bytes, comment: str = "") -> str:
    """``type base64 comment``"""
    words = (Reader(blob).text("type"), base64.b64encode(blob).decode("ascii"), comment)
    return " ".join(word for word in words if word)


def fingerprint(blob: bytes) -> str:
    """As ``ssh-keygen -l`` shows it."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii")
    return f"SHA256:{digest.rstrip('=')}"


def string(data: bytes) -> bytes:
    """RFC 4251, section 5."""
    return struct.pack(">I", len(data)) + data


def inner_text(value: bytes, part: str) -> str:
    """The text in an option's value, which is a string within a string."""
    reader = Reader(value)
    text = reader.text(part)
    reader.end(part)
    return text


class Reader:
    """Takes an SSH message apart, from its beginning."""

    def __init__(self, data: bytes) -> None:
        if len(data) > BLOB_MOST:
            raise Malformed("size")
        self._data = data
        self._at = 0

    def string(self, part: str) -> bytes:
        return self._take(self.number(4, part), part)

    def text(self, part: str) -> str:
        """A string of UTF-8 without control characters."""
        try:
            text = self.string(part).decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed(part) from None
        if not text.isprintable():
            raise Malformed(part)
        return text

    def number(self, size: int, part: str) -> int:
        return int.from_bytes(self._take(size, part), "big")

    def behind(self) -> bytes:
        """All that was taken so far."""
        return self._data[: self._at]

    def more(self) -> bool:
        return self._at < len(self._data)

    def end(self, part: str) -> None:
        if self.more():
            raise Malformed(part)

    def _take(self, size: int, part: str) -> bytes:
        data = self._data[self._at : self._at + size]
        if len(data) != size:
            raise Malformed(part)
        self._at += size
        return data


def _principals(data: bytes) -> tuple[str, ...]:
    reader, found = Reader(data), []
    while reader.more():
        found.append(reader.text("principals"))
    return tuple(found)


def _options(data: bytes, part: str) -> dict[str, bytes]:
    """In the order of their names, each once, as the format demands."""
    reader, found = Reader(data), dict[str, bytes]()
    while reader.more():
        name = reader.text(part)
        if found and name <= next(reversed(found)):
            raise Malformed(part)
        found[name] = reader.string(part)
    return found


def _signature(data: bytes) -> tuple[str, bytes]:
    reader = Reader(data)
    found = reader.text("signature"), reader.string("signature")
    reader.end("signature")
    return found


def _packed(options: Mapping[str, bytes]) -> bytes:
    ordered: Sequence[tuple[str, bytes]] = sorted(options.items(), key=lambda each: each[0].encode())
    return b"".join(string(name.encode()) + string(value) for name, value in ordered)
