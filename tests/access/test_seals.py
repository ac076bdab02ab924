"""What a seal holds, against somebody who can write to every column of the store but has no key."""

import json
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access import seals
from proxy.access.seals import CONDITIONS_1, GRANT_1, Seals
from proxy.core.access import Approval, Considered, Decision, Grant, Outcome, Request
from proxy.core.states import RequestStatus
from proxy.core.words import read
from tests.access.world import MemorySeal

KEY = MemorySeal()
SEAL = Seals(KEY)


def a_grant(**changes: Any) -> Grant:
    given = {"id": "grant-1", "request": "r", "identity": "alice", "resource": "shop", "account": "owner"}
    return Grant(**{**given, "starts": 10.0, "ends": 20.5, "networks": ("10.0.0.0/8",), **changes})


def a_request(**changes: Any) -> Request:
    given: dict[str, Any] = {
        "id": "request-1",
        "identity": "alice",
        "groups": frozenset({"b", "a"}),
        "resource": "shop",
        "account": "owner",
        "duration": 60.0,
        "reason": "",
        "status": RequestStatus.PENDING,
        "created": 1.0,
        "expires": 2.0,
        "decision": Decision(Outcome.NEEDS_APPROVAL, "rule", approvals=2, trace=(Considered("r", True, "w"),)),
        "approvals": (Approval("bob", True, 1.5),),
    }
    return Request(**{**given, **changes})


def as_1(grant: Grant) -> Grant:
    """The grant as 2881ff7 sealed it."""
    text = json.dumps(
        {name: seals.even(seals.plain(getattr(grant, name))) for name in GRANT_1},
        sort_keys=True,
        separators=(",", ":"),
    )
    return replace(grant, sealed="", mac=KEY.mac("grant 1", text))


ROWS = [a_grant(), a_request()]
OTHER = {
    str: "other",
    float: 99.0,
    type(None): 99.0,
    tuple: ("other",),
    dict: {"other": 1},
    frozenset: frozenset("o"),
}


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    return OTHER.get(type(value), "other")


@pytest.mark.parametrize("row", ROWS)
def test_a_column_or_the_text_or_the_code_changed_alone_voids_the_row(row: Any) -> None:
    sealed = SEAL.seal(row)
    assert (SEAL.intact(sealed), SEAL.newer(sealed), SEAL.usable(sealed)) == (True, False, True)
    assert not SEAL.intact(row), "without a seal"
    for each in fields(sealed):
        assert not SEAL.intact(replace(sealed, **{each.name: changed(getattr(sealed, each.name))})), each.name
    text = json.loads(sealed.sealed)
    for name in text["fields"]:
        said = {**text, "fields": {**text["fields"], name: changed(text["fields"][name])}}
        forged = replace(sealed, sealed=json.dumps(said))
        assert not SEAL.intact(forged), name
        assert not SEAL.intact(SEAL.seal(forged)) or SEAL.seal(forged) == sealed, "a forged text is not taken up"


@pytest.mark.parametrize("row", ROWS)
def test_a_column_and_the_text_changed_together_void_it_too(row: Any) -> None:
    sealed = SEAL.seal(row)
    forged = replace(sealed, identity="eve", sealed=sealed.sealed.replace("alice", "eve"))
    assert forged.sealed != sealed.sealed
    assert not SEAL.intact(forged)


def test_the_seal_of_another_row_or_another_kind_of_row_is_none() -> None:
    one, two = SEAL.seal(a_grant()), SEAL.seal(a_grant(id="grant-2", ends=9e9))
    assert not SEAL.intact(replace(one, sealed=two.sealed, mac=two.mac))
    vote = SEAL.seal(Vote("grant-1"))
    assert SEAL.intact(vote)
    assert not SEAL.intact(replace(vote, mac=KEY.mac("grant 2", vote.sealed)))
    assert not SEAL.intact(replace(one, mac=KEY.mac("vote 2", one.sealed)))
    assert not SEAL.intact(replace(one, mac=KEY.mac("grant 1", one.sealed)))


@pytest.mark.parametrize(
    "text", ["{}", "[]", "1", "null", '{"fields":1,"must":[]}', "[" * 9000, '{"fields":{},"must":1}']
)
def test_a_text_that_is_none_of_ours_is_no_error(text: str) -> None:
    assert not SEAL.intact(replace(a_grant(), sealed=text, mac="00"))
    assert not SEAL.intact(replace(a_grant(), sealed=text, mac=KEY.mac("grant 2", text)))
    assert not SEAL.intact(replace(a_grant(), sealed=text, mac="\N{SNOWMAN}"))


# -- seal 1


def test_the_fields_of_seal_1_are_those_of_2881ff7() -> None:
    """Written out: a field added to ``Grant`` must never be added here."""
    first = "id request identity resource account starts ends networks databases conditions rule"
    assert tuple(f"{first} revoked revoked_by revoked_reason".split()) == GRANT_1


def test_a_grant_of_before_holds_as_it_is() -> None:
    old = as_1(a_grant(conditions={"record_rows": 20}))
    assert (SEAL.intact(old), SEAL.newer(old), SEAL.usable(old)) == (True, False, True)
    for name in GRANT_1:
        assert not SEAL.intact(replace(old, **{name: changed(getattr(old, name))})), name
    ended = SEAL.seal(replace(old, revoked=15.0))
    assert (SEAL.intact(ended), ended.sealed != "") == (True, True)


@dataclass(frozen=True, slots=True)
class Later(Grant):
    """A grant of a later version: ``mask`` narrows it, ``note`` does not."""

    mask: str = field(default="", metadata={"must": True})
    note: str = ""


