"""Decisions: precedence, traces and their words."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.access import Decision, Outcome
from proxy.core.identity import Account, Identity, Resource
from proxy.policy.decide import Ask, decide, holds, offers, reachable
from proxy.policy.rules import Rule
from proxy.policy.words import explain, spoken

ALICE = Identity("alice", frozenset({"engineers"}))
SHOP = Resource("shop", "postgres", (("db", 5432),), {"env": "prod", "tier": "1"}, (Account("readonly"),))
ASK = Ask(ALICE, SHOP, "readonly", 1800.0, "looking at orders", "10.1.2.3")


def rule(name: str = "r", **changes: Any) -> Rule:
    given_: dict[str, Any] = {
        "subjects": ("group:engineers",),
        "resources": ("shop",),
        "accounts": ("readonly",),
        "effect": Outcome.ALLOW,
        "max_duration": 3600.0,
    }
    return Rule(name, **(given_ | changes))


def deny(name: str = "no", **changes: Any) -> Rule:
    return rule(name, effect=Outcome.DENY, max_duration=0.0, **changes)


def why(decision: Decision, name: str) -> str:
    return next(each.why for each in decision.trace if each.rule == name)


def test_a_rule_that_matches_gives_what_it_says() -> None:
    given_ = rule(networks=("10.0.0.0/8",), databases=("shop",), conditions={"record_rows": 5})
    decision = decide([given_], ASK)
    assert decision.outcome is Outcome.ALLOW
    assert (decision.rule, decision.max_duration) == ("r", 3600.0)
    assert (decision.networks, decision.databases) == (("10.0.0.0/8",), ("shop",))
    assert decision.conditions == {"record_rows": 5}


def test_approval_is_asked_of_the_group_of_the_rule() -> None:
    decision = decide([rule(effect=Outcome.NEEDS_APPROVAL, approvals=2, approvers="dba")], ASK)
    assert decision.outcome is Outcome.NEEDS_APPROVAL
    assert (decision.approvals, decision.approvers) == (2, "dba")
    assert "2 approvals by group dba" in decision.reason


def test_no_rule_means_no() -> None:
    assert decide([], ASK).outcome is Outcome.DENY


def test_the_first_that_matches_decides() -> None:
    decision = decide([rule("a", accounts=("owner",)), rule("b"), rule("c", max_duration=7200.0)], ASK)
    assert decision.rule == "b"
    assert why(decision, "c").endswith("but rule b comes first")


def test_a_deny_wins_wherever_it_stands_and_however_it_is_asked() -> None:
    decision = decide([rule("a"), deny("freeze", min_reason_length=100, networks=("192.0.2.0/24",))], ASK)
    assert (decision.outcome, decision.rule) == (Outcome.DENY, "freeze")
    assert why(decision, "a").endswith("but rule freeze denies, and a deny wins")


def test_a_deny_without_accounts_is_about_every_account() -> None:
    assert decide([rule(), deny(accounts=())], ASK).rule == "no"
    assert decide([rule(accounts=())], ASK).outcome is Outcome.DENY


def test_the_words_say_what_matched_and_what_did_not() -> None:
    decision = decide([rule("db-readonly", resources=(), labels={"env": ("prod",)}, subjects=("group:dba",))], ASK)
    assert why(decision, "db-readonly") == (
        "matched resource shop by label env=prod, but alice is in none of group:dba"
    )
    assert "no rule gives alice the account readonly on shop" in decision.reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resources": ()}, "names no resource and no label"),
        ({"resources": ("s?op-*",)}, "resource shop is not among s?op-*"),
        ({"resources": ("shop",), "labels": {"env": ("dev",)}}, "resource shop has label env=prod, not dev"),
        ({"resources": ("other",), "labels": {"env": ("prod",)}}, "resource shop is not among other"),
        ({"labels": {"team": ("x",)}}, "resource shop has no label team"),
        ({"resources": (), "labels": {"env": ("prod",), "tier": ("2",)}}, "has label tier=1, not 2"),
        ({"resources": (), "labels": {"env": ()}}, "has label env=prod, not"),
        ({"subjects": ()}, "names nobody"),
        ({"subjects": ("user:eve", "group:dba")}, "alice is in none of group:dba and is not user:eve"),
        ({"accounts": ("owner", "app-*")}, "account readonly is not among owner, app-*"),
        ({"max_duration": 60.0}, "it gives at most 1m, not 30m"),
        ({"min_reason_length": 40}, "a reason of at least 40 characters"),
        ({"networks": ("192.0.2.0/24",)}, "you ask from 192.0.2.0/24"),
    ],
)
def test_what_does_not_match_says_why(changes: dict[str, Any], words: str) -> None:
    decision = decide([rule(**changes)], ASK)
    assert decision.outcome is Outcome.DENY
    assert words in why(decision, "r")
    assert not decision.trace[0].matched


@pytest.mark.parametrize(
    "changes",
    [
        {"subjects": ("*",)},
        {"subjects": ("user:alice",)},
        {"resources": ("sh*",)},
        {"resources": (), "labels": {"env": ("dev", "prod"), "tier": ("1",)}},
        {"accounts": ("read*",)},
        {"max_duration": 1800.0},
        {"min_reason_length": len(ASK.reason)},
        {"networks": ("192.0.2.0/24", "10.0.0.0/8")},
    ],
)
def test_what_matches(changes: dict[str, Any]) -> None:
    assert decide([rule(**changes)], ASK).outcome is Outcome.ALLOW


def test_labels_match_like_names() -> None:
    """As the settings' page says: `*` and `?`, case matters."""
    for pattern in ("pr*", "pro?", "*", "[op]rod"):
        assert decide([rule(resources=(), labels={"env": (pattern,)})], ASK).outcome is Outcome.ALLOW, pattern
    for pattern in ("p", "Pr*", "pr*x", "pro??"):
        assert decide([rule(resources=(), labels={"env": (pattern,)})], ASK).outcome is Outcome.DENY, pattern


