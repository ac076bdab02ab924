"""Recordings in a folder of the test's own, with small windows so that they are sealed on the way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.recording.recorder import FileRecordings
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def recordings(tmp_path: Path, clock: FakeClock) -> Iterator[FileRecordings]:
    made = FileRecordings(tmp_path, clock, window=4096, min_free=0)
    made.start()
    yield made
    made.stop()
    # What is left belongs to recorders that the test did not close.
    assert not [each for each in tmp_path.glob("live/*/*") if "spare" in each.name or each.name == "tried"]
