"""Who asks and what is asked for: identities, resources and their accounts.

Built from configuration by ``adapters.configuration``; read by policy, access, sessions and the API.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    """What an identity may do besides asking for access; given by groups in the configuration."""

    ADMIN = "admin"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True)
class Identity:
    """A person or service account, as an identity provider vouched for it.

    ``name`` is the stable name (unique over providers); groups are what policies speak of.
    """

    name: str
    groups: frozenset[str] = frozenset()
    roles: frozenset[Role] = frozenset()
    display: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """A login on a resource (database role, OS user) whose credential only the gateway holds.

    ``credential`` is opaque to everyone but the protocol's engine (for PostgreSQL: an object with ``password``,
    ``client_certificate`` …) and is kept out of ``repr``.
    """

    name: str
    databases: tuple[str, ...] = ()
    credential: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Resource:
    """A target that can be reached: protocol, addresses tried in order, labels, accounts.

    ``options`` are the protocol's own settings for this target (TLS mode, protocol version …), opaque here.
    """

    name: str
    protocol: str
    addresses: tuple[tuple[str, int], ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    accounts: tuple[Account, ...] = ()
    options: Any = field(default=None, repr=False, compare=False)
    description: str = ""

    def account(self, name: str) -> Account | None:
        """The account of that exact name, or None."""
        return next((account for account in self.accounts if account.name == name), None)


@dataclass(frozen=True, slots=True)
class Catalog:
    """What the configuration says exists, at one moment. Replaced whole on reload, never changed.

    ``rules`` are ``policy.rules.Rule`` in order; opaque here. ``digest`` is the SHA-256 (hex) of the
    configuration it was built from: nodes of one cluster must agree on it.
    """

    identities: Mapping[str, Identity]
    resources: Mapping[str, Resource]
    rules: tuple[Any, ...]
    digest: str
