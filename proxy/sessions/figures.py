"""What the sessions of this worker add to the metrics: once a second while they live, and once more at their end.

So nothing is paid per statement or chunk but the sums that a relay keeps anyway. Owned by the kernel; knows the
port ``core.ports.Metrics`` and the names in ``adapters.metrics``' table.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from proxy.core.ports import Metrics
from proxy.core.records import Outcome
from proxy.sessions.session import Session


@dataclass(slots=True)
class Told:
    """What has been counted of one session."""

    bytes_in: int = 0
    bytes_out: int = 0
    outcomes: list[int] = field(default_factory=lambda: [0] * len(Outcome))


class Figures:
    """``look`` is called every second with all sessions, ``ended`` once for each that is over."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: dict[str, Told] = {}
        self._protocols: set[str] = set()

    def look(self, sessions: Iterable[Session]) -> None:
        """Count what is new, and how many are live. A protocol that was seen once goes down to 0."""
        live: Counter[str] = Counter()
        for session in sessions:
            self._count(session)
            if session.record is not None:
                live[session.record.protocol] += 1
        self._protocols.update(live)
        for protocol in self._protocols:
            self._metrics.gauge("tidegate_sessions_live", live[protocol], protocol=protocol)

    def ended(self, session: Session) -> None:
        """Count the rest of a session."""
        self._count(session)
        self._told.pop(session.id, None)

    def _count(self, session: Session) -> None:
        """What was not counted yet. Of what never became a session nothing passed on."""
        relay = session.relayed
        if relay is None:
            return
        told = self._told.setdefault(session.id, Told())
        came, went = session.client.bytes_read, session.client.bytes_written
        self._add("tidegate_bytes_total", came - told.bytes_in, direction="in")
        self._add("tidegate_bytes_total", went - told.bytes_out, direction="out")
        told.bytes_in, told.bytes_out = came, went
        for outcome in Outcome:
            self._add(
                "tidegate_statements_total",
                relay.outcomes[outcome] - told.outcomes[outcome],
                outcome=outcome.name.lower(),
            )
        told.outcomes[:] = relay.outcomes

    def _add(self, name: str, by: int, **labels: str) -> None:
        if by:
            self._metrics.count(name, by, **labels)
