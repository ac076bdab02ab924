"""SSH public keys as OpenSSH writes them: ``ssh-ed25519 AAAA… comment``. Pure; called by ``ssh``."""

import base64
import binascii
import re
from collections.abc import Mapping

_FIELDS: Mapping[str, int] = {
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
}
"""Algorithm -> fields behind its name (RFC 4253 section 6.6, RFC 5656 section 3.1, RFC 8709 section 4)."""

_SIZES: Mapping[str, int] = {
    "ssh-ed25519": 32,
    "ecdsa-sha2-nistp256": 65,
    "ecdsa-sha2-nistp384": 97,
    "ecdsa-sha2-nistp521": 133,
}
"""Algorithm -> bytes of its last field, the key or point itself (not compressed, as SSH writes it)."""

_LEAST_RSA_BITS = 2048
_LONGEST = 16 * 1024


def public_key(value: str) -> str:
    """``algorithm base64``: the comment behind is dropped. ValueError with advice for anything else."""
    words = value.split()
    if len(value) > _LONGEST or len(words) < 2 or not value.isprintable():
        raise ValueError('should be a public key in one line, such as "ssh-ed25519 AAAAC3Nza…"')
    algorithm, text = words[0], words[1]
    _check_algorithm(algorithm, text)
    fields = _fields(text)
    if fields[:1] != [algorithm.encode()]:
        raise ValueError(f'says "{algorithm}", but the key in it is another kind')
    _check_key(algorithm, fields[1:])
    return f"{algorithm} {text}"


def _check_algorithm(algorithm: str, following: str) -> None:
    if "-cert-v0" in algorithm:
        raise ValueError("is a certificate: the public key of its authority belongs into `host_authorities`")
    if algorithm == "ssh-dss":
        raise ValueError("is a DSA key (ssh-dss), which is broken: use another of the host's keys")
    if algorithm in _FIELDS:
        return
    if algorithm.startswith("@") or following.startswith(("ssh-", "ecdsa-", "sk-")):
        raise ValueError("should begin with the algorithm: leave out what `known_hosts` has before it")
    raise ValueError(f"should begin with one of {', '.join(_FIELDS)}")


def _fields(text: str) -> list[bytes]:
    """The strings of the key's wire form, each behind its length in 4 bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("has a key that is not base64: it was cut short, or has a typing error") from None
    fields = []
    while data:
        length = int.from_bytes(data[:4])
        if len(data) < 4 + length:
            raise ValueError("has a key that was cut short")
        fields.append(data[4 : 4 + length])
        data = data[4 + length :]
    return fields


def _check_key(algorithm: str, fields: list[bytes]) -> None:
    whole = len(fields) == _FIELDS[algorithm] and all(fields)
    if whole and algorithm == "ssh-rsa":
        bits = int.from_bytes(fields[1]).bit_length()
        if bits < _LEAST_RSA_BITS:
            raise ValueError(f"is an RSA key of {bits} bits: fewer than {_LEAST_RSA_BITS} are not safe")
    elif whole:
        curve = re.sub("^ecdsa-sha2-", "", algorithm).encode()
        whole = len(fields[-1]) == _SIZES[algorithm] and (len(fields) == 1 or fields[0] == curve)
    if not whole:
        raise ValueError(f"has a key that is no {algorithm} key: it was cut short, or is damaged")
