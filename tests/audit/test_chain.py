"""Every change of a trail is found, and the first bad row named."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.chain import FIRST, body_digest, canonical, canonical_body, digest, settled, verify
from proxy.core.trail import TrailRow
from tests.audit.trails import SALT, changed, erased, link, link_salted, mixed, trail

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def test_a_whole_trail_is_whole() -> None:
    assert verify(trail(20)) is None
    assert verify([]) is None


def test_a_trail_can_be_taken_up_in_the_middle() -> None:
    rows = trail(20)
    assert verify(rows[7:], (rows[6].seq, rows[6].digest)) is None
    assert verify(rows[7:], FIRST) is not None


@given(st.integers(1, 12), st.data())
def test_a_missing_row_is_named(length: int, data: st.DataObject) -> None:
    rows = trail(length + 1)
    gone = data.draw(st.integers(0, length - 1))
    found = verify([*rows[:gone], *rows[gone + 1 :]])
    assert found is not None
    assert found.seq == gone + 1


@pytest.mark.parametrize(
    "change",
    [
        {"at": 1.0},
        {"node": "n2"},
        {"kind": "grant_revoked"},
        {"actor": "eve"},
        {"subjects": {}},
        {"body": {}},
        {"previous": "ab" * 32},
        {"digest": "ab" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_altered_field_is_named_by_its_row(change: dict[str, Any]) -> None:
    rows = trail(9)
    rows[4] = changed(rows[4], **change)
    found = verify(rows)
    assert found is not None
    assert found.seq == 5


def test_a_row_altered_with_its_own_digest_is_found_at_the_next() -> None:
    rows = trail(9)
    altered = changed(rows[4], actor="eve")
    rows[4] = changed(altered, digest=digest(altered))
    found = verify(rows)
    assert found is not None
    assert found.seq == 6


@given(st.permutations(range(5)))
def test_another_order_is_found(order: list[int]) -> None:
    rows = trail(5)
    found = verify([rows[index] for index in order])
    assert (found is None) == (order == sorted(order))
    if found is not None:
        assert found.seq == next(place for place, index in enumerate(order) if place != index) + 1


@given(st.dictionaries(TEXT, JSON, max_size=4), st.floats(allow_nan=False, allow_infinity=False))
def test_a_row_that_went_through_json_has_the_same_digest(body: dict[str, Any], at: float) -> None:
    row = link(1, at, "n1", "k", "a", {"grant": "g"}, body, "")
    back = changed(row, body=json.loads(json.dumps(body)), at=json.loads(json.dumps(at)))
    assert digest(back) == row.digest


def test_the_digest_is_what_the_page_says() -> None:
    row = link(1, 2.5, "n1", "revoked", "zoë", {"grant": "g"}, {"b": 1, "a": [1.0]}, "")
    text = (
        '{"actor":"zoë","at":2.5,"body":{"a":[1.0],"b":1},"kind":"revoked","node":"n1","previous":"","seq":1,'
        '"subjects":{"grant":"g"}}'
    )
    assert canonical(row) == text.encode()
    assert row.digest == hashlib.sha256(text.encode()).hexdigest()


# -- format 2

HOSTILE = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=8)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | HOSTILE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(HOSTILE | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def test_the_digests_of_format_2_are_what_the_page_says() -> None:
    row = link_salted(7, 2.5, "n1", "revoked", "zoë", {"grant": "g"}, {"b": 1, "a": [1.0]}, "ab", "5a17")
    body = '["5a17","zo\\u00eb",{"grant":"g"},{"a":[1.0],"b":1}]'
    assert canonical_body(row) == body.encode()
    assert row.body_digest == hashlib.sha256(body.encode()).hexdigest()
    whole = f'[2,7,2.5,"n1","revoked","ab","{row.body_digest}"]'
    assert canonical(row) == whole.encode()
    assert row.digest == hashlib.sha256(whole.encode()).hexdigest()


@given(st.lists(st.sampled_from("12e"), max_size=12))
def test_a_chain_in_which_all_kinds_alternate_verifies(kinds: list[str]) -> None:
    assert verify(mixed("".join(kinds))) is None


@given(st.text("12e", min_size=1, max_size=9), st.data())
def test_whatever_is_altered_in_a_row_of_any_kind_is_named(kinds: str, data: st.DataObject) -> None:
    rows = mixed(kinds)
    place = data.draw(st.integers(0, len(rows) - 1))
    row = rows[place]
    change = data.draw(
        st.sampled_from(
            [
                *({"at": row.at + 1}, {"node": "n2"}, {"kind": "grant_revoked"}, {"actor": "eve"}),
                *({"subjects": {"grant": "other"}}, {"body": {"reason": "another"}}, {"digest": "ab" * 32}),
                *({"format": 3 - row.format}, {"format": 3}, {"body_digest": "ab" * 32}, {"salt": "ab" * 16}),
            ]
        )
    )
    rows[place] = changed(row, **change)
    found = verify(rows)
    assert found is not None
    assert found.seq == place + 1


@pytest.mark.parametrize(
    "left",
    [{"actor": "alice"}, {"subjects": {"grant": "g"}}, {"body": {"reason": "x"}}],
    ids=lambda left: next(iter(left)),
)
def test_a_row_that_lost_its_salt_alone_is_altered_not_erased(left: dict[str, Any]) -> None:
    rows = mixed("121")
    rows[1] = changed(erased(rows[1]), **left)
    found = verify(rows)
    assert found is not None
    assert found.what == "row 2 was altered"


def test_a_row_of_format_1_cannot_be_erased() -> None:
    rows = trail(3)
    rows[1] = changed(rows[1], actor="", subjects={}, body={})
    found = verify(rows)
    assert found is not None
    assert found.seq == 2


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": "\ud800"}, {"x": {1, 2}}, {1: 2, "a": 3}])
def test_a_body_that_no_chain_ever_held_is_altered(body: dict[Any, Any]) -> None:
    """A store that was written to by others gives anything; verify says so, and does not fail."""
    for kinds in ("1", "2"):
        (row,) = mixed(kinds)
        assert verify([changed(row, body=body)]) is not None


@given(st.dictionaries(HOSTILE, ANYTHING, max_size=4), st.floats(allow_nan=False, allow_infinity=False), HOSTILE)
def test_there_is_one_form_whatever_store_a_row_came_through(body: dict[str, Any], at: float, name: str) -> None:
    row = link_salted(1, at, "n1", "k", name, {"grant": name}, body, "", SALT)
    assert row.body == settled(row.body)
    for encode in (json.dumps, lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"))):
        back = changed(row, body=json.loads(encode(row.body)), at=json.loads(encode(row.at)))
        assert (digest(back), body_digest(back)) == (row.digest, row.body_digest)
        assert verify([back]) is None
    assert "\0" not in row.actor.encode().decode()


@given(st.integers(-(10**400), 10**400))
def test_a_big_number_keeps_every_digit(number: int) -> None:
    row = link_salted(1, 1.0, "n1", "k", "a", {}, {"number": number}, "", SALT)
    assert row.body == {"number": number}
    other = link_salted(1, 1.0, "n1", "k", "a", {}, {"number": number + 1}, "", SALT)
    assert other.digest != row.digest


def test_a_salt_hides_a_name_that_can_be_guessed() -> None:
    def made(salt: str) -> TrailRow:
        return link_salted(1, 1.0, "n1", "k", "alice", {}, {}, "", salt)

    assert made("aa" * 16).body_digest != made("bb" * 16).body_digest
