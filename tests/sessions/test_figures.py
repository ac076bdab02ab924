"""What sessions add to the metrics: differences, each once, and gauges that come down again."""

from types import SimpleNamespace
from typing import Any

from proxy.core.records import Outcome
from proxy.sessions.figures import Figures


class Sums:
    """``core.ports.Metrics`` that adds up."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], float] = {}
        self.gauges: dict[tuple[str, str], float] = {}

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        assert by > 0
        (label,) = labels.values()
        self.counts[name, label] = self.counts.get((name, label), 0) + by

    def gauge(self, name: str, value: float, **labels: str) -> None:
        (label,) = labels.values()
        self.gauges[name, label] = value

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        raise AssertionError


def a_session(id: str = "s1") -> Any:
    return SimpleNamespace(
        id=id,
        record=SimpleNamespace(protocol="postgres"),
        relayed=SimpleNamespace(outcomes=[0] * len(Outcome)),
        client=SimpleNamespace(bytes_read=0, bytes_written=0),
    )


def test_what_passed_is_counted_once_however_often_one_looks() -> None:
    sums, session = Sums(), a_session()
    figures = Figures(sums)
    session.client.bytes_read, session.client.bytes_written = 10, 200
    session.relayed.outcomes[Outcome.DONE] = 3
    figures.look([session])
    figures.look([session])
    session.client.bytes_written += 50
    session.relayed.outcomes[Outcome.CUT] += 1
    session.record = None
    figures.ended(session)
    assert sums.counts == {
        ("tidegate_bytes_total", "in"): 10,
        ("tidegate_bytes_total", "out"): 250,
        ("tidegate_statements_total", "done"): 3,
        ("tidegate_statements_total", "cut"): 1,
    }


def test_the_live_ones_go_down_to_none() -> None:
    sums, sessions = Sums(), [a_session("s1"), a_session("s2")]
    figures = Figures(sums)
    figures.look(sessions)
    assert sums.gauges == {("tidegate_sessions_live", "postgres"): 2}
    for session in sessions:
        session.record = None
    figures.look(sessions)
    assert sums.gauges == {("tidegate_sessions_live", "postgres"): 0}


def test_what_never_became_a_session_counts_for_nothing() -> None:
    sums, session = Sums(), a_session()
    session.relayed, session.client.bytes_read = None, 1000
    figures = Figures(sums)
    figures.look([session])
    figures.ended(session)
    assert sums.counts == {}