def as_later(grant: Grant, **more: Any) -> Later:
    return Later(**{each.name: getattr(grant, each.name) for each in fields(grant)}, **more)


def as_now(later: Later) -> Grant:
    """What this version reads of a later one's row: the columns that it knows."""
    return Grant(**{each.name: getattr(later, each.name) for each in fields(Grant)})


def test_seal_1_says_nothing_of_later_fields() -> None:
    old = as_later(as_1(a_grant()))
    assert SEAL.intact(old)
    assert not SEAL.intact(replace(old, note="x"))
    assert not SEAL.intact(replace(old, mask="x"))


def test_nobody_goes_back_from_seal_2_to_seal_1() -> None:
    """Whoever can write to the store blanks what narrows a grant: with the text, without it, or with its row's name
    taken out of the text."""
    sealed = SEAL.seal(as_later(a_grant(), mask="email", note="x"))
    assert SEAL.intact(sealed)
    assert not SEAL.intact(replace(sealed, sealed=""))
    assert not SEAL.intact(replace(sealed, mask=""))
    assert not SEAL.intact(replace(sealed, mask="", note="", sealed=""))
    assert not SEAL.intact(as_now(replace(sealed, sealed="")))
    plain_text = SEAL.seal(a_grant()).sealed
    assert not SEAL.intact(replace(sealed, mask="", note="", sealed=plain_text))
    assert not SEAL.intact(replace(as_now(sealed), sealed=plain_text))


def test_a_request_of_before_has_no_seal() -> None:
    assert not SEAL.intact(a_request())
    assert not SEAL.intact(replace(SEAL.seal(a_request()), sealed=""))
    assert not SEAL.intact(replace(SEAL.seal(a_request()), sealed="", mac=""))


# -- rows of a later version


def test_a_new_field_at_its_default_changes_no_seal() -> None:
    later, now = SEAL.seal(as_later(a_grant())), SEAL.seal(a_grant())
    assert (later.sealed, later.mac) == (now.sealed, now.mac)
    assert SEAL.intact(as_later(now))


def test_a_later_version_s_row_is_intact_and_newer_and_usable_but_for_what_must_be_understood() -> None:
    noted, masked = SEAL.seal(as_later(a_grant(), note="x")), SEAL.seal(as_later(a_grant(), mask="email"))
    assert (SEAL.newer(noted), SEAL.usable(noted), SEAL.usable(masked)) == (False, True, True), "to that version"
    for row, usable in ((as_now(noted), True), (as_now(masked), False)):
        assert (SEAL.intact(row), SEAL.newer(row), SEAL.usable(row)) == (True, True, usable)
        assert not SEAL.intact(replace(row, ends=99.0))


def test_who_ends_a_later_version_s_row_loses_nothing_of_it() -> None:
    later = SEAL.seal(as_later(a_grant(), note="x", mask="email"))
    ended = SEAL.seal(replace(as_now(later), revoked=15.0))
    assert (SEAL.intact(ended), SEAL.usable(ended)) == (True, False)
    again = as_later(ended, note="x", mask="email")
    assert (SEAL.intact(again), SEAL.newer(again)) == (True, False)
    assert not SEAL.intact(as_later(ended, note="x"))


def test_a_condition_of_a_later_version_is_one_that_must_be_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever adds one need not think of it: what narrows a grant is overlooked by nobody."""
    with monkeypatch.context() as later:
        later.setattr(seals, "CONDITIONS", seals.CONDITIONS | {"quota"})
        row = SEAL.seal(a_grant(conditions={"quota": 5, "record_rows": 20}))
        assert (SEAL.intact(row), SEAL.newer(row), SEAL.usable(row)) == (True, False, True)
    assert json.loads(row.sealed)["must"] == ["conditions.quota"]
    assert (SEAL.intact(row), SEAL.newer(row), SEAL.usable(row)) == (True, True, False)
    ended = SEAL.seal(replace(row, revoked=15.0))
    assert json.loads(ended.sealed)["must"] == ["conditions.quota"]


def test_a_condition_of_before_is_understood_by_all() -> None:
    row = SEAL.seal(a_grant(conditions=dict.fromkeys(CONDITIONS_1, 1)))
    assert json.loads(row.sealed)["must"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"status": RequestStatus("second_stage")},
        {"decision": read(Decision, {"outcome": Outcome.ALLOW, "later": 1})},
        {"decision": Decision(Outcome("perhaps"))},
        {"decision": Decision(Outcome.ALLOW, trace=(Considered("r", True, "w", {"later": 1}),))},
        {"approvals": (Approval("bob", True, 1.5), Approval("bea", True, 1.6, "", newer={"weight": 2}))},
    ],
)
def test_a_later_word_anywhere_in_a_request_makes_it_newer(change: dict[str, Any]) -> None:
    row = SEAL.seal(a_request(**change))
    assert (SEAL.intact(row), SEAL.newer(row)) == (True, True)


# -- any row


@dataclass(frozen=True, slots=True)
class Vote:
    SEALED_AS: ClassVar[str] = "vote"

    id: str
    weight: float = 0.0
    hidden: bool = False
    sealed: str = ""
    mac: str = ""


VALUES = st.sampled_from([0, 1, 0.0, 1.0, True, False, 2.5])


@given(weight=VALUES, hidden=VALUES, id=st.text(max_size=5))
def test_any_row_is_as_it_was_sealed_and_no_other(weight: Any, hidden: Any, id: str) -> None:
    sealed = SEAL.seal(Vote(id, weight, hidden))
    assert SEAL.intact(sealed)
    for each in (0, 1, True, False, 2.5):
        same = json.dumps(seals.even(each)) == json.dumps(seals.even(weight))
        assert SEAL.intact(replace(sealed, weight=each)) is same, (each, weight)
