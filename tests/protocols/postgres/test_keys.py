"""Cancel keys: whose they are, and that nobody else can make them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.sessions import OWN_PIDS
from proxy.protocols.postgres.keys import LONG, PIDS, SHORT, CancelKeys, digest, own_pid

KEYS = CancelKeys(b"secret")
HERE = "node-a-0", "sess-1"
PID = st.integers(1, PIDS - 1)
LENGTH = st.sampled_from([SHORT, LONG])


@given(PID, LENGTH)
def test_a_key_fits_its_session_and_pid_and_no_other(pid: int, length: int) -> None:
    key = KEYS.key(*HERE, pid, length)
    assert len(key) == length
    assert KEYS.may_fit(pid, key) and KEYS.fits(*HERE, pid, key)
    other = pid ^ 2 or pid ^ 4
    assert not KEYS.fits(*HERE, other, key)
    assert not KEYS.fits(HERE[0], "sess-2", pid, key)
    assert not CancelKeys(b"other").fits(*HERE, pid, key)


@given(PID, LENGTH, st.data())
def test_no_bit_of_it_may_be_another(pid: int, length: int, data: st.DataObject) -> None:
    key = KEYS.key(*HERE, pid, length)
    bit = data.draw(st.integers(0, 8 * length - 1))
    wrong = (int.from_bytes(key, "big") ^ 1 << bit).to_bytes(length, "big")
    assert not KEYS.fits(*HERE, pid, wrong)
    assert KEYS.may_fit(pid, wrong) == (length == SHORT)  # a long one is known for wrong before anybody is asked


def test_a_long_key_holds_where_it_belongs_and_is_not_moved() -> None:
    key = KEYS.key(*HERE, 7, LONG)
    assert key.startswith(digest(HERE[0], 4) + digest(HERE[1], 16))
    assert not KEYS.fits("node-b-0", HERE[1], 7, key)
    moved = digest("node-b-0", 4) + key[4:]
    assert not KEYS.may_fit(7, moved) and not KEYS.fits("node-b-0", HERE[1], 7, moved)


@given(PID)
def test_a_short_key_is_no_part_of_the_long_one(pid: int) -> None:
    assert KEYS.key(*HERE, pid, SHORT) not in KEYS.key(*HERE, pid, LONG)


@pytest.mark.parametrize("key", [b"", b"x", b"x" * 5, b"x" * 31, b"x" * 33, b"x" * 256])
def test_other_lengths_never_fit(key: bytes) -> None:
    assert not KEYS.may_fit(7, key)


@pytest.mark.parametrize("pid", [0, PIDS, PIDS + 7, 2**32 - 1])
def test_other_pids_never_fit(pid: int) -> None:
    assert not KEYS.may_fit(pid, b"four")


def test_a_pid_of_ours_is_none_that_a_system_gives() -> None:
    assert all(OWN_PIDS <= own_pid() < PIDS for _ in range(1000))
