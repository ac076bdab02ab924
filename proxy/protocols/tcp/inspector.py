"""``core.steps.Inspector`` for bytes of which nothing is known: they are counted, and where the grant says so kept
and hashed. Pure; made by ``engine`` for each connection.

One statement, whose text is where the connection leads: started with the first byte either way, before it is
passed on. Both sides may end on their own (half-close), and nothing can be said to the client inside somebody
else's bytes.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

from proxy.core.access import Decision
from proxy.core.records import (
    Content,
    Flow,
    Note,
    Outcome,
    Passed,
    Record,
    StatementFinished,
    StatementStarted,
    Via,
)
from proxy.core.states import EndReason
from proxy.core.steps import Forward, Observe, Recorded, Side, Step

PIECE = 64 * 1024
"""Bytes of one ``Passed`` at most."""
FLOWS: Mapping[Side, Flow] = {Side.CLIENT: Flow.INPUT, Side.TARGET: Flow.OUTPUT}
CLOSED = b"closed"


class _Counted:
    """One direction: how much passed, and when (by the clock given) the first and the last of it did."""

    __slots__ = ("digest", "first", "flow", "last", "size")

    def __init__(self, flow: Flow, keeps: bool) -> None:
        self.flow = flow
        self.size = 0
        self.first: float | None = None
        self.last: float | None = None
        self.digest = hashlib.sha256() if keeps else None

    def records(self) -> Sequence[Record]:
        digest = self.digest.hexdigest() if self.digest is not None else ""
        content = Content(1, self.flow, 0, self.size, digest)
        if self.first is None:
            return (content,)
        times = (("statement", 1), ("flow", self.flow.name.lower()), ("first", self.first), ("last", self.last))
        return content, Note("passed", times)


class TcpInspector:
    """``text`` says where the connection leads; ``keeps``: record every byte; ``now`` gives epoch seconds."""

    def __init__(self, text: str, now: Callable[[], float], *, keeps: bool = False) -> None:
        self._text = text.encode()
        self._now = now
        self._keeps = keeps
        self._counted = {side: _Counted(flow, keeps) for side, flow in FLOWS.items()}
        self._started = False
        self._over: set[Side] = set()

    def feed(self, side: Side, chunk: bytes) -> Sequence[Step]:
        """See ``Inspector.feed``."""
        return self.feeder(side)(chunk)

    def feeder(self, side: Side) -> Callable[[bytes], Sequence[Step]]:
        """See ``Inspector.feeder``."""
        counted, now, keep = self._counted[side], self._now, self._keep if self._keeps else None

        def passing(chunk: bytes) -> Sequence[Step]:
            counted.size += len(chunk)
            counted.last = now()
            if counted.first is None:
                return self._begin(counted, chunk)
            return keep(counted, chunk) if keep is not None else (Forward(chunk),)

        return passing

    def _begin(self, counted: _Counted, chunk: bytes) -> Sequence[Step]:
        """The first chunk of a direction, and of the statement where the other has none yet."""
        counted.first = counted.last
        steps = self._keep(counted, chunk) if self._keeps else (Forward(chunk),)
        if self._started:
            return steps
        self._started = True
        started = StatementStarted(1, Via.TUNNEL, 0, 0, self._text, 0, "", b"", b"", ())
        return Observe(started), *steps

    def _keep(self, counted: _Counted, chunk: bytes) -> Sequence[Step]:
        if counted.digest is not None:
            counted.digest.update(chunk)
        pieces = [chunk[at : at + PIECE] for at in range(0, len(chunk), PIECE)]
        return [Recorded(Passed(1, counted.flow, piece), piece) for piece in pieces]

    def resume(self, decision: Decision | None) -> Sequence[Step]:
        """Nothing is ever asked."""
        return ()

    def inject(self, text: str, hint: str = "") -> bytes:
        """Nothing can be said inside somebody else's bytes."""
        return b""

    def target_boundary(self) -> int:
        """See ``Inspector.target_boundary``: one byte is as good an end as the other."""
        return 0

    def farewell(self, reason: EndReason, text: str, hint: str = "") -> bytes:
        """Nothing, as in ``inject``: the line ends."""
        return b""

    def outlives(self, side: Side) -> bool:
        """Always: that is TCP's half-close."""
        self._over.add(side)
        return True

    def running(self) -> bool:
        """Never: what the target does for a client it does on this connection, and its end is all that stops it."""
        return False

    def stop(self) -> bytes:
        """Nothing: see ``running``."""
        return b""

    def holds(self) -> int:
        """Nothing is kept."""
        return 0

    def close(self) -> None:
        """Nothing is kept."""

    def finish(self, outcome: Outcome) -> Sequence[Record]:
        """What passed, both ways; done where both sides had ended on their own."""
        if not self._started:
            return ()
        well = outcome is Outcome.UNKNOWN and len(self._over) == len(FLOWS)
        ended = Outcome.DONE if well else outcome
        total = sum(each.size for each in self._counted.values())
        finished = StatementFinished(1, ended, CLOSED if well else b"", -1, total, b"", b"", 0)
        return *(record for each in self._counted.values() for record in each.records()), finished
