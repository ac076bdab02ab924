"""Rules and an ask give a decision, with the whole trace. Pure; called by ``access`` and ``config explain``.

Precedence: a deny that matches wins over everything; else the first rule that matches, in the order of the file,
decides; else the answer is deny. A rule whose maximum is shorter than what is asked, or that wants a better reason,
does not match: it says so, and the next one is looked at. Every rule is in the trace, also after the decision fell.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.core.access import Considered, Decision, Outcome
from proxy.core.identity import Identity, Resource
from proxy.policy.match import Found, covers_account, covers_identity, covers_resource
from proxy.policy.networks import inside
from proxy.policy.rules import Rule
from proxy.policy.words import spoken


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked: ``account`` on ``resource`` for ``duration`` seconds, with a reason, from the IP ``source``.

    An empty ``source`` is from nowhere known: no rule with networks matches it.
    """

    identity: Identity
    resource: Resource
    account: str
    duration: float
    reason: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Fit:
    """How one rule fits an ask: ``covers`` says it is about this person, resource and account; ``longest`` is the
    longest duration it would have given, where the one asked is longer; ``lack`` what else it wants."""

    rule: Rule
    fits: bool
    covers: bool
    why: str
    longest: float = 0.0
    lack: str = ""


def decide(rules: Sequence[Rule], ask: Ask) -> Decision:
    """The decision on ``ask``. Of a deny, ``max_duration`` is the longest one could have asked for (0: nothing)."""
    fits = [fit(rule, ask) for rule in rules]
    matching = [each for each in fits if each.fits]
    denying = next((each for each in matching if not each.rule.gives), None)
    deciding = denying or next(iter(matching), None)
    trace = tuple(considered(each, deciding) for each in fits)
    if deciding is None:
        return unmatched(fits, ask, trace)
    return decided(deciding.rule, trace)


def decided(rule: Rule, trace: tuple[Considered, ...]) -> Decision:
    """What ``rule`` says, as a decision."""
    if not rule.gives:
        return Decision(Outcome.DENY, rule.name, f"rule {rule.name} denies it", trace=trace)
    by = f"needs {approvals_words(rule)}" if rule.asks_people else "is given without asking anybody"
    return Decision(
        outcome=rule.effect,
        rule=rule.name,
        reason=f"by rule {rule.name} it {by}, for at most {spoken(rule.max_duration)}",
        approvals=rule.approvals,
        approvers=rule.approvers,
        max_duration=rule.max_duration,
        networks=rule.networks,
        databases=rule.databases,
        conditions=dict(rule.conditions),
        trace=trace,
    )


def unmatched(fits: Sequence[Fit], ask: Ask, trace: tuple[Considered, ...]) -> Decision:
    """No rule matched: a deny that says what could have been asked instead, where there is something."""
    longest = max((each.longest for each in fits), default=0.0)
    said = f"no rule gives {ask.identity.name} the account {ask.account} on {ask.resource.name}"
    if longest:
        said += f" for {spoken(ask.duration)}; the longest you could ask for is {spoken(longest)}"
    said += "".join(f"; rule {each.rule.name} asks that {each.lack}" for each in fits if each.lack)
    return Decision(Outcome.DENY, reason=said, max_duration=longest, trace=trace)


def considered(each: Fit, deciding: Fit | None) -> Considered:
    """The trace's line about one rule; one that matched and yet did not decide says why."""
    why = each.why
    if each.fits and deciding is not None and each is not deciding:
        wins = "comes first" if deciding.rule.gives or not each.rule.gives else "denies, and a deny wins"
        why = f"{why}, but rule {deciding.rule.name} {wins}"
    return Considered(each.rule.name, each.fits, why, covers=each.covers)


def fit(rule: Rule, ask: Ask) -> Fit:
    """How ``rule`` fits ``ask``: who and what first, then (unless it denies) how it is asked."""
    covered = covering(rule, ask.identity, ask.resource, ask.account)
    if not covered.yes or not rule.gives:
        return Fit(rule, covered.yes, covered.yes, covered.words)
    # Said so that a duration that is no number does not pass.
    too_long = not 0 < ask.duration <= rule.max_duration
    lack = lacking(rule, ask)
    buts = [f"it gives at most {spoken(rule.max_duration)}, not {spoken(ask.duration)}"] if too_long else []
    buts += [f"it asks that {lack}"] if lack else []
    words = f"{covered.words}, but {' and '.join(buts)}" if buts else covered.words
    longest = rule.max_duration if too_long else 0.0
    return Fit(rule, not buts, True, words, longest=longest, lack=lack)


def covering(rule: Rule, identity: Identity, resource: Resource, account: str) -> Found:
    """Whether ``rule`` is about this person, resource and account, and up to which of them it fits."""
    matched: list[str] = []
    for found in (
        covers_resource(rule, resource),
        covers_identity(rule, identity),
        covers_account(rule, account),
    ):
        if not found.yes:
            before = f"matched {' and '.join(matched)}, but " if matched else ""
            return Found(False, before + found.words)
        matched.append(found.words)
    return Found(True, f"matched {', '.join(matched)}")


def lacking(rule: Rule, ask: Ask) -> str:
    """What this rule asks for besides, and does not get: an address, a reason; "" when nothing."""
    if rule.networks and not inside(ask.source, rule.networks):
        return f"you ask from {' or '.join(rule.networks)}"
    length = len(ask.reason.strip())
    least = max(rule.min_reason_length, 1 if rule.reason_required else 0)
    if length >= least:
        return ""
    return "you give a reason" if least == 1 else f"you give a reason of at least {least} characters"


def approvals_words(rule: Rule) -> str:
    """How many must agree, for people: "2 approvals by group dba"."""
    return f"{rule.approvals} approval{'' if rule.approvals == 1 else 's'} by group {rule.approvers}"


def reachable(rules: Sequence[Rule], identity: Identity, resource: Resource, account: str) -> bool:
    """Whether any rule that gives access is about this person, resource and account, however it is asked.

    Who gets no here is told "no such resource, or not for you", the same as for a name that does not exist.
    """
    return any(rule.gives and covering(rule, identity, resource, account).yes for rule in rules)


def offers(rules: Sequence[Rule], identity: Identity, resource: Resource, account: str) -> list[Rule]:
    """The rules by which this person could get this account, in order; none where a deny covers it."""
    covering_rules = [rule for rule in rules if covering(rule, identity, resource, account).yes]
    return [] if any(not rule.gives for rule in covering_rules) else covering_rules


def holds(rules: Sequence[Rule], identity: Identity, resource: Resource, account: str) -> bool:
    """Whether what was granted would still be given to somebody who asks well: no deny covers it, and some rule
    that gives does. Asked on every connection, so that a changed policy stops what it no longer gives."""
    return bool(offers(rules, identity, resource, account))
