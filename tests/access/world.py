"""A small world for the tests of access: people, resources, rules, and the services over the fake store."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.access.certificates import Certificates
from proxy.access.gate import Gate
from proxy.access.grants import Grants
from proxy.access.limits import AccessLimits
from proxy.access.requests import Requests
from proxy.access.revocations import Revocations
from proxy.access.seals import Seals
from proxy.access.tokens import Tokens
from proxy.adapters.ssh_keys import Ed25519SshKeys
from proxy.core.access import Claims, Grant, Outcome, Wish
from proxy.core.grounds import Ground
from proxy.core.identity import Account, Catalog, Identity, Resource, Role
from proxy.core.sessions import SessionRecord
from proxy.core.states import SessionStatus
from proxy.policy.rules import Rule
from tests.fakes.clock import FakeClock, FakeIds
from tests.fakes.ssh_keys import MemoryTargets, OneUserAuthority
from tests.fakes.store import MemoryStore

HOUR = 3600.0
OFFICE = "10.1.2.3"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDEvBUBePwpkrBJXPd3Oy39HUfzFU6zHv6BxkEXvAVe9 alice@laptop"


def person(name: str, *groups: str, roles: tuple[Role, ...] = ()) -> Identity:
    return Identity(name, frozenset(groups), frozenset(roles))


PEOPLE = [
    person("alice", "engineers"),
    person("eve", "engineers"),
    person("bob", "approvers"),
    person("bea", "approvers"),
    person("abe", "approvers", "engineers"),
    person("carol", roles=(Role.AUDITOR,)),
    person("dave", "engineers", roles=(Role.ADMIN,)),
    person("dana", "engineers", "approvers", roles=(Role.ADMIN,)),
    person("zed"),
]

RESOURCES = [
    Resource(
        "shop",
        "postgres",
        (("db", 5432),),
        {"env": "prod"},
        (
            Account("readonly"),
            Account("owner", databases=("shop", "stock")),
            Account("super"),
            Account("pinned"),
            Account("brief"),
        ),
    ),
    Resource("box", "ssh", (("box", 22),), {}, (Account("ops"),)),
    Resource("vault", "postgres", (("vault", 5432),), {}, (Account("readonly"), Account("root"))),
]


def rule(name: str, account: str, **changes: Any) -> Rule:
    given: dict[str, Any] = {
        "subjects": ("group:engineers",),
        "resources": ("shop",),
        "accounts": (account,),
        "effect": Outcome.ALLOW,
        "max_duration": HOUR,
    }
    return Rule(name, **(given | changes))


def approval(count: int) -> dict[str, Any]:
    return {"effect": Outcome.NEEDS_APPROVAL, "approvals": count, "approvers": "approvers"}


RULES = (
    rule("auto", "readonly", databases=("shop",), conditions={"record_rows": 20}),
    rule("one-yes", "owner", **approval(1)),
    rule("two-yes", "super", **approval(2)),
    rule("pinned", "pinned", networks=("10.0.0.0/8",), conditions={"token_life": "grant"}),
    rule("boxes", "ops", resources=("box",)),
    rule("wizards", "*", subjects=("group:wizards",), resources=("vault",)),
)


class MemoryKeys:
    """``core.ports.TokenKeys`` with keys by name."""

    def __init__(self) -> None:
        self.kid = "k1"
        self.keys = {"k1": Ed25519PrivateKey.generate()}

    def current(self) -> tuple[str, object]:
        return self.kid, self.keys[self.kid]

    def public(self) -> Mapping[str, object]:
        return {kid: key.public_key() for kid, key in self.keys.items()}


class MemorySeal:
    """``core.ports.Seal`` without a key."""

    def mac(self, domain: str, text: str) -> str:
        return hashlib.sha256(f"{domain}\n{text}".encode()).hexdigest()

    def fits(self, domain: str, text: str, mac: str) -> bool:
        return mac == self.mac(domain, text)


@dataclass
class World:
    """All services over one store; ``catalog`` and ``limits`` may be replaced by a test, as a reload does."""

    catalog: Catalog
    limits: AccessLimits = field(default_factory=AccessLimits)
    ground: Ground | None = None
    life: float = 600.0

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.ids = FakeIds()
        self.store = MemoryStore(self.clock)
        self.seal = Seals(MemorySeal())
        self.keys = MemoryKeys()
        self.tokens = Tokens(self.keys, self.clock, self.ids, "tidegate-test", lambda: self.life, leeway=5.0)
        keys = [Ed25519PrivateKey.generate() for _ in range(4)]
        self.ssh_keys = Ed25519SshKeys(
            OneUserAuthority(keys[0]), MemoryTargets(keys[1]), keys[2], keys[3], self.clock
        )
        self.certificates = Certificates(self.ssh_keys, self.clock, lambda: self.life)
        self.requests = Requests(
            self.store, lambda: self.catalog, self.clock, self.ids, self.seal, lambda: self.limits
        )
        self.grants = Grants(
            self.store, lambda: self.catalog, self.seal, self.tokens, self.certificates, self.requests
        )
        self.revocations = Revocations(self.store, lambda: self.catalog, self.seal)
        self.gate = Gate(
            self.store,
            self.tokens,
            self.certificates,
            lambda: self.catalog,
            self.clock,
            self.seal,
            lambda: self.ground,
            lambda: self.limits,
        )
        self.registered: list[Claims] = []

    def later(self, row: Any, *, must: Mapping[str, Any] = MappingProxyType({}), **fields: Any) -> Any:
        """The row as a later version seals it, with fields that this one does not have."""
        text = json.loads(self.seal.seal(row).sealed)
        text["fields"] |= {**must, **fields}
        text["must"] += sorted(must)
        sealed = json.dumps(text)
        return replace(row, sealed=sealed, mac=MemorySeal().mac(f"{row.SEALED_AS} 2", sealed))

    def who(self, name: str) -> Identity:
        return self.catalog.identities[name]

    def reload(self, *, rules: tuple[Rule, ...] | None = None, without: str = "") -> None:
        """Another configuration: other rules, or without one person or resource."""
        old = self.catalog
        self.catalog = Catalog(
            {name: each for name, each in old.identities.items() if name != without},
            {name: each for name, each in old.resources.items() if name != without},
            old.rules if rules is None else rules,
            "changed",
        )

    async def granted(
        self, name: str = "alice", account: str = "readonly", duration: float = HOUR, resource: str = "shop"
    ) -> Grant:
        """A grant by an automatic rule."""
        made = await self.requests.make(self.who(name), resource, account, duration, "a reason", OFFICE)
        assert made.grant is not None, made.decision
        return self.store.state.grants[made.grant]

    async def token(self, grant: Grant) -> str:
        text, _ = await self.grants.token(grant.id, self.who(grant.identity))
        return text

    def kinds(self) -> list[str]:
        """The words of the trail, oldest first."""
        return [row.kind for row in self.store.state.trail]

    async def start_session(self, grant: Grant, id: str = "session-1") -> SessionRecord:
        record = SessionRecord(
            id=id,
            node="node-1",
            protocol="postgres",
            grant=grant.id,
            identity=grant.identity,
            resource=grant.resource,
            account=grant.account,
            database="shop",
            source=OFFICE,
            client="psql",
            started=self.clock.now(),
            status=SessionStatus.LIVE,
            recording="r",
        )
        await self.store.commit(lambda writer: writer.put_session(record))
        return record


def world() -> World:
    return World(Catalog({each.name: each for each in PEOPLE}, {each.name: each for each in RESOURCES}, RULES, "d"))


def wish(account: str | None = "readonly", database: str = "shop", **changes: Any) -> Wish:
    given = {"session": "session-9", "protocol": "postgres", "source": OFFICE} | changes
    return Wish(account=account, database=database, **given)
