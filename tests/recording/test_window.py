"""Windows are used again: empty, under another name, and not before that is on disk."""

import errno
import threading
import time
from pathlib import Path

import pytest

from proxy.recording import reader, syncing
from proxy.recording.recorder import FileRecordings
from proxy.recording.syncing import Disk, Syncer
from proxy.recording.window import KEPT, KEPT_USED, Spares, Window
from tests.recording.things import records, statement, windows

SIZE = 64 * 1024


def used(folder: Path, name: str, data: bytes = b"what alice asked") -> Window:
    window = Window(folder / name, SIZE)
    window.map[: len(data)] = data
    return window


def test_one_given_back_is_empty_and_taken_once_that_is_on_disk(tmp_path: Path) -> None:
    spares = Spares(tmp_path, SIZE)
    window = used(tmp_path, "s1.j000001")
    spares.give_back(window, 16)
    assert not (tmp_path / "s1.j000001").exists()
    other = spares.take("s2.j000001", 10)
    assert other is not window
    spares.keep(spares.cleared())
    assert spares.take("s3.j000001", 10) is window
    assert (tmp_path / "s3.j000001").read_bytes() == bytes(SIZE)
    other.delete()
    window.delete()
    assert list(tmp_path.iterdir()) == []


def test_what_costs_memory_or_is_too_many_is_deleted(tmp_path: Path) -> None:
    spares = Spares(tmp_path, SIZE)
    spares.give_back(used(tmp_path, "s1.j000001"), KEPT_USED + 1)
    spares.give_back(Window(tmp_path / "s2.j000001", 4 * SIZE), 16)
    assert list(tmp_path.iterdir()) == []
    for number in range(KEPT + 1):
        spares.give_back(used(tmp_path, f"s{number}.j000001"), 16)
    assert len(list(tmp_path.iterdir())) == KEPT
    spares.discard()
    assert list(tmp_path.iterdir()) == []


def test_where_no_name_can_be_made_a_window_is_deleted_and_nobody_is_told_of_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("os.link", full)
    spares = Spares(tmp_path, SIZE)
    spares.give_back(used(tmp_path, "s1.j000001"), 16)
    assert list(tmp_path.iterdir()) == []
    assert spares.cleared() == []


def test_a_round_syncs_what_was_cleared_before_it_may_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spares = Spares(tmp_path, SIZE)
    syncer = Syncer(tmp_path, spares)
    synced: list[set[Path]] = []
    monkeypatch.setattr(Disk, "sync", lambda _, paths: synced.append(set(paths)))
    window = used(tmp_path, "s1.j000001")
    spares.give_back(window, 16)
    syncer._round()
    assert synced == [{window.path}]
    assert spares.take("s2.j000001", 10) is window
    window.delete()


def test_a_disk_that_refuses_gives_none_of_them_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    spares = Spares(tmp_path, SIZE)
    syncer = Syncer(tmp_path, spares)
    monkeypatch.setattr(Disk, "sync", refuse)
    window = used(tmp_path, "s1.j000001")
    spares.give_back(window, 16)
    syncer._round()
    other = spares.take("s2.j000001", 10)
    assert other is not window
    other.delete()
    spares.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_does_not_believe_a_window_that_went_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s1.j000001"
    path.write_bytes(bytes(SIZE))
    read = Path.read_bytes

    def slow(self: Path) -> bytes:
        data = read(self)
        self.rename(tmp_path / "spare-1")
        return data

    assert reader._window(path) == []
    monkeypatch.setattr(Path, "read_bytes", slow)
    assert reader._window(path) is None


async def test_sessions_one_after_the_other_share_no_word(
    recordings: FileRecordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    for number in range(40):
        key, pen = recordings.open(f"s{number}", {"identity": "alice"})
        pen.write(statement(number))
        await pen.close({"end_reason": "idle"})
        keys.append(key)
        home = recordings._started()
        home.syncer._round()  # give back, and have that on disk
        home.syncer._round()
    assert windows(tmp_path) == []
    assert [records(tmp_path, key) for key in keys] == [[statement(number)] for number in range(40)]


class Lines:
    """A journal with frames that are not on disk: see ``syncing.Journal``."""

    def __init__(self, window: Path) -> None:
        self.number, self.synced, self._window = 3, 0, window
        self.told = threading.Event()

    def unsynced(self) -> tuple[Path, ...]:
        return (self._window,)

    def on_disk(self, number: int, windows: tuple[Path, ...]) -> None:
        self.synced = number
        self.told.set()

    def fail(self, error: Exception) -> None:
        raise AssertionError(error)


def test_the_syncer_rests_where_nobody_writes_and_wakes_by_itself_where_somebody_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "INTERVAL", 0.001)
    spares = Spares(tmp_path, SIZE)
    syncer = Syncer(tmp_path, spares)
    syncer.start()
    try:
        for number in range(3):
            lines = Lines(used(tmp_path, f"s{number}.j000001").path)
            syncer.watch(lines)
            assert lines.told.wait(20), "nobody woke it but that somebody may write"
            lines.told.clear()
            lines.number += 1
            assert lines.told.wait(20), "as long as the session lives it looks again"
            syncer.forget(lines)
            until_rests(syncer)
        window = used(tmp_path, "s4.j000001")
        syncer.sealed(syncing.Sealed(tmp_path / "s0.j000001", window, 16, None))
        until_rests(syncer)
        assert spares.take("s5.j000001", 10) is window, "what the last session left was synced and given back"
    finally:
        syncer.stop()
        spares.discard()


def until_rests(syncer: Syncer) -> None:
    deadline = time.monotonic() + 20
    while syncer._work.is_set():
        assert time.monotonic() < deadline
        time.sleep(0.001)
