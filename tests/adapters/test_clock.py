"""Clocks go on; ids sort by time and cannot be guessed."""

import re

from hypothesis import given
from hypothesis import strategies as st

from proxy.adapters.clock import ALPHABET, SystemClock, UlidIds, base32
from tests.fakes.clock import FakeClock


def test_the_clocks_go_forward() -> None:
    clock = SystemClock()
    for read in (clock.now, clock.monotonic, clock.boottime):
        assert read() <= read()
    assert clock.now() > 1_700_000_000
    assert clock.boottime() >= clock.monotonic() - 1


def test_an_id_has_its_kind_and_a_ulid() -> None:
    ids = UlidIds(SystemClock())
    assert re.fullmatch(r"grant-[0-7][0-9a-hjkmnp-tv-z]{25}", ids.new("grant"))


def test_ids_sort_by_time() -> None:
    clock = FakeClock()
    ids = UlidIds(clock)
    made = []
    for _ in range(50):
        made.append(ids.new("request"))
        clock.advance(0.01)
    assert made == sorted(made)


def test_ids_of_one_process_keep_their_order_whatever_the_clock_does() -> None:
    clock = FakeClock()
    ids = UlidIds(clock)
    made = []
    for jump in [0.0] * 50 + [-3600.0] * 50:
        made.append(ids.new("request"))
        clock.jump(jump)
    assert made == sorted(made)


def test_ids_of_one_moment_differ() -> None:
    ids = UlidIds(FakeClock())
    assert len({ids.new("session") for _ in range(1000)}) == 1000


def test_the_specification_s_example() -> None:
    """https://github.com/ulid/spec: 01ARZ3NDEKTSV4RRFFQ69G5FAV."""
    assert base32(0x01563E3AB5D3D6764C61EFB99302BD5B) == "01arz3ndektsv4rrffq69g5fav"


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**128 - 1))
def test_base32_keeps_order_and_loses_nothing(one: int, other: int) -> None:
    assert (base32(one) < base32(other)) == (one < other)
    back = 0
    for digit in base32(one):
        back = back << 5 | ALPHABET.index(digit)
    assert back == one
