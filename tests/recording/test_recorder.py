"""Recordings on a real disk: written, sealed, synced, refused."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from proxy.core.errors import Unavailable
from proxy.core.records import StatementFinished
from proxy.recording import codec, syncing
from proxy.recording.container import SUFFIX
from proxy.recording.reader import Recording, verify
from proxy.recording.recorder import FileRecordings
from tests.fakes.clock import FakeClock
from tests.recording.things import records, statement, windows


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


async def test_what_is_written_is_read_back_sealed(recordings: FileRecordings, tmp_path: Path) -> None:
    key, pen = recordings.open("s1", {"identity": "alice"})
    written = [statement(seq, b"x" * (seq % 300)) for seq in range(1, 200)]
    for each in written:
        pen.write(each)
    digest = await pen.close({"end_reason": "client_closed"})
    assert records(tmp_path, key) == written
    found = verify(tmp_path, key)
    assert (found.problem, found.digest) == ("", digest)
    assert (found.header["identity"], found.header["session"]) == ("alice", "s1")
    assert (found.end["end_reason"], found.end["truncated"]) == ("client_closed", False)
    assert (recordings.lag_bytes, recordings.failures) == (0, 0)
    assert recordings.digest_of(key) == digest


async def test_records_know_both_clocks_also_when_the_wall_clock_is_set(
    recordings: FileRecordings, tmp_path: Path, clock: FakeClock
) -> None:
    begun = clock.now()
    key, pen = recordings.open("s1", {})
    clock.advance(2.5)
    pen.write(statement(1))
    clock.jump(3600.0)
    clock.advance(120.0)
    pen.write(statement(2))
    await pen.close({})
    found = [(round(each.at - begun, 6), each.offset) for each in Recording(tmp_path, key).records()]
    assert found == [(2.5, 2.5), (3722.5, 122.5)]


async def test_a_record_longer_than_a_window_has_one_of_its_own(recordings: FileRecordings, tmp_path: Path) -> None:
    key, pen = recordings.open("s1", {"header": "x" * 9000})
    huge = statement(2, os.urandom(3_000_000))
    for each in (statement(1), huge, statement(3)):
        pen.write(each)
    assert records(tmp_path, key) == [statement(1), huge, statement(3)]
    digest = await pen.close({"detail": "y" * 9000})
    assert records(tmp_path, key) == [statement(1), huge, statement(3)]
    assert verify(tmp_path, key).digest == digest


async def test_a_record_that_begins_a_new_window_is_made_once(
    recordings: FileRecordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making it is the dear part where it has very many bind values."""
    made: list[object] = []

    def counted(record: StatementFinished, at: float, number: int) -> bytes:
        made.append(record)
        return codec.finished(record, at, number)

    monkeypatch.setattr("proxy.recording.journal._ENCODERS", {**codec.ENCODERS, StatementFinished: counted})
    key, pen = recordings.open("s1", {})
    written = [
        StatementFinished(seq, 1, b"", -1, 0, b"22012", b"division by zero" * (seq % 99), 73)
        for seq in range(1, 400)
    ]
    for each in written:
        pen.write(each)
    await pen.close({})
    assert made == written
    assert records(tmp_path, key) == written
    assert verify(tmp_path, key).problem == ""


async def test_many_sessions_at_once_keep_apart(recordings: FileRecordings, tmp_path: Path) -> None:
    pens = [recordings.open(f"s{number}", {}) for number in range(60)]
    for seq in range(1, 120):
        for number, (_, pen) in enumerate(pens):
            pen.write(statement(seq, b"%d" % number))
    digests = await asyncio.gather(*(pen.close({}) for _, pen in pens))
    for number, (key, _) in enumerate(pens):
        assert records(tmp_path, key) == [statement(seq, b"%d" % number) for seq in range(1, 120)]
        assert verify(tmp_path, key).digest == digests[number]


