"""A rule: who may ask for what, when, from where, how long, and who must agree.

Pure. Built by ``adapters.configuration`` from what the operator wrote; kept in order in ``core.identity.Catalog``;
read by ``policy.decide`` alone. Knows nothing of stores, requests or time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.access import Outcome
from proxy.policy.networks import parse

EVERYONE = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, in the order of the file.

    ``subjects``: ``"group:x"``, ``"user:y"`` or ``"*"``. A rule is about a resource when ``resources`` (globs of
    names) *and* ``labels`` (every key must be there, its value like one of the globs) both fit; the one that is not
    given is not asked, and a rule with neither is about nothing. ``accounts`` are globs; none: no account (in a
    deny: every account). ``databases`` are the exact names of those the grant is for, ``networks`` (CIDR) where
    requests and connections must come from; empty: any. ``max_duration`` in seconds. ``approvers`` is the plain
    name of a group. ``conditions`` go into the grant as they are.

    A deny looks at subjects, resources, labels and accounts alone: how something is asked never narrows a deny.
    ``ValueError`` for a rule that could not be carried out; the configuration's checks say it better and earlier.
    """

    name: str
    subjects: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    accounts: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    effect: Outcome = Outcome.DENY
    approvals: int = 0
    approvers: str = ""
    max_duration: float = 0.0
    networks: tuple[str, ...] = ()
    reason_required: bool = False
    min_reason_length: int = 0
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parse(self.networks)
        for problem, found in (
            ("a rule needs a name", not self.name),
            ("a subject is group:NAME, user:NAME or *", not all(map(is_subject, self.subjects))),
            ("a rule that gives access needs a maximum duration", self.gives and not self.max_duration > 0),
            ("a rule that needs approval needs approvals and approvers", self.asks_people and not self.can_be_met),
            ("a rule that allows by itself has no approvals", self.effect is Outcome.ALLOW and self.approvals != 0),
        ):
            if found:
                raise ValueError(f"rule {self.name or '(unnamed)'}: {problem}")

    @property
    def gives(self) -> bool:
        """Whether this rule can lead to a grant at all."""
        return self.effect is not Outcome.DENY

    @property
    def asks_people(self) -> bool:
        return self.effect is Outcome.NEEDS_APPROVAL

    @property
    def can_be_met(self) -> bool:
        return self.approvals >= 1 and bool(self.approvers)


def is_subject(text: str) -> bool:
    """Whether ``text`` is a subject a rule can name."""
    kind, colon, name = text.partition(":")
    return text == EVERYONE or bool(colon and name and kind in {"group", "user"})
