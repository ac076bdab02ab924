"""What benchmarks say of a run: which rounds count, and how far a figure may be believed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.machine import Usage
from benchmarks.series import QUIET, Series, spread

ROOT = Path(__file__).parents[1]


@pytest.fixture
def neighbours(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Cores that others use in each of the rounds to come; nobody is there when they are used up."""
    shares: list[float] = []

    def usages() -> Iterator[Usage]:
        at, everybody = 0.0, 0.0
        while True:
            yield Usage(at, everybody, 0.0)
            at, everybody = at + 1.0, everybody + (shares.pop(0) if shares else 0.0)
            yield Usage(at, everybody, 0.0)

    made = usages()
    monkeypatch.setattr(machine, "usage", lambda: next(made))
    monkeypatch.setattr(machine, "adopt_orphans", lambda: None)
    return shares


def run(series: Series) -> int:
    """How many rounds it took; each notes twice as much for one as for the other."""
    count = 0
    for each in series.rounds():
        count += 1
        each.note("ours", cost=2.0 * count)
        each.note("theirs", cost=1.0 * count)
    return count


def test_quiet_rounds_are_all_used(neighbours: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    series = Series("a title", 3)
    assert run(series) == 3
    assert series.verdict()
    assert series.ratios("ours", "theirs", "cost") == [2.0, 2.0, 2.0]
    said = capsys.readouterr().out
    assert said.startswith("a title\ninterpreter: CPython ")
    assert "3 rounds, 0 discarded" in said
    assert "NOT A GOOD RUN" not in said


def test_a_loud_round_is_discarded_and_another_tried(
    neighbours: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    neighbours += [0.0, 2 * QUIET, QUIET / 2]
    series = Series("a title", 3)
    assert run(series) == 4
    assert series.values("ours", "cost") == [2.0, 6.0, 8.0]
    with pytest.raises(SystemExit) as ended:
        series.finish()
    assert ended.value.code == 0
    assert "4 rounds, 1 discarded; in a round others used 0.00 to 0.10 of a core" in capsys.readouterr().out


def test_too_many_loud_ones_make_no_good_run(neighbours: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    neighbours += [1.0] * 5
    series = Series("a title", 3)
    assert run(series) == 6
    with pytest.raises(SystemExit) as ended:
        series.finish()
    assert ended.value.code == 1
    assert "NOT A GOOD RUN: in 5 of 6 rounds others used more than 5% of a core" in capsys.readouterr().out
    assert len(series.values("ours", "cost")) == 6


def test_once_takes_each_as_it_comes(neighbours: list[float]) -> None:
    neighbours += [1.0] * 3
    series = Series("a title", 3, once=True)
    assert run(series) == 3
    assert not series.verdict()


def test_a_spread_is_the_median_and_the_quartiles() -> None:
    assert spread([5.0, 1.0, 3.0, 2.0, 4.0]) == "3.00 (2.00 to 4.00)"
    assert spread([1.5], "{:.1f}") == "1.5"
    assert spread([]) == "-"


def test_others_are_everybody_but_us() -> None:
    before, after = Usage(10.0, 100.0, 50.0), Usage(20.0, 108.0, 57.0)
    assert before.others(after) == pytest.approx(0.1)
    assert before.others(Usage(20.0, 104.0, 57.0)) == 0.0
    assert before.others(before) == 0.0


BUSY = """
import os, sys, time
from benchmarks import machine
machine.adopt_orphans()
before = machine.usage()
if os.fork() == 0:
    if os.fork() == 0:
        ended = time.process_time() + 0.3
        while time.process_time() < ended: pass
        os.write(1, b"x")
        time.sleep(60)
    os._exit(0)
os.wait()
sys.stdin.read(1)
print(machine.usage().own - before.own)
os.kill(0, 9)
"""


def test_a_process_that_went_into_the_background_is_ours() -> None:
    """As a database server does."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], cwd=ROOT, stdin=pipe, stdout=pipe, start_new_session=True
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stdout.read(1) == b"x"
        running.stdin.write(b"\n")
        running.stdin.flush()
        assert float(running.stdout.readline()) >= 0.25


def test_what_ran_where_is_described() -> None:
    said = "\n".join(machine.described())
    assert sys.version.split()[0] in said
    assert "optimised" in said or "profile guided" in said
    assert "cores" in said


BY_THEMSELVES = {"turns"}
"""Those that compare within themselves under a load of their own."""


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda each: each.stem)
def test_every_benchmark_is_in_the_readme_and_runs_in_a_series(file: Path) -> None:
    text = file.read_text()
    if "__main__" in text:
        assert f"`python -m benchmarks.{file.stem}" in (ROOT / "benchmarks" / "README.md").read_text()
        assert "Series(" in text or file.stem in BY_THEMSELVES, "it says nothing of the machine it ran on"
