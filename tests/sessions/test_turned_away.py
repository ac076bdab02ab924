"""What connections without a name may write into the log: little, whoever they are and however many."""

import math
from typing import Any

from proxy.sessions.turned_away import NETWORKS_MOST, REFERENCES_MOST, WINDOW, TurnedAwayLog
from tests.sessions.test_attacks import settled
from tests.sessions.test_kernel import SETTINGS, a_world, connected


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def info(self, event: str, **words: Any) -> None:
        self.lines.append({"event": event, **words})


def a_log() -> tuple[TurnedAwayLog, Lines]:
    lines = Lines()
    return TurnedAwayLog(lambda: 0.0, lines), lines


def test_of_one_network_and_reason_the_first_is_a_line_and_the_rest_are_a_count() -> None:
    away, log = a_log()
    for number in range(1000):
        away.note(f"sess-{number}", f"10.0.0.{number % 250}", "protocol", f"detail {number}")
    away.note("sess-x", "10.0.0.1", "tls", "")
    away.note("sess-y", "10.0.1.1", "protocol", "")
    assert [each["session"] for each in log.lines] == ["sess-0", "sess-x", "sess-y"]
    away.flush(WINDOW)
    more = log.lines[-1]
    assert (more["event"], more["times"], more["network"], more["why"]) == (
        "refused more",
        999,
        "10.0.0.0/24",
        "protocol",
    )
    assert more["detail"] == "detail 999"
    assert more["sessions"] == [f"sess-{number}" for number in range(1000 - REFERENCES_MOST, 1000)]
    away.note("sess-z", "10.0.0.1", "protocol", "")
    assert log.lines[-1]["session"] == "sess-z", "a new window begins with a line"


def test_any_number_of_networks_is_as_many_lines_as_are_told_apart() -> None:
    away, log = a_log()
    for number in range(20 * NETWORKS_MOST):
        away.note(f"sess-{number}", f"10.{number >> 8}.{number & 255}.1", "protocol", "")
    assert len(log.lines) == NETWORKS_MOST + 1
    away.flush(math.inf)
    assert len(log.lines) == NETWORKS_MOST + 2
    assert log.lines[-1]["times"] == 19 * NETWORKS_MOST - 1


async def test_rubbish_is_counted_by_the_metrics_and_hardly_written() -> None:
    log = Lines()
    async with a_world(SETTINGS) as world:
        world.kernel._turned_away._log = log
        for _ in range(40):
            async with connected(world, "rubbish", "REFUSED"):
                pass
        await settled(world)
        assert world.admissions() == ["bad_token"] * 40
        assert [each["event"] for each in log.lines] == ["refused"]
    assert [each.get("times") for each in log.lines] == [None, 39]
