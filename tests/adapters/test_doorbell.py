"""The doorbell rings whoever listens, and never waits, raises, or leaves a dead bell hanging."""

import select
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.adapters.doorbell import Bell, UnixDoorbell, bells, listen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bells(tmp_path)


@pytest.fixture
def doorbell(folder: Path) -> Iterator[UnixDoorbell]:
    with closing(UnixDoorbell(folder)) as made:
        yield made


def rung(bell: Bell) -> bool:
    return bool(select.select([bell], [], [], 0)[0])


def test_all_bells_are_rung(folder: Path, doorbell: UnixDoorbell) -> None:
    with listen(folder / "one.bell") as one, listen(folder / "two.bell") as two:
        assert not rung(one)
        doorbell.ring()
        assert rung(one)
        assert rung(two)
        one.hush()
        assert not rung(one)
        assert rung(two)


def test_nobody_there_is_no_error(doorbell: UnixDoorbell, folder: Path) -> None:
    doorbell.ring()
    folder.mkdir()
    doorbell.ring()


def test_a_full_bell_does_not_hold_up_the_ringer(folder: Path, doorbell: UnixDoorbell) -> None:
    with listen(folder / "one.bell") as deaf, listen(folder / "two.bell") as bell:
        for _ in range(5000):
            doorbell.ring()
            bell.hush()
        doorbell.ring()
        assert rung(bell)
        deaf.hush()
        assert not rung(deaf)


def test_the_bell_of_a_dead_process_is_left_to_who_starts_the_next(folder: Path, doorbell: UnixDoorbell) -> None:
    """Whoever rings cannot tell it from one that has been bound anew since: that one would never be rung."""
    folder.mkdir()
    dead = folder / "dead.bell"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as abandoned:
        abandoned.bind(str(dead))
    with listen(folder / "one.bell") as bell:
        doorbell.ring()
        assert rung(bell)
    assert dead.exists()


def test_who_leaves_late_does_not_take_its_successor_s_bell_down(folder: Path, doorbell: UnixDoorbell) -> None:
    late = listen(folder / "one.bell")
    with listen(folder / "one.bell") as bell:
        late.close()
        doorbell.ring()
        assert rung(bell)
    assert not (folder / "one.bell").exists()


def test_other_files_are_left_alone(folder: Path, doorbell: UnixDoorbell) -> None:
    folder.mkdir()
    other, odd = folder / "notes.txt", folder / "file.bell"
    other.touch()
    odd.touch()
    doorbell.ring()
    assert other.exists()


def test_a_successor_takes_the_bell_over(folder: Path, doorbell: UnixDoorbell) -> None:
    folder.mkdir()
    path = folder / "one.bell"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as abandoned:
        abandoned.bind(str(path))
    with listen(path) as bell:
        doorbell.ring()
        assert rung(bell)
    assert not path.exists()


def test_a_bell_has_a_bell_s_name(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"\.bell"):
        listen(folder / "one.sock")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_a_folder_may_be_deeper_than_a_sockets_address(folder: Path) -> None:
    """People's folders are: the gateway ended with "AF_UNIX path too long"."""
    deep = folder / ("deep" * 20) / ("down" * 20)
    with listen(deep / "one.bell") as bell:
        with closing(UnixDoorbell(deep)) as doorbell:
            doorbell.ring()
        assert rung(bell)
    assert list(deep.iterdir()) == []


def test_a_name_that_is_too_long_is_an_error(folder: Path) -> None:
    with pytest.raises(OSError):
        listen(folder / ("x" * 200 + ".bell"))
