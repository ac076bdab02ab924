"""``core.ports.SshKeys`` in memory."""

from collections.abc import Sequence

import asyncssh


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


class MemoryHosts:
    """``core.ports.LearntHosts`` in memory."""

    def __init__(self) -> None:
        self._learnt: dict[str, str] = {}

    def known(self, resource: str) -> str:
        return self._learnt.get(resource, "")

    def learn(self, resource: str, key: str) -> str:
        return self._learnt.setdefault(resource, key)
