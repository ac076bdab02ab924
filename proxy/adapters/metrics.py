"""Counts and measures over ``prometheus_client``: the port ``core.ports.Metrics``.

Several processes (the workers, the API) add to one set of figures: ``PROMETHEUS_MULTIPROC_DIR`` names the folder
they share, and must be in the environment *before* this module is imported, since the library chooses then. The API
renders the union with ``render``. Called by the kernel, the gate and the API; knows none of them.

==============================  =========  =======================  ==========================================
name                            kind       labels                   what it says
==============================  =========  =======================  ==========================================
tidegate_sessions_live          gauge      protocol                 sessions that are live now, all workers
tidegate_sessions_total         counter    protocol, end_reason     sessions that have ended, and why
tidegate_admissions_total       counter    result                   admissions: ``allowed`` or the refusal's word
tidegate_statements_total       counter    outcome                  statements recorded, by how they ended
tidegate_bytes_total            counter    direction                bytes passed on: ``in`` to targets, ``out``
tidegate_cut_seconds            histogram  (none)                   order to cut until the client's socket closed
tidegate_turn_seconds           histogram  (none)                   longest turn of a worker's loop, each second
tidegate_recorder_lag_bytes     gauge      (none)                   recorded, not yet on disk (largest worker)
tidegate_waiting_bytes          gauge      (none)                   what waits in memory for all sessions
tidegate_recordings_free_bytes  gauge      (none)                   free on the disk of the recordings
tidegate_feed_lag_seconds       gauge      (none)                   age of the last good look at the feed (largest)
tidegate_logins_total           counter    result                   log-ins to the API: allowed, refused, throttled
tidegate_requests_total         counter    outcome                  requests for access, by their first decision
tidegate_heads_kept_total       counter    place, result            signed heads for other places: kept, failed
==============================  =========  =======================  ==========================================
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Kind = Literal["counter", "livesum", "livemax", "histogram"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table: ``kind`` says how processes' values join as well (sum or largest)."""

    kind: Kind
    labels: tuple[str, ...]
    help: str


FIGURES: Mapping[str, Figure] = {
    "tidegate_sessions_live": Figure("livesum", ("protocol",), "Sessions that are live now"),
    "tidegate_sessions_total": Figure("counter", ("protocol", "end_reason"), "Sessions that have ended, and why"),
    "tidegate_admissions_total": Figure("counter", ("result",), "Admissions: allowed, or the refusal's word"),
    "tidegate_statements_total": Figure("counter", ("outcome",), "Statements recorded, by how they ended"),
    "tidegate_bytes_total": Figure("counter", ("direction",), "Bytes passed on: in to targets, out to clients"),
    "tidegate_cut_seconds": Figure("histogram", (), "From the order to cut to the client's socket closed"),
    "tidegate_turn_seconds": Figure("histogram", (), "The longest turn of a worker's loop, each second"),
    "tidegate_recorder_lag_bytes": Figure("livemax", (), "Recorded bytes that are not yet on disk"),
    "tidegate_waiting_bytes": Figure("livesum", (), "Bytes that wait in memory for all sessions"),
    "tidegate_recordings_free_bytes": Figure("livemax", (), "Free bytes on the disk of the recordings"),
    "tidegate_feed_lag_seconds": Figure("livemax", (), "Age of the last good look at the feed"),
    "tidegate_logins_total": Figure("counter", ("result",), "Log-ins to the API: allowed, refused, throttled"),
    "tidegate_requests_total": Figure("counter", ("outcome",), "Requests for access, by their first decision"),
    "tidegate_heads_kept_total": Figure("counter", ("place", "result"), "Signed heads handed to other places"),
}


class Prometheus:
    """``core.ports.Metrics``. An unknown name or label is a mistake: ``KeyError``, ``ValueError``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._collectors = {name: _collector(name, figure, self.registry) for name, figure in FIGURES.items()}
        self._children: dict[tuple[str, ...], Any] = {}

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        self._child(name, labels).inc(by)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self._child(name, labels).set(value)

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        self._child(name, labels).observe(seconds)

    def _child(self, name: str, labels: Mapping[str, str]) -> Any:
        """The series of these labels, kept: ``labels()`` costs ten times this look-up. Label values are closed
        sets (status words), so the map is bounded."""
        names = FIGURES[name].labels
        if len(labels) != len(names):
            raise ValueError(f"{name} has the labels {names}, not {tuple(labels)}")
        key = (name, *[labels[each] for each in names])
        found = self._children.get(key)
        if found is None:
            collector = self._collectors[name]
            found = self._children[key] = collector.labels(**labels) if labels else collector
        return found


def render(metrics: Prometheus, directory: Path | None = None) -> str:
    """The figures in Prometheus' text format (version 0.0.4): of every process that shares ``directory``, or of
    this one alone when there is none."""
    registry = metrics.registry
    if directory is not None:
        forget_the_dead(directory)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(directory))  # type: ignore[no-untyped-call]
    return generate_latest(registry).decode()


def shared_directory() -> Path | None:
    """The folder the processes share, when the composition root named one before the import."""
    named = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(named) if named else None


def forget_process(pid: int, directory: Path) -> None:
    """A worker has died: drop its gauges (its counts stay), so that its sessions do not look live for ever."""
    mark_process_dead(pid, path=str(directory))  # type: ignore[no-untyped-call]


def forget_the_dead(directory: Path) -> None:
    """``forget_process`` for every process of this machine that is gone, however it went."""
    for pid in {each.stem.rpartition("_")[2] for each in directory.glob("gauge_live*_*.db")}:
        if pid.isdecimal() and not _alive(int(pid)):
            forget_process(int(pid), directory)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _collector(name: str, figure: Figure, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if figure.kind == "counter":
        return Counter(name, figure.help, figure.labels, registry=registry)
    if figure.kind == "histogram":
        return Histogram(name, figure.help, figure.labels, buckets=BUCKETS, registry=registry)
    return Gauge(name, figure.help, figure.labels, multiprocess_mode=figure.kind, registry=registry)