def test_a_deny_by_a_pattern_of_labels_denies() -> None:
    rules = [rule("all", resources=("*",)), deny("never", resources=(), labels={"env": ("pr*",)}, accounts=())]
    decision = decide(rules, ASK)
    assert (decision.outcome, decision.rule) == (Outcome.DENY, "never")
    assert not holds(rules, ASK.identity, ASK.resource, ASK.account)


def test_too_long_looks_on_and_says_what_could_be_asked() -> None:
    ask = replace(ASK, duration=5 * 3600.0)
    assert decide([rule("short"), rule("long", max_duration=6 * 3600.0)], ask).rule == "long"
    decision = decide([rule("short"), rule("shorter", max_duration=60.0), rule("no", accounts=("x",))], ask)
    assert decision.outcome is Outcome.DENY
    assert decision.max_duration == 3600.0
    assert "for 5h; the longest you could ask for is 1h" in decision.reason


def test_a_missing_reason_is_said() -> None:
    decision = decide([rule(reason_required=True)], replace(ASK, reason="  "))
    assert decision.reason.endswith("; rule r asks that you give a reason")


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_duration_that_is_none_gets_nothing(duration: float) -> None:
    assert decide([rule()], replace(ASK, duration=duration)).outcome is Outcome.DENY


def test_reachable_tells_who_may_know_that_it_is_there() -> None:
    needs_more = rule(max_duration=1.0, min_reason_length=99, networks=("192.0.2.0/24",))
    assert reachable([needs_more], ALICE, SHOP, "readonly")
    assert not reachable([needs_more], ALICE, SHOP, "owner")
    assert not reachable([deny()], ALICE, SHOP, "readonly")


def test_holds_until_a_deny_or_until_no_rule_gives() -> None:
    assert holds([rule()], ALICE, SHOP, "readonly")
    assert not holds([rule(), deny()], ALICE, SHOP, "readonly")
    assert not holds([], ALICE, SHOP, "readonly")
    assert [
        each.name for each in offers([rule("a"), rule("b"), rule("c", accounts=())], ALICE, SHOP, "readonly")
    ] == [
        "a",
        "b",
    ]


