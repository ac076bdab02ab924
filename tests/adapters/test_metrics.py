"""The table of figures: documented, counted, and joined over processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.adapters import metrics
from proxy.adapters.metrics import FIGURES, Prometheus, render

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_every_figure_is_in_the_documented_table(name: str) -> None:
    lines = [line for line in (metrics.__doc__ or "").splitlines() if line.startswith(f"{name} ")]
    assert len(lines) == 1
    for label in FIGURES[name].labels:
        assert label in lines[0]


def test_the_documented_table_names_nothing_else() -> None:
    words = {line.split()[0] for line in (metrics.__doc__ or "").splitlines() if line.startswith("tidegate_")}
    assert words == set(FIGURES)


def test_counts_gauges_and_observations_are_rendered() -> None:
    figures = Prometheus()
    figures.count("tidegate_admissions_total", result="allowed")
    figures.count("tidegate_admissions_total", by=2, result="allowed")
    figures.count("tidegate_sessions_total", end_reason="idle", protocol="postgres")
    figures.gauge("tidegate_sessions_live", 3, protocol="postgres")
    figures.observe("tidegate_cut_seconds", 0.004)
    text = render(figures)
    assert 'tidegate_admissions_total{result="allowed"} 3.0' in text
    assert 'tidegate_sessions_total{end_reason="idle",protocol="postgres"} 1.0' in text
    assert 'tidegate_sessions_live{protocol="postgres"} 3.0' in text
    assert 'tidegate_cut_seconds_bucket{le="0.002"} 0.0' in text
    assert 'tidegate_cut_seconds_bucket{le="0.005"} 1.0' in text


def test_the_order_of_labels_does_not_matter() -> None:
    figures = Prometheus()
    figures.count("tidegate_sessions_total", protocol="idle", end_reason="postgres")
    figures.count("tidegate_sessions_total", end_reason="idle", protocol="postgres")
    assert 'tidegate_sessions_total{end_reason="idle",protocol="postgres"} 1.0' in render(figures)


def test_an_unknown_name_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Prometheus().count("tidegate_nothing_total")


@pytest.mark.parametrize("labels", [{}, {"outcome": "done"}, {"result": "x", "more": "y"}])
def test_wrong_labels_are_a_mistake(labels: dict[str, str]) -> None:
    with pytest.raises((KeyError, ValueError)):
        Prometheus().count("tidegate_admissions_total", **labels)


WORKER = """
import sys
from proxy.adapters.metrics import Prometheus
figures = Prometheus()
figures.count("tidegate_statements_total", by=float(sys.argv[1]), outcome="done")
figures.gauge("tidegate_sessions_live", float(sys.argv[1]), protocol="postgres")
figures.gauge("tidegate_feed_lag_seconds", float(sys.argv[1]))
print("counted", flush=True)
sys.stdin.read()
"""
READER = """
from proxy.adapters.metrics import Prometheus, render, shared_directory
print(render(Prometheus(), shared_directory()))
"""


def environment(directory: Path) -> dict[str, str]:
    return {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory), "PYTHONPATH": str(ROOT)}


@contextmanager
def a_worker(directory: Path, figure: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has counted and lives until the end, or until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, figure],
        env=environment(directory),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "counted\n"
        try:
            yield worker
        finally:
            worker.kill()


def rendered(directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", READER],
        env=environment(directory),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_processes_share_one_set_of_figures_and_a_dead_ones_gauges_go(tmp_path: Path) -> None:
    with a_worker(tmp_path, "2"), a_worker(tmp_path, "5") as killed:
        text = rendered(tmp_path)
        assert 'tidegate_statements_total{outcome="done"} 7.0' in text
        assert 'tidegate_sessions_live{protocol="postgres"} 7.0' in text
        assert "tidegate_feed_lag_seconds 5.0" in text
        killed.kill()
        killed.wait()
        text = rendered(tmp_path)
        assert 'tidegate_sessions_live{protocol="postgres"} 2.0' in text
        assert "tidegate_feed_lag_seconds 2.0" in text
        assert 'tidegate_statements_total{outcome="done"} 7.0' in text
