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

    ``id`` never changes and is what is stored: grants, locks, votes, log-ins, the feed and the trail hold it.
    ``name`` is what people type and read, and what policies speak of beside ``groups``; it can change, and then the
    id says that it is still the same person. Left empty, the id is the name.
    """

    name: str
    groups: frozenset[str] = frozenset()
    roles: frozenset[Role] = frozenset()
    display: str = ""
    id: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", self.name)

    @property
    def who(self) -> "Who":
        return self.id, self.name


Who = tuple[str, str]
"""An identity's (id, name), where both are stored: the id to go by, the name as it was then to show to people."""


def names(*known: Who) -> dict[str, str]:
    """Return id -> name of those whose name is not their id: what is kept beside ids that are stored."""
    return {who[0]: who[1] for who in known if who[1] and who[1] != who[0]}


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
    configuration it was built from: nodes of one cluster must agree on it. ``identities`` is by id. No name of one
    person is another's id, so that what somebody types means one of them. ``admins_read``: see ``access.rights``.
    """

    identities: Mapping[str, Identity]
    resources: Mapping[str, Resource]
    rules: tuple[Any, ...]
    digest: str
    admins_read: bool = False

    def named(self, name: str) -> Identity | None:
        """Return the person of that very name, or None. Ids are not looked at."""
        found = self.identities.get(name)
        if found is not None and found.name == name:
            return found
        return next((each for each in self.identities.values() if each.name == name), None)

    def id_of(self, word: str) -> str:
        """Return the id of whom ``word`` names; where nobody has that name ``word`` itself, which may be the id of
        somebody who has left. For what people type; what is stored is an id already and must not come here."""
        found = self.named(word)
        return word if found is None else found.id

    def name_of(self, who: Who) -> str:
        """Return what to call somebody in front of people: their name of now, else the one recorded beside their
        id, else the id."""
        found = self.identities.get(who[0])
        return found.name if found else who[1] or who[0]
