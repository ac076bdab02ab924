"""Counting what repeats: nothing is lost, and memory is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.access.coalesce import Coalescer


def test_the_first_is_written_and_the_rest_counted_until_the_window_closes() -> None:
    coalescer: Coalescer[str] = Coalescer(10.0)
    assert coalescer.first("a", "1", 0.0)
    assert not coalescer.first("a", "2", 9.9)
    assert coalescer.first("b", "3", 9.9)
    assert coalescer.closed(9.9) == []
    assert coalescer.closed(10.0) == [("2", 1)]
    assert coalescer.first("a", "4", 10.0)
    assert coalescer.closed(100.0) == []


def test_the_newest_of_a_kind_can_be_asked_for_and_beyond_the_limit_all_are_one_kind() -> None:
    coalescer: Coalescer[str] = Coalescer(10.0, limit=1)
    assert coalescer.last("a") is None
    coalescer.first("a", "1", 0.0)
    coalescer.first("a", "2", 0.0)
    coalescer.first("b", "3", 0.0)
    assert (coalescer.last("a"), coalescer.last("b"), coalescer.last("c")) == ("2", "3", "3")


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 5), st.booleans()), max_size=200))
def test_nothing_is_lost_whatever_happens(steps: list[tuple[int, float, bool]]) -> None:
    coalescer: Coalescer[int] = Coalescer(10.0, limit=8)
    now, written, refused = 0.0, 0, 0
    for kind, passed, works in steps:
        now += passed
        refused += 1
        if coalescer.first((kind,), kind, now):
            if works:
                written += 1
            else:
                coalescer.missed((kind,), kind, now)
        closed = coalescer.closed(now)
        if works:
            written += sum(times for _, times in closed)
        else:
            coalescer.unwritten(closed, now)
    written += sum(times for _, times in coalescer.closed(float("inf")))
    assert written == refused
