"""Every change of a trail is found, and the first bad row named."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.chain import FIRST, canonical, digest, link, verify
from tests.audit.trails import changed, trail

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
