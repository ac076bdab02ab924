"""SSH keys in the key folder: the gateway's host key, and three authorities apart from each other.

``ssh_users_ca`` signs users' certificates, which the gateway alone believes; ``ssh_targets_ca`` the gateway's own,
one for each session, which targets believe; ``ssh_hosts_ca`` the host key's. Were two of them one key, a user's
certificate would open a target past the gateway, so that is refused. All are Ed25519 in OpenSSH's format: stock
``ssh-keygen`` reads them.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from proxy.access import ssh_wire as wire
from proxy.access.certificates import IDENTITY, SOURCES
from proxy.adapters.keys import KeyFolder, unsafe
from proxy.core.ports import Clock

ALIAS = "tidegate"
FILES = ("ssh_users_ca", "ssh_targets_ca", "ssh_hosts_ca", "ssh_host_key")
HOST_LIFE = 30 * 86_400
HOST_BACKDATED = 3600
TARGET_BACKDATED = 300
"""Seconds: a target's clock may be behind ours, and its sshd forgives nothing."""
NONCE_BYTES = 32


def ssh_keys(folder: KeyFolder, clock: Clock) -> "Ed25519SshKeys":
    """The keys of ``folder``, made at first use. ``Unavailable`` (``keys_unsafe``) when they cannot be used."""
    keys = [read(folder.path / name, folder.once(name, fresh)) for name in FILES]
    if len({public(key) for key in keys}) < len(keys):
        raise unsafe(folder.path, f"holds one key under two names of {', '.join(FILES)}")
    return Ed25519SshKeys(keys[0], keys[1], keys[2], keys[3], clock)


class Ed25519SshKeys:
    """``core.ports.SshKeys`` over four keys in memory."""

    def __init__(
        self,
        users: Ed25519PrivateKey,
        targets: Ed25519PrivateKey,
        hosts: Ed25519PrivateKey,
        host: Ed25519PrivateKey,
        clock: Clock,
    ) -> None:
        self._users = users
        self._targets = targets
        self._hosts = hosts
        self._host = host
        self._clock = clock

    def host_key(self) -> bytes:
        return pem(self._host)

    def alias(self) -> str:
        return ALIAS

    def host_certificate(self, names: Sequence[str]) -> bytes:
        now = int(self._clock.now())
        principals = tuple(dict.fromkeys((ALIAS, *(name.lower() for name in names if name))))
        key = wire.read_key(public(self._host))
        after, before = now - HOST_BACKDATED, now + HOST_LIFE
        says = wire.Statement(key, serial(), wire.HOST, ALIAS, principals, after, before)
        return signed(says, self._hosts)

    def user_authorities(self) -> tuple[bytes, ...]:
        return (public(self._users),)

    def issue_user(
        self,
        public_key: bytes,
        principal: str,
        key_id: str,
        identity: str,
        networks: Sequence[str],
        valid_after: int,
        valid_before: int,
    ) -> bytes:
        says = wire.Statement(
            key=wire.read_key(public_key),
            serial=serial(),
            kind=wire.USER,
            key_id=key_id,
            principals=named(principal),
            valid_after=valid_after,
            valid_before=valid_before,
            critical={SOURCES: wire.string(",".join(networks).encode())} if networks else {},
            extensions={IDENTITY: wire.string(identity.encode())},
        )
        return signed(says, self._users)

    def issue_for_target(
        self, principal: str, key_id: str, life: float = 300.0, *, forwarding: bool = False
    ) -> tuple[bytes, bytes]:
        now = int(self._clock.now())
        key = Ed25519PrivateKey.generate()
        permits = ("permit-pty", "permit-port-forwarding") if forwarding else ("permit-pty",)
        says = wire.Statement(
            key=wire.read_key(public(key)),
            serial=serial(),
            kind=wire.USER,
            key_id=key_id,
            principals=named(principal),
            valid_after=now - TARGET_BACKDATED,
            valid_before=now + int(life),
            extensions=dict.fromkeys(permits, b""),
        )
        return pem(key), signed(says, self._targets)

    def targets_authority(self) -> bytes:
        return wire.as_line(public(self._targets), "tidegate-targets").encode()

    def hosts_authority(self) -> bytes:
        return wire.as_line(public(self._hosts), "tidegate-hosts").encode()


def named(principal: str) -> tuple[str]:
    """The one principal. A certificate with none is good for anybody, so there is no such thing here."""
    if not principal:
        raise ValueError("a certificate is for somebody")
    return (principal,)


def signed(says: wire.Statement, authority: Ed25519PrivateKey) -> bytes:
    """The certificate's line."""
    body = says.to_sign(secrets.token_bytes(NONCE_BYTES), public(authority))
    signature = wire.string(wire.ED25519.encode()) + wire.string(authority.sign(body))
    return wire.as_line(body + wire.string(signature)).encode()


def serial() -> int:
    """64 random bits; not 0, which stands for none."""
    return secrets.randbits(64) or 1


def public(key: Ed25519PrivateKey) -> bytes:
    """The blob of the public half."""
    return wire.PublicKey(wire.ED25519, (key.public_key().public_bytes_raw(),)).blob


def fresh() -> bytes:
    return pem(Ed25519PrivateKey.generate())


def pem(key: Ed25519PrivateKey) -> bytes:
    """OpenSSH's private format, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def read(path: Path, data: bytes) -> Ed25519PrivateKey:
    try:
        key = load_ssh_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise unsafe(path, "does not hold an OpenSSH key without a passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise unsafe(path, "does not hold an Ed25519 key")
    return key
