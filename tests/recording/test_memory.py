"""What an idle recorder costs: a page of its window, one descriptor, and a few small objects."""

import gc
from pathlib import Path

from proxy.recording.journal import FileRecorder
from proxy.recording.recorder import FileRecordings
from tests.fakes.clock import FakeClock
from tests.recording.things import statement

COUNT = 300


def pss() -> int:
    """Bytes of memory that are this process's own, shared pages divided (proc(5))."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1]) * 1024


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def opened(recordings: FileRecordings, name: str, count: int) -> list[FileRecorder]:
    pens = [recordings.open(f"{name}-{number}", {"identity": "alice"})[1] for number in range(count)]
    for pen in pens:
        pen.write(statement(1))
    return pens


async def test_an_idle_recorder_is_small(tmp_path: Path) -> None:
    recordings = FileRecordings(tmp_path, FakeClock(), min_free=0)
    recordings.start()
    pens = opened(recordings, "warm", 50)
    gc.collect()
    before, open_before = pss(), descriptors()
    pens += opened(recordings, "idle", COUNT)
    gc.collect()
    assert (pss() - before) / COUNT < 16 * 1024
    assert (descriptors() - open_before) / COUNT <= 1.1
    for pen in pens:
        await pen.close({})
    recordings.stop()
