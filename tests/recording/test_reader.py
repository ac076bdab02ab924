"""Reading what is being written, and refusing what leads elsewhere."""

import asyncio
import threading
from pathlib import Path

import pytest

from proxy.core.records import Record
from proxy.recording import reader
from proxy.recording.container import SUFFIX, Altered
from proxy.recording.frames import Frame
from proxy.recording.reader import Recording, digest_of
from proxy.recording.recorder import FileRecordings
from tests.fakes.clock import FakeClock
from tests.recording.things import records, statement, windows


async def test_a_live_recording_is_read_while_windows_are_sealed(
    recordings: FileRecordings, tmp_path: Path
) -> None:
    key, pen = recordings.open("s1", {"identity": "alice"})
    for seq in range(1, 1500):
        pen.write(statement(seq))
        if seq % 37 == 0:
            recording = Recording(tmp_path, key)
            found = [each.record.seq for each in recording.records()]  # type: ignore[union-attr]
            assert found == list(range(1, seq + 1))
            assert (recording.header["identity"], recording.end) == ("alice", {})
            await asyncio.sleep(0)
    await pen.close({})


async def test_readers_beside_the_writer_always_see_a_prefix(recordings: FileRecordings, tmp_path: Path) -> None:
    key, pen = recordings.open("s1", {})
    seen: list[int] = []
    problems: list[object] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                found: list[Record] = records(tmp_path, key)
                if found != [statement(seq) for seq in range(1, len(found) + 1)]:
                    problems.append(found)
                seen.append(len(found))
        except Exception as error:
            problems.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for seq in range(1, 6000):
            pen.write(statement(seq))
            if seq % 100 == 0:
                await asyncio.sleep(0)
        await pen.close({})
    finally:
        done.set()
        reader.join()
    assert problems == []
    assert seen == sorted(seen)
    assert len(records(tmp_path, key)) == 5999


async def test_the_tail_of_a_live_recording_is_what_is_not_sealed(
    recordings: FileRecordings, tmp_path: Path, clock: FakeClock
) -> None:
    key, pen = recordings.open("s1", {})
    for seq in range(1, 1400):
        clock.advance(0.001)
        pen.write(statement(seq))
    async with asyncio.timeout(10):
        while len(windows(tmp_path)) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    tail = [each.record.seq for each in Recording(tmp_path, key).tail()]  # type: ignore[union-attr]
    assert 0 < len(tail) < 100
    assert tail == list(range(1400 - len(tail), 1400))
    await pen.close({})
    assert list(Recording(tmp_path, key).records())[-1].record == statement(1399)


async def test_a_window_that_is_gone_is_noticed(recordings: FileRecordings, tmp_path: Path) -> None:
    key, pen = recordings.open("s1", {})
    pen.write(statement(1))
    path, begun = tmp_path / f"{key}{SUFFIX}", b""
    async with asyncio.timeout(10):
        while b"}" not in begun:
            await asyncio.sleep(0.001)
            begun = path.read_bytes() if path.exists() else b""
    for seq in range(2, 200):
        pen.write(statement(seq))
    async with asyncio.timeout(10):
        while len(windows(tmp_path)) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    path.write_bytes(begun)
    with pytest.raises(Altered, match="frame 1 is missing"):
        records(tmp_path, key)
    await pen.close({})


@pytest.mark.parametrize(
    "key", ["../outside", "2026/../../outside", "/etc/passwd", "2026/11/24/..", "2026/11/24/a/b", ""]
)
def test_a_key_does_not_lead_out_of_the_folder(tmp_path: Path, key: str) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / f"outside{SUFFIX}").write_bytes(b"")
    with pytest.raises(FileNotFoundError):
        Recording(inside, key)
    assert digest_of(inside, key) is None


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Recording(tmp_path, "2026/11/24/s1")


async def test_a_tail_has_no_hole_where_a_window_is_sealed_meanwhile(
    recordings: FileRecordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its end a statement that is long over looked as if it ran."""
    whole, looks = reader._window, 0

    def looked(path: Path) -> list[Frame] | None:
        nonlocal looks
        looks += 1
        return None if looks == 2 else whole(path)

    key, pen = recordings.open("s1", {})
    monkeypatch.setattr(recordings._home.sealer, "put", lambda job: None)  # type: ignore[union-attr]
    for seq in range(1, 1500):
        pen.write(statement(seq))
    assert len(windows(tmp_path)) > 3
    monkeypatch.setattr(reader, "_window", looked)
    found = [each.record.seq for each in Recording(tmp_path, key).tail()]  # type: ignore[union-attr]
    assert found == list(range(1, 1500))
    assert looks > len(windows(tmp_path)), "it was read anew"
