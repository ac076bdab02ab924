"""An erased row is believed only where a later row names it under a signature."""

from typing import Any

import pytest

from proxy.audit.chain import verify
from proxy.audit.erasure import NEEDED, Erasures, signed_text
from proxy.core.trail import TrailRow
from tests.audit.trails import PUBLIC, SALT, changed, erased, link_salted, mixed, sign


def erasure(before: list[TrailRow], named: list[list[Any]], **changes: Any) -> TrailRow:
    """The row behind those ``before`` that erases those ``named``."""
    kid, signature = sign(signed_text((seq, digest) for seq, digest in named))
    body = {"rows": named, "kid": kid, "signature": signature} | changes
    return link_salted(len(before) + 1, 1.0, "n1", "erased", "dave", {}, body, before[-1].digest, SALT)


def looked(rows: list[TrailRow]) -> Erasures:
    assert verify(rows) is None
    erasures = Erasures(PUBLIC)
    for row in rows:
        erasures.feed([row])
    return erasures


def test_who_erases_rows_with_the_stores_password_is_found() -> None:
    erasures = looked(mixed("12e1e"))
    assert erasures.count == 2
    assert [(each.seq, each.what) for each in erasures.findings()] == [
        (3, "row 3 (request_made) was erased, and no signed erasure names it"),
        (5, "row 5 (request_made) was erased, and no signed erasure names it"),
    ]


def test_a_signed_erasure_names_rows_before_it() -> None:
    rows = mixed("12e1e")
    named = [[row.seq, row.digest] for row in rows if row.erased]
    erasures = looked([*rows, erasure(rows, named)])
    assert (erasures.count, erasures.findings()) == (2, ())


@pytest.mark.parametrize(
    "changes",
    [
        {"kid": "head-2"},
        {"signature": "AAAA"},
        {"signature": None},
        {"rows": None},
        {"rows": [3]},
        {"rows": [[3]]},
        {"rows": [["3", "x"]]},
        {"rows": [[True, "x"]]},
    ],
    ids=str,
)
def test_an_erasure_that_is_not_signed_as_it_stands_names_nothing(changes: dict[str, Any]) -> None:
    rows = mixed("12e")
    rows.append(erasure(rows, [[3, rows[2].digest]], **changes))
    assert [each.seq for each in looked(rows).findings()] == [3]


def test_an_erasure_of_another_row_of_that_number_is_none_of_this() -> None:
    rows = mixed("12e")
    rows.append(erasure(rows, [[3, "ab" * 32]]))
    assert [each.seq for each in looked(rows).findings()] == [3]


def test_a_row_cannot_be_erased_in_advance() -> None:
    rows = mixed("12")
    later = mixed("12e")[2]
    rows.append(erasure(rows, [[4, later.digest]]))
    said = ("n1", "request_made", "alice", {}, {})
    rows.append(erased(link_salted(4, 1.0, *said, rows[-1].digest, SALT)))
    assert [each.seq for each in looked(rows).findings()] == [4]


@pytest.mark.parametrize("kind", sorted(NEEDED))
def test_what_the_gateway_goes_by_can_never_be_erased(kind: str) -> None:
    first = erased(link_salted(1, 1.0, "n1", kind, "alice", {"grant": "g"}, {}, "", SALT))
    rows = [first, erasure([first], [[1, first.digest]])]
    (finding,) = looked(rows).findings()
    assert finding.seq == 1
    assert "may not be" in finding.what


def test_an_erased_erasure_names_nothing() -> None:
    rows = mixed("12e")
    rows.append(changed(erased(erasure(rows, [[3, rows[2].digest]]))))
    assert [each.seq for each in looked(rows).findings()] == [3, 4]