def test_the_explanation_marks_the_rule_that_decided() -> None:
    text = explain(decide([rule("a", accounts=("x",)), rule("b")], ASK))
    lines = text.splitlines()
    assert lines[0].startswith("allowed: by rule b")
    assert lines[-2].startswith("  rule a: ")
    assert lines[-1].startswith("> rule b: matched resource shop by name")
    assert "there are no rules" in explain(decide([], ASK))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5s"), (45, "45s"), (5400, "1h30m"), (86400, "1d"), (90061, "1d1h1m1s")]
)
def test_durations_are_said_as_they_are_typed(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


GROUPS = ("engineers", "dba", "ops")
RULE = st.builds(
    rule,
    name=st.uuids().map(str),
    subjects=st.lists(st.sampled_from(["*", "user:alice", *(f"group:{g}" for g in GROUPS)]), max_size=3).map(tuple),
    resources=st.lists(st.sampled_from(["shop", "*", "s*", "box"]), max_size=2).map(tuple),
    labels=st.dictionaries(st.sampled_from(["env", "tier"]), st.tuples(st.sampled_from(["prod", "1"])), max_size=2),
    accounts=st.lists(st.sampled_from(["readonly", "*", "owner"]), max_size=2).map(tuple),
    max_duration=st.sampled_from([60.0, 3600.0]),
    min_reason_length=st.sampled_from([0, 5, 50]),
    networks=st.sampled_from([(), ("10.0.0.0/8",), ("192.0.2.0/24",)]),
    effect=st.sampled_from([Outcome.ALLOW, Outcome.DENY]),
)
ASKS = st.builds(
    Ask,
    identity=st.builds(
        Identity, st.sampled_from(["alice", "eve"]), st.frozensets(st.sampled_from(GROUPS), max_size=2)
    ),
    resource=st.just(SHOP),
    account=st.sampled_from(["readonly", "owner"]),
    duration=st.sampled_from([1.0, 1800.0, 7200.0]),
    reason=st.sampled_from(["", "because it must"]),
    source=st.sampled_from(["", "10.1.2.3", "192.0.2.7"]),
)


@given(st.lists(RULE, max_size=6), ASKS)
def test_every_rule_is_in_the_trace_in_order(rules: list[Rule], ask: Ask) -> None:
    decision = decide(rules, ask)
    assert [each.rule for each in decision.trace] == [each.name for each in rules]
    assert all(each.why for each in decision.trace)


@given(st.lists(RULE, max_size=6), ASKS, st.integers(0, 6))
def test_adding_a_deny_for_everything_denies_wherever_it_is_put(rules: list[Rule], ask: Ask, at: int) -> None:
    everything = Rule("freeze", subjects=("*",), resources=("*",))
    decision = decide([*rules[:at], everything, *rules[at:]], ask)
    assert decision.outcome is Outcome.DENY


@given(st.lists(RULE, max_size=6), ASKS)
def test_an_allow_is_always_by_a_rule_that_gives_and_matched_and_no_deny_did(rules: list[Rule], ask: Ask) -> None:
    decision = decide(rules, ask)
    by_name = {each.name: each for each in rules}
    matched = [by_name[each.rule] for each in decision.trace if each.matched]
    if decision.outcome is Outcome.ALLOW:
        assert matched[0].name == decision.rule
        assert all(each.gives for each in matched)
        assert ask.duration <= decision.max_duration
        assert reachable(rules, ask.identity, ask.resource, ask.account)
        assert holds(rules, ask.identity, ask.resource, ask.account)
    if not matched:
        assert decision.outcome is Outcome.DENY
        assert decision.rule == ""


@given(st.lists(RULE, max_size=6), ASKS)
def test_removing_rules_never_gives_more_than_the_rest_gave_but_for_denies(rules: list[Rule], ask: Ask) -> None:
    gives_only = [each for each in rules if each.gives]
    if decide(rules, ask).outcome is Outcome.ALLOW:
        assert decide(gives_only, ask).outcome is Outcome.ALLOW
    assert decide([each for each in rules if not each.gives], ask).outcome is Outcome.DENY


@given(st.lists(RULE, max_size=6), ASKS)
def test_the_longest_named_in_a_deny_would_have_been_given(rules: list[Rule], ask: Ask) -> None:
    decision = decide(rules, replace(ask, reason="x" * 60, source="10.1.2.3"))
    if decision.outcome is Outcome.DENY and decision.max_duration and not decision.rule:
        given_ = [each for each in rules if "192.0.2.0/24" not in each.networks]
        shorter = replace(ask, duration=decision.max_duration, reason="x" * 60, source="10.1.2.3")
        if decide(given_, replace(shorter, duration=ask.duration)).max_duration == decision.max_duration:
            assert decide(given_, shorter).outcome is Outcome.ALLOW
