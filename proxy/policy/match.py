"""Whether a rule is about a resource, a person, an account, and how to say it. Pure; called by ``policy.decide``.

Each answer carries words that finish "rule x: matched …" or "rule x: …, but …" for an admin who reads the trace.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from proxy.core.identity import Identity, Resource
from proxy.policy.rules import EVERYONE, Rule


class Found(NamedTuple):
    """An answer and its words."""

    yes: bool
    words: str


def covers_resource(rule: Rule, resource: Resource) -> Found:
    """By name and by labels; what the rule does not give it does not ask, and one with neither covers nothing."""
    if not rule.resources and not rule.labels:
        return Found(False, "it names no resource and no label, so it is about nothing")
    asked = [each for each in (_by_name(rule, resource), _by_labels(rule, resource)) if each is not None]
    failed = next((each for each in asked if not each.yes), None)
    if failed is not None:
        return failed
    return Found(True, f"resource {resource.name} {' and '.join(each.words for each in asked)}")


def _by_name(rule: Rule, resource: Resource) -> Found | None:
    if not rule.resources:
        return None
    pattern = fitting(resource.name, rule.resources)
    if pattern is None:
        return Found(False, f"resource {resource.name} is not among {', '.join(rule.resources)}")
    return Found(True, "by name" if pattern == resource.name else f"by name like {pattern}")


def _by_labels(rule: Rule, resource: Resource) -> Found | None:
    if not rule.labels:
        return None
    for key, values in rule.labels.items():
        value = resource.labels.get(key)
        if value is None:
            return Found(False, f"resource {resource.name} has no label {key}")
        if fitting(value, values) is None:
            return Found(False, f"resource {resource.name} has label {key}={value}, not {' or '.join(values)}")
    shown = ", ".join(f"{key}={resource.labels[key]}" for key in rule.labels)
    return Found(True, f"by label{'s' if len(rule.labels) > 1 else ''} {shown}")


def covers_identity(rule: Rule, identity: Identity) -> Found:
    """By name, by a group, or everybody."""
    for subject in rule.subjects:
        kind, _, name = subject.partition(":")
        if subject == EVERYONE:
            return Found(True, "everyone")
        if kind == "user" and name == identity.name:
            return Found(True, f"user {name}")
        if kind == "group" and name in identity.groups:
            return Found(True, f"{identity.name} in group {name}")
    if not rule.subjects:
        return Found(False, "it names nobody")
    return Found(False, f"{identity.name} {_is_none_of(rule.subjects)}")


def _is_none_of(subjects: tuple[str, ...]) -> str:
    groups = [each for each in subjects if each.startswith("group:")]
    users = [each for each in subjects if each.startswith("user:")]
    said = [f"is in none of {', '.join(groups)}"] if groups else []
    said += [f"is not {' or '.join(users)}"] if users else []
    return " and ".join(said)


def covers_account(rule: Rule, account: str) -> Found:
    """By a glob; a deny that names no account is about every one."""
    if not rule.accounts:
        return Found(not rule.gives, "it names no account" if rule.gives else "every account")
    if fitting(account, rule.accounts) is None:
        return Found(False, f"account {account} is not among {', '.join(rule.accounts)}")
    return Found(True, f"account {account}")


def fitting(name: str, patterns: Iterable[str]) -> str | None:
    """The first of ``patterns`` (globs, case matters) that ``name`` fits: the name of a resource or account, or a
    label's value."""
    return next((pattern for pattern in patterns if name == pattern or fnmatchcase(name, pattern)), None)
