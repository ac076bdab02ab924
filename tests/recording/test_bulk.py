"""Bulk: bytes that pass in megabytes are written into larger windows, and who writes them is told when to wait."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core.errors import Unavailable
from proxy.core.records import Flow, Passed
from proxy.recording import journal
from proxy.recording.journal import FILLED, GROWTH, GROWTH_MOST, FileRecorder
from proxy.recording.recorder import FileRecordings
from tests.fakes.clock import FakeClock
from tests.recording.things import records, statement, windows

CHUNK = Passed(1, Flow.OUTPUT, b"x" * 1000)
SMALL = 4096


@pytest.fixture
def held(recordings: FileRecordings) -> Iterator[threading.Event]:
    """The sealer does nothing until this is set."""
    gate = threading.Event()
    assert recordings._home is not None
    recordings._home.sealer.later(lambda: gate.wait(30) and None)
    yield gate
    gate.set()


def filled(pen: FileRecorder) -> None:
    """Write until there is a new window."""
    window = pen._window
    while pen._window is window:
        pen.write(CHUNK)


async def test_windows_that_fill_at_once_grow_and_shrink_again(
    recordings: FileRecordings, held: threading.Event, tmp_path: Path, clock: FakeClock
) -> None:
    key, pen = recordings.open("s1", {})
    pauses = [0.0] * 8 + [FILLED] * 2 + [FILLED * 3] * 8
    for pause in pauses:
        clock.advance(pause)
        filled(pen)
    sizes = [path.stat().st_size // SMALL for path in windows(tmp_path)]
    growing, kept, shrinking = [1, 4, 8, 16, 32, 64, 64, 64, 64], [64, 64], [32, 16, 8, 4, 4, 4, 4, 4]
    assert (GROWTH, GROWTH_MOST) == (4, 64)
    assert sizes == growing + kept + shrinking
    written = pen.number
    held.set()
    await pen.close({})
    found = records(tmp_path, key)
    assert found == [CHUNK] * len(found)
    assert written - len(sizes) <= len(found) <= written


async def test_who_writes_in_bulk_is_told_to_wait_until_it_is_sealed(
    recordings: FileRecordings, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "BEHIND", 20 * SMALL)
    _, pen = recordings.open("s1", {})
    _, other = recordings.open("s2", {})
    pen.write(CHUNK)
    assert not pen.behind
    while not pen.behind:
        pen.write(CHUNK)
    assert other.behind, "what waits is all sessions'"
    assert recordings.lag_bytes > 20 * SMALL
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(pen.caught_up())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        pen.write(CHUNK)  # it is advice: what is read already may still be written
        held.set()
    assert (pen.behind, recordings.lag_bytes) == (False, 0)
    await asyncio.gather(pen.close({}), other.close({}))


async def test_who_does_not_wait_ends_when_too_much_waits(
    recordings: FileRecordings, held: threading.Event, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(journal, "LAG", 40 * SMALL)
    key, pen = recordings.open("s1", {})
    with pytest.raises(Unavailable) as caught:
        for _ in range(10_000):
            pen.write(CHUNK)
    assert caught.value.code == "recorder_failed"
    assert "sealed" in caught.value.detail
    held.set()
    await pen.close({})
    assert len(records(tmp_path, key)) > 100


async def test_more_at_once_than_may_pass_ends_the_recording(recordings: FileRecordings) -> None:
    _, pen = recordings.open("s1", {})
    pen.write(statement(1))
    pen.write(Passed(1, Flow.OUTPUT, b"x" * (1 << 20)))
    with pytest.raises(Unavailable) as caught:
        pen.write(Passed(1, Flow.OUTPUT, b"x" * ((1 << 20) + 1)))
    assert caught.value.code == "recorder_failed"
    await pen.close({})
