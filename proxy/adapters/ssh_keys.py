"""SSH keys in the key folder: the gateway's host key, and three authorities apart from each other.

``ssh-users-….pem`` sign users' certificates, which the gateway alone believes: they are rotated as tokens' keys
are, with ``ssh_users.json``. ``ssh_targets_ca`` signs the gateway's own, one for each session, which targets
believe: the next one lies beside it as ``ssh_targets_ca.next`` until somebody says that the targets believe that
too. ``ssh_hosts_ca`` signs the host key's. Were two of them one key, a user's certificate would open a target past
the gateway, so that is refused. All are Ed25519 in OpenSSH's format: stock ``ssh-keygen`` reads them.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from proxy.access import ssh_wire as wire
from proxy.access.certificates import IDENTITY, LIFE_MOST, SOURCES
from proxy.access.tokens import LEEWAY_MOST
from proxy.adapters.keys import FileTokenKeys, KeyFolder, unsafe
from proxy.core.errors import PeerError
from proxy.core.ports import Clock

ALIAS = "tidegate"
TARGETS, TARGETS_NEXT, HOSTS, HOST = "ssh_targets_ca", "ssh_targets_ca.next", "ssh_hosts_ca", "ssh_host_key"
HOST_LIFE = 30 * 86_400
HOST_BACKDATED = 3600
TARGET_BACKDATED = 300
"""Seconds: a target's clock may be behind ours, and its sshd forgives nothing."""
NONCE_BYTES = 32


def ssh_keys(folder: KeyFolder, clock: Clock) -> "Ed25519SshKeys":
    """The keys of ``folder``, made at first use. ``Unavailable`` (``keys_unsafe``) when they cannot be used."""
    users = UserAuthorities(folder, clock, lambda: LIFE_MOST + LEEWAY_MOST)
    targets = TargetsAuthority(folder)
    hosts, host = (read(folder.path / name, folder.once(name, fresh)) for name in (HOSTS, HOST))
    keys = Ed25519SshKeys(users, targets, hosts, host, clock)
    every = [*keys.user_authorities(), *map(public, targets.keys), public(hosts), public(host)]
    if len(set(every)) < len(every):
        raise unsafe(folder.path, f"holds one key under two names of ssh_users.json, {TARGETS}, {HOSTS}, {HOST}")
    return keys


class UserAuthorities(FileTokenKeys):
    """What signs users' certificates now, and all that may have signed one that still lives."""

    INDEX = "ssh_users.json"
    PREFIX = "ssh-users-"

    def _pem(self, key: Ed25519PrivateKey) -> bytes:
        return pem(key)

    def _private_key(self, path: Path, data: bytes) -> Ed25519PrivateKey:
        return read(path, data)

    def signing(self) -> Ed25519PrivateKey:
        """``Unavailable`` when there is none."""
        _, key = self.current()
        assert isinstance(key, Ed25519PrivateKey)  # noqa: S101
        return key


class TargetsAuthority:
    """What signs the gateway's own certificates. The next one signs nothing until it is told to: first the targets
    must believe it, and that is their admins' doing. ``keys``: the one that signs, and the next where there is one.
    What changes the folder gives back how to undo it; others go by it once they ``reload``."""

    def __init__(self, folder: KeyFolder) -> None:
        self._folder = folder
        self.keys: tuple[Ed25519PrivateKey, ...] = ()
        folder.once(TARGETS, fresh)
        self.reload()

    def reload(self) -> None:
        """Read the folder again. On any error the keys known before stay."""
        found = [(name, self._folder.read(name)) for name in (TARGETS, TARGETS_NEXT)]
        keys = [read(self._folder.path / name, data) for name, data in found if data is not None]
        if found[0][1] is None:
            raise unsafe(self._folder.path / TARGETS, "is gone")
        # Whoever switched and died may have left it under both names.
        self.keys = tuple(keys[:1] if len({public(key) for key in keys}) == 1 else keys)

    def prepare(self) -> Callable[[], None]:
        """Have a next one; that which is there already stays."""
        if len(self.keys) == 1:
            self._put({TARGETS_NEXT: fresh()})
            return lambda: self._put({TARGETS_NEXT: None})
        return lambda: None

    def switch(self) -> Callable[[], None]:
        """Sign with the next one. ``PeerError`` (code ``conflict``) where there is none."""
        self.reload()
        if len(self.keys) == 1:
            raise PeerError(
                "there is no next authority for targets", hint="make one, and have the targets believe it",
                code="conflict",
            )  # fmt: skip
        old, new = map(pem, self.keys)
        self._put({TARGETS: new, TARGETS_NEXT: None})
        return lambda: self._put({TARGETS_NEXT: new, TARGETS: old})

    def _put(self, files: Mapping[str, bytes | None]) -> None:
        with self._folder.locked():
            for name, data in files.items():
                if data is None:
                    (self._folder.path / name).unlink(missing_ok=True)
                else:
                    self._folder.write(name, data)
        self.reload()


class Ed25519SshKeys:
    """``core.ports.SshKeys`` over a key folder. ``users`` and ``targets`` are there to be rotated."""

    def __init__(
        self,
        users: UserAuthorities,
        targets: TargetsAuthority,
        hosts: Ed25519PrivateKey,
        host: Ed25519PrivateKey,
        clock: Clock,
    ) -> None:
        self.users = users
        self.targets = targets
        self._hosts = hosts
        self._host = host
        self._clock = clock

    def reload(self) -> None:
        """Read again what others rotated. On any error the keys known before stay."""
        self.users.reload()
        self.targets.reload()

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
        return tuple(blob(key) for key in self.users.public().values() if isinstance(key, Ed25519PublicKey))

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
        return signed(says, self.users.signing())

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
        return pem(key), signed(says, self.targets.keys[0])

    def targets_authority(self) -> bytes:
        return wire.as_line(public(self.targets.keys[0]), "tidegate-targets").encode()

    def next_targets_authority(self) -> bytes:
        following = self.targets.keys[1:]
        return wire.as_line(public(following[0]), "tidegate-targets-next").encode() if following else b""

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
    return blob(key.public_key())


def blob(key: Ed25519PublicKey) -> bytes:
    return wire.PublicKey(wire.ED25519, (key.public_bytes_raw(),)).blob


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
