"""``core.ports.SshKeys`` in memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import asyncssh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from proxy.adapters.ssh_keys import TARGETS, TARGETS_NEXT, TargetsAuthority, UserAuthorities, pem, read


class MemoryKeys:
    """Every key is made here and lives as long."""

    def __init__(self) -> None:
        self._host = asyncssh.generate_private_key("ssh-ed25519")
        self._authority = asyncssh.generate_private_key("ssh-ed25519")

    def host_key(self) -> bytes:
        return self._host.export_private_key()

    def host_certificate(self, names: Sequence[str]) -> bytes:
        public = self._host.convert_to_public()
        return self._authority.generate_host_certificate(
            public, "gateway", principals=list(names)
        ).export_certificate()

    def user_authorities(self) -> tuple[bytes, ...]:
        return (self._authority.public_data,)

    def issue_for_target(
        self, principal: str, key_id: str, life: float, forwarding: bool = False
    ) -> tuple[bytes, bytes]:
        key = asyncssh.generate_private_key("ssh-ed25519")
        made = self._authority.generate_user_certificate(key.convert_to_public(), key_id, principals=[principal])
        return key.export_private_key(), made.export_certificate()


class OneUserAuthority(UserAuthorities):
    """A given key that is never rotated."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def signing(self) -> Ed25519PrivateKey:
        return self._key

    def public(self) -> Mapping[str, Ed25519PublicKey]:
        return {"ssh-users-1": self._key.public_key()}


class MemoryTargets(TargetsAuthority):
    """With no folder beneath."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._files = {TARGETS: pem(key)}
        self.reload()

    def reload(self) -> None:
        names = [name for name in (TARGETS, TARGETS_NEXT) if name in self._files]
        self.keys = tuple(read(Path(name), self._files[name]) for name in names)

    def _put(self, files: Mapping[str, bytes | None]) -> None:
        kept = {**self._files, **files}
        self._files = {name: data for name, data in kept.items() if data is not None}
        self.reload()


class MemoryHosts:
    """``core.ports.LearntHosts`` in memory."""

    def __init__(self) -> None:
        self._learnt: dict[str, str] = {}

    def known(self, resource: str) -> str:
        return self._learnt.get(resource, "")

    def learn(self, resource: str, key: str) -> str:
        return self._learnt.setdefault(resource, key)
