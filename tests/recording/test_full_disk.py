"""A disk that really is full: a file system of one megabyte where that can be mounted, else a quota by hand."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.core.errors import Unavailable
from proxy.recording.reader import verify
from proxy.recording.recorder import FileRecordings
from tests.fakes.clock import FakeClock
from tests.recording.things import records, statement

SMALL = 1024 * 1024


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Callable[[], object]]]:
    """A folder with room for one megabyte, and what makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tidegate-test", str(folder)]
    if os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0:
        grow = ["mount", "-o", "remount,size=64m", str(folder)]
        try:
            yield folder, lambda: subprocess.run(grow, check=True)
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
    else:
        monkeypatch.setattr(os, "posix_fallocate", quota(os.posix_fallocate))
        yield folder, monkeypatch.undo


def quota(allocate: Callable[[int, int, int], None]) -> Callable[[int, int, int], None]:
    left = [SMALL]

    def limited(descriptor: int, offset: int, size: int) -> None:
        left[0] -= size
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        allocate(descriptor, offset, size)

    return limited


async def test_a_full_disk_ends_sessions_loses_nothing_and_is_told(
    small: tuple[Path, Callable[[], object]],
) -> None:
    root, grow = small
    clock = FakeClock()
    recordings = FileRecordings(root, clock, window=16 * 1024, min_free=0)
    recordings.start()
    pens = [recordings.open(f"s{number}", {}) for number in range(8)]
    written = dict.fromkeys(range(8), 0)
    broken = set()
    for seq in range(1, 60_000):
        for number, (_, pen) in enumerate(pens):
            try:
                pen.write(statement(seq, os.urandom(64)))
                assert number not in broken
                written[number] = seq
            except Unavailable as error:
                assert error.code == "recorder_failed"
                broken.add(number)
        if len(broken) == 8:
            break
    assert len(broken) == 8
    clock.advance(2.0)
    for number, (key, pen) in enumerate(pens):
        try:
            await pen.close({"end_reason": "recorder_failed"})
        except Unavailable as error:
            assert error.code == "recorder_failed"
        assert len(records(root, key)) == written[number]
    grow()
    recordings.stop()
    again = FileRecordings(root, clock, min_free=0)
    again.seal_orphans()
    for number, (key, _) in enumerate(pens):
        found = verify(root, key)
        assert (found.problem, found.end["truncated"]) == ("", True)
        assert [each.seq for each in records(root, key)] == list(range(1, written[number] + 1))  # type: ignore[union-attr]
