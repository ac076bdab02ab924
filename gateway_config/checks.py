"""What the models cannot see one by one: names that must be unique, names that must exist, listeners that collide,
approvals that nobody could give.

Pure: ``surroundings`` checks what lies outside the file. Called by ``loading`` once the models are valid.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from fnmatch import fnmatchcase

from gateway_config.policies import Approval, Policy
from gateway_config.postgres import PostgresAccount
from gateway_config.problems import Finding, Place, path
from gateway_config.resources import Account
from gateway_config.schema import Config
from gateway_config.suggestions import suggestion
from gateway_config.targets import AnyResource
from gateway_config.values import Address


def findings(config: Config, called: Callable[[Place], str] = path) -> Iterator[Finding]:
    """Everything that does not fit together. ``called``: how people find another place."""
    for kind in ("listeners", "users", "groups", "resources", "policies"):
        yield from _unique((kind,), [each.name for each in getattr(config, kind)], called)
    for index, resource in enumerate(config.resources):
        yield from _unique(("resources", index, "accounts"), [each.name for each in resource.accounts], called)
    yield from _ids(config, called)
    yield from _memberships(config)
    yield from _collisions(config)
    yield from _store(config)
    for index, policy in enumerate(config.policies):
        yield from _policy(config, policy, ("policies", index))


def _unique(place: Place, names: Sequence[str], called: Callable[[Place], str]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in first:
            yield (*place, index, "name"), f'"{name}" is the name of {called((*place, first[name]))} already'
        first.setdefault(name, index)


RESERVED = frozenset({"gateway", "anonymous"})
"""Who the trail says did what no person did."""


def _ids(config: Config, called: Callable[[Place], str]) -> Iterator[Finding]:
    """Whatever people type, and whatever is stored, must mean one person: no two have the same id, and no id is the
    name of somebody else."""
    names = {user.name: index for index, user in enumerate(config.users)}
    first: dict[str, int] = {}
    for index, user in enumerate(config.users):
        wanted, place = user.lasting_id, ("users", index, "id" if user.id else "name")
        other = first.setdefault(wanted, index)
        namesake = names.get(wanted, index)
        if other != index and config.users[other].name != user.name:
            yield place, f'"{wanted}" is the id of {called(("users", other))} already'
        elif namesake != index and config.users[namesake].name != user.name:
            yield place, f'"{wanted}" is the name of {called(("users", namesake))}: an id must mean one person'
        if wanted in RESERVED:
            yield place, f'"{wanted}" is what the trail calls what no person did; take another name or `id`'


def _memberships(config: Config) -> Iterator[Finding]:
    groups = [each.name for each in config.groups]
    for index, user in enumerate(config.users):
        for number, group in enumerate(user.groups):
            if group not in groups:
                yield ("users", index, "groups", number), _unknown("group", group, groups)


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    return f'there is no {kind} "{name}"{suggestion(name, known)}'


def _collisions(config: Config) -> Iterator[Finding]:
    taken: list[tuple[str, Address]] = []
    places: list[tuple[Place, str, Address]] = [
        (("listeners", index, "address"), f'listener "{each.name}"', each.address)
        for index, each in enumerate(config.listeners)
    ]
    if config.api.enabled:
        taken.append(("[api]", config.api.listen))
    for place, name, address in places:
        other = next((who for who, their in taken if _collide(address, their)), None)
        if other:
            yield place, f"{address} is taken by {other}"
        taken.append((name, address))


def _collide(one: Address, other: Address) -> bool:
    if one.port != other.port or one.port == 0:
        return False
    return one.host == other.host or one.wildcard or other.wildcard


def _store(config: Config) -> Iterator[Finding]:
    if config.store.password is not None and not config.store_url.startswith("postgresql:"):
        yield ("store", "password"), "has a password, but the store is SQLite"


def _policy(config: Config, policy: Policy, place: Place) -> Iterator[Finding]:
    yield from _subjects(config, policy, place)
    yield from _targets(config, policy, place)
    if isinstance(policy.approval, Approval):
        yield from _approval(config, policy, policy.approval, (*place, "approval"))


def _subjects(config: Config, policy: Policy, place: Place) -> Iterator[Finding]:
    known = {"group": [each.name for each in config.groups], "user": [each.name for each in config.users]}
    for index, subject in enumerate(policy.who):
        kind, _, name = subject.partition(":")
        if kind in known and name not in known[kind]:
            yield (*place, "who", index), _unknown(kind, name, known[kind])


def _targets(config: Config, policy: Policy, place: Place) -> Iterator[Finding]:
    names = [each.name for each in config.resources]
    for index, pattern in enumerate(policy.resources):
        if _exact(pattern) and pattern not in names:
            yield (*place, "resources", index), _unknown("resource", pattern, names)
    selected = [each for each in config.resources if _selects(policy, each)]
    if not selected:
        return
    accounts = [account for each in selected for account in each.accounts]
    known = sorted({each.name for each in accounts})
    for index, pattern in enumerate(policy.accounts):
        if _exact(pattern) and pattern not in known:
            yield (*place, "accounts", index), f"on these resources {_unknown('account', pattern, known)}"
    yield from _databases(policy, accounts, place)
    yield from _recorded(policy, {each.protocol for each in selected}, place)


def _databases(policy: Policy, accounts: Sequence[Account], place: Place) -> Iterator[Finding]:
    patterns = policy.accounts or ("*",)
    chosen = [each for each in accounts if _fits(each.name, patterns)]
    roles = [each for each in chosen if isinstance(each, PostgresAccount)]
    if policy.databases and chosen and not roles:
        yield (*place, "databases"), "narrows nothing: its resources are not of postgres"
        return
    for index, name in enumerate(policy.databases):
        if roles and not any(not each.databases or name in each.databases for each in roles):
            yield (*place, "databases", index), f'none of its accounts may open the database "{name}"'


_RECORDED: Mapping[str, frozenset[str]] = {
    "record_rows": frozenset({"postgres"}),
    "record_input": frozenset({"ssh"}),
    "record_traffic": frozenset({"ssh", "tcp"}),
}


def _recorded(policy: Policy, protocols: Set[str], place: Place) -> Iterator[Finding]:
    for name, of in _RECORDED.items():
        if getattr(policy, name) and protocols.isdisjoint(of):
            yield (*place, name), f"keeps nothing: none of its resources is of {' or '.join(sorted(of))}"


def _selects(policy: Policy, resource: AnyResource) -> bool:
    named = not policy.resources or _fits(resource.name, policy.resources)
    return named and all(
        key in resource.labels and _fits(resource.labels[key], patterns) for key, patterns in policy.labels.items()
    )


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(name == each or fnmatchcase(name, each) for each in patterns)


def _exact(pattern: str) -> bool:
    return not any(sign in pattern for sign in "*?[")


def _approval(config: Config, policy: Policy, approval: Approval, place: Place) -> Iterator[Finding]:
    groups = [each.name for each in config.groups]
    if approval.group not in groups:
        yield (*place, "group"), _unknown("group", approval.group, groups)
        return
    members = {each.name for each in config.users if approval.group in each.groups}
    if len(members) < approval.count:
        yield (
            (*place, "count"),
            f'group "{approval.group}" has only {len(members)} members, so nobody could get this',
        )
        return
    requesters = {each.name for each in config.users if _is_for(policy, each.name, each.groups)}
    # Nobody approves their own request: with exactly `count` members, only people outside the group can be served.
    if requesters and all(len(members - {each}) < approval.count for each in requesters):
        why = f'everyone this is for is one of the {len(members)} members of group "{approval.group}"'
        yield (*place, "count"), f"{why}: nobody approves their own request, so nobody could get this"


def _is_for(policy: Policy, name: str, groups: Sequence[str]) -> bool:
    subjects = {"*", f"user:{name}", *(f"group:{each}" for each in groups)}
    return not subjects.isdisjoint(policy.who)
