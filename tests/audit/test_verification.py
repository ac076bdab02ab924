"""A trail is held against its heads and its recordings against the trail."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.verification import Verifier, verify_trail
from tests.audit.trails import PUBLIC, changed, head, trail


def test_a_whole_trail_with_its_heads() -> None:
    rows = trail(20)
    report = verify_trail(rows, [head(rows[4]), head(rows[19]), head(rows[19])], PUBLIC)
    assert (report.rows, report.heads, report.first_bad) == (20, 3, None)
    assert verify_trail([], [], PUBLIC).first_bad is None


def test_a_cut_end_is_found_by_a_head() -> None:
    rows = trail(20)
    found = verify_trail(rows[:12], [head(rows[4]), head(rows[19])], PUBLIC).first_bad
    assert found is not None
    assert found.seq == 13
    assert "20 rows" in found.what
    whole = verify_trail([], [head(rows[0])], PUBLIC).first_bad
    assert whole is not None
    assert whole.seq == 1


def test_a_trail_written_anew_is_found_by_a_head() -> None:
    rows, anew = trail(20), trail(20, word="y")
    found = verify_trail(anew, [head(rows[6]), head(rows[19])], PUBLIC).first_bad
    assert found is not None
    assert found.seq == 7
    assert "written anew" in found.what


def test_a_bad_head_is_a_finding() -> None:
    rows = trail(8)
    found = verify_trail(rows, [changed_head(rows[3])], PUBLIC).first_bad
    assert found is not None
    assert found.seq == 4
    assert "signature" in found.what
    unknown = verify_trail(rows, [head(rows[3])], {}).first_bad
    assert unknown is not None
    assert "unknown key" in unknown.what


def changed_head(row: object) -> object:
    import dataclasses

    return dataclasses.replace(head(row), at=1.0)  # type: ignore[arg-type]


def test_the_first_bad_row_counts_whatever_comes_after() -> None:
    rows = trail(20)
    rows[2] = changed(rows[2], actor="eve")
    del rows[10]
    report = verify_trail(rows, [head(trail(20)[19])], PUBLIC)
    assert report.first_bad is not None
    assert (report.first_bad.seq, report.rows) == (3, 2)


@given(st.integers(0, 12), st.sets(st.integers(1, 12)), st.integers(1, 5))
def test_in_pages_as_at_once(length: int, signed: set[int], page: int) -> None:
    rows = trail(12)
    heads = [head(rows[seq - 1]) for seq in sorted(signed)]
    verifier = Verifier(PUBLIC)
    for begin in range(0, length, page):
        part = rows[begin : min(begin + page, length)]
        verifier.feed(part, [each for each in heads if begin < each.seq <= part[-1].seq])
    verifier.feed([], [each for each in heads if each.seq > length])
    at_once = verify_trail(rows[:length], heads, PUBLIC)
    assert verifier.report() == at_once
    assert (at_once.first_bad is not None) == (max(signed, default=0) > length)


def test_a_report_says_how_far_good_heads_vouch() -> None:
    rows = trail(20)
    assert verify_trail(rows, [head(rows[4]), head(rows[11])], PUBLIC).signed == 12
    assert verify_trail(rows, [], PUBLIC).signed == 0
    assert verify_trail(rows, [head(rows[4]), changed_head(rows[11])], PUBLIC).signed == 5