async def test_only_the_owner_may_look(recordings: FileRecordings, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        key, pen = recordings.open("s1", {})
        for seq in range(100):
            pen.write(statement(seq))
        live = [*tmp_path.rglob("*")]  # noqa: ASYNC240
        await pen.close({})
    finally:
        os.umask(before)
    assert (tmp_path / f"{key}{SUFFIX}").is_file()
    for path in (*live, *tmp_path.rglob("*")):  # noqa: ASYNC240
        assert not path.exists() or stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize("session", ["../s1", "a/b", "", "S1", "s1.tgr", "-", "s" * 129])
async def test_an_id_that_is_no_name_is_refused(recordings: FileRecordings, session: str) -> None:
    with pytest.raises((ValueError, Unavailable)):
        recordings.open(session, {})


async def test_a_session_is_recorded_once(recordings: FileRecordings, tmp_path: Path) -> None:
    key, pen = recordings.open("s1", {})
    pen.write(statement(1))
    for _ in range(40):
        with pytest.raises(Unavailable):
            recordings.open("s1", {})
    digest = await pen.close({})
    async with asyncio.timeout(10):
        while windows(tmp_path):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    _, pen = recordings.open("s1", {})
    with pytest.raises(Unavailable):
        await pen.close({})
    assert verify(tmp_path, key).digest == digest


async def test_nothing_is_written_after_the_end(recordings: FileRecordings) -> None:
    _, pen = recordings.open("s1", {})
    await pen.close({})
    with pytest.raises(Unavailable) as caught:
        pen.write(statement(1))
    assert caught.value.code == "recorder_failed"
    with pytest.raises(Unavailable):
        await pen.close({})


# -- failing --------------------------------------------------------------------------------------------------


async def test_a_full_disk_breaks_the_recording_for_good_and_keeps_what_was_written(
    recordings: FileRecordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, pen = recordings.open("s1", {})
    monkeypatch.setattr(os, "posix_fallocate", full)
    written = 0
    with pytest.raises(Unavailable) as caught:
        for seq in range(1, 9000):
            pen.write(statement(seq))
            written = seq
    assert caught.value.code == "recorder_failed"
    assert "No space left" not in caught.value.public
    assert recordings.failures > 0
    monkeypatch.undo()
    with pytest.raises(Unavailable):
        pen.write(statement(1))
    digest = await pen.close({"end_reason": "recorder_failed"})
    found = verify(tmp_path, key)
    assert (found.problem, found.digest, found.end["truncated"]) == ("", digest, True)
    assert records(tmp_path, key) == [statement(seq) for seq in range(1, written + 1)]


async def test_a_full_disk_refuses_new_recordings_until_there_is_room(
    recordings: FileRecordings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Unavailable) as caught:
        for number in range(40):
            _, pen = recordings.open(f"s{number}", {})
            await pen.close({})
    assert caught.value.code == "recorder_failed"
    clock.advance(2.0)
    with pytest.raises(Unavailable):
        recordings.ready()
    monkeypatch.undo()
    with pytest.raises(Unavailable):
        recordings.ready()  # asked again within the second: not looked again
    clock.advance(2.0)
    recordings.ready()
    key, pen = recordings.open("later", {})
    await pen.close({})
    assert verify(tmp_path, key).problem == ""


async def test_a_container_that_cannot_be_written_breaks_the_recording_and_keeps_its_windows(
    recordings: FileRecordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, pen = recordings.open("s1", {})
    pen.write(statement(1))
    while not (tmp_path / f"{key}{SUFFIX}").exists():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Unavailable):
        for seq in range(2, 1_000_000):
            pen.write(statement(seq))
            await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await pen.close({})
    monkeypatch.undo()
    assert windows(tmp_path)
    found = records(tmp_path, key)
    assert found[:1] == [statement(1)]
    assert len(found) > 40


async def test_a_record_that_cannot_be_written_down_ends_the_recording(recordings: FileRecordings) -> None:
    _, pen = recordings.open("s1", {})
    with pytest.raises(Unavailable) as caught:
        pen.write(StatementFinished(2**40, 0, b"", 0, 0, b"", b"", 73))
    assert caught.value.code == "recorder_failed"
    with pytest.raises(Unavailable):
        pen.write(statement(1))
    await pen.close({})


def test_too_little_room_refuses_new_recordings(tmp_path: Path) -> None:
    recordings = FileRecordings(tmp_path, FakeClock(), min_free=1 << 62)
    recordings.start()
    try:
        with pytest.raises(Unavailable) as caught:
            recordings.open("s1", {})
        assert caught.value.code == "recorder_failed"
    finally:
        recordings.stop()


def test_a_folder_that_cannot_be_made_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        FileRecordings(tmp_path / "file" / "recordings", FakeClock()).start()


async def test_before_the_start_nothing_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        FileRecordings(tmp_path, FakeClock(), min_free=0).open("s1", {})


# -- disk --------------------------------------------------------------------------------------------------


class Synced:
    """Notes which files are synced, and can refuse."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[Path] = []
        self.refuse = False
        self._sync = syncing.Disk.sync
        monkeypatch.setattr(syncing.Disk, "sync", lambda disk, paths: self._noted(disk, paths))

    def _noted(self, disk: syncing.Disk, paths: set[Path]) -> None:
        if self.refuse:
            raise OSError(5, "Input/output error")
        self.paths += paths
        self._sync(disk, paths)


async def test_durable_waits_until_the_window_is_on_disk(
    recordings: FileRecordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = Synced(monkeypatch)
    _, pen = recordings.open("s1", {})
    for seq in range(300):
        pen.write(statement(seq))
    await pen.durable()
    assert pen.synced == pen.number
    assert any(path.name.startswith("s1.j") for path in synced.paths)
    pen.write(statement(300))
    assert pen.synced < pen.number
    await asyncio.gather(pen.durable(), pen.durable(), pen.durable())
    assert pen.synced == pen.number
    await pen.close({})


async def test_what_nobody_waits_for_is_on_disk_soon(recordings: FileRecordings) -> None:
    _, pen = recordings.open("s1", {})
    pen.write(statement(1))
    async with asyncio.timeout(10):
        while pen.synced != pen.number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await pen.close({})


async def test_a_disk_that_refuses_to_sync_breaks_the_recording(
    recordings: FileRecordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = Synced(monkeypatch)
    _, pen = recordings.open("s1", {})
    pen.write(statement(1))
    synced.refuse = True
    with pytest.raises(Unavailable) as caught:
        await pen.durable()
    assert caught.value.code == "recorder_failed"
    with pytest.raises(Unavailable):
        pen.write(statement(2))
    synced.refuse = False
    await pen.close({})


async def test_with_durability_disk_the_end_is_on_disk_when_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = Synced(monkeypatch)
    recordings = FileRecordings(tmp_path, FakeClock(), durability="disk", min_free=0)
    recordings.start()
    key, pen = recordings.open("s1", {})
    await pen.close({})
    assert tmp_path / f"{key}{SUFFIX}" in synced.paths
    assert windows(tmp_path) == []
    recordings.stop()


async def test_stopping_leaves_no_window_of_a_closed_session(tmp_path: Path) -> None:
    recordings = FileRecordings(tmp_path, FakeClock(), window=4096, min_free=0)
    recordings.start()
    key, pen = recordings.open("s1", {})
    for seq in range(200):
        pen.write(statement(seq))
    await pen.close({})
    recordings.stop()
    recordings.stop()
    assert [each.name for each in (tmp_path / "live").iterdir()] == ["sealing"]
    assert len(records(tmp_path, key)) == 200
