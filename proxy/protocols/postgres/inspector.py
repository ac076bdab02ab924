"""``core.steps.Inspector`` for PostgreSQL: one logged-in conversation, both sides, as bytes alone. Made by
``engine`` for each session; fed by the kernel.

It joins the client's side (``frontend``), the target's (``backend``) and what they share (``pending``). Splitting
either side's bytes otherwise gives the same bytes passed on and the same records in the same order, each record of
a statement before its bytes; adjacent ``Forward`` may be cut elsewhere, and records may stand further ahead of
bytes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from proxy.core.access import Decision
from proxy.core.records import Outcome, Record, StatementFinished, StatementStarted
from proxy.core.states import EndReason
from proxy.core.steps import Fed, Pause, Recorded, Side, Step
from proxy.protocols.postgres import messages, refusals
from proxy.protocols.postgres.backend import Backend
from proxy.protocols.postgres.entries import EXECUTE, IDLE
from proxy.protocols.postgres.express import Express
from proxy.protocols.postgres.extended import Extended
from proxy.protocols.postgres.frontend import Frontend
from proxy.protocols.postgres.large_objects import Calls, Function
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.pending import Pending

WARNING = "01000"
NO_FUNCTIONS: Mapping[int, Function] = MappingProxyType({})
PADDING_MOST = 1024 * 1024


class PostgresInspector:
    """``asks``: an ``Ask`` before each statement. ``status`` is the ReadyForQuery status the log-in ended with;
    ``parameters`` are the ParameterStatus messages (whole) of the log-in, which say how texts are to be read;
    ``functions`` may be called by their oids."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        asks: bool = False,
        status: int = IDLE,
        parameters: Iterable[bytes] = (),
        functions: Mapping[int, Function] = NO_FUNCTIONS,
    ) -> None:
        self._pending = Pending(limits or Limits(), status)
        extended = Extended(self._pending, asks)
        self._express = express = Express(self._pending)
        self._backend = Backend(self._pending, express)
        calls = Calls(self._pending, functions)
        self._frontend = Frontend(self._pending, self._backend, express, extended, calls, asks)
        express.beside(self._frontend.feed, self._backend.feed)
        self._feeders: tuple[Callable[[bytes], Fed], ...] = express.asked, express.answered
        for message in parameters:
            if message[:1] == b"S":
                self._pending.texts.encoding.parameter(*messages.parameter(message[5:]))

    @property
    def transaction(self) -> int:
        """The transaction status as last told: I, T or E."""
        return self._pending.status

    def feed(self, side: Side, chunk: bytes) -> Sequence[Step]:
        """See ``Inspector.feed``."""
        fed = self._feeders[side](chunk)
        if isinstance(fed, StatementStarted | StatementFinished):
            return (Recorded(fed, chunk),)
        return [step for step in fed if type(step) is not Pause]

    def feeder(self, side: Side) -> Callable[[bytes], Fed]:
        """See ``Inspector.feeder``."""
        return self._feeders[side]

    def resume(self, decision: Decision | None) -> Iterable[Step]:
        """See ``Inspector.resume``."""
        return self._frontend.resume(decision)

    def inject(self, text: str, hint: str = "") -> bytes:
        """A NoticeResponse between two messages of the target, outside COPY; else b""."""
        pending = self._pending
        if self._backend.boundary or pending.copying.active:
            return b""
        return messages.notice_response("WARNING", WARNING, text, hint=hint)

    def holds(self) -> int:
        """See ``Inspector.holds``."""
        return self._frontend.held + self._backend.held + self._pending.kept.size

    def close(self) -> None:
        """See ``Inspector.close``: the two sides, what they share and the fast lane all know each other."""
        express, *parts = self._express, self._frontend, self._backend, self._pending
        express.beside(_over, _over)
        self._feeders = _over, _over
        for each in parts:
            vars(each).clear()

    def target_boundary(self) -> int:
        """See ``Inspector.target_boundary``."""
        return self._backend.boundary

    def farewell(self, reason: EndReason, text: str, hint: str = "") -> bytes:
        """A FATAL ErrorResponse between two messages of the target; else b""."""
        return b"" if self._backend.boundary else refusals.farewell(reason, text, hint)

    def outlives(self, side: Side) -> bool:
        """Never: whoever hangs up means it, and the other has nothing to say to nobody."""
        return False

    def running(self) -> bool:
        """Whether the target owes an answer."""
        return self._pending.quick > 0 or bool(self._pending.queue)

    def in_flight(self) -> int:
        """The number of the statement that runs now, of which a cancel would be; 0 when none does."""
        return self._pending.quick or self._pending.backlog.first()

    def stop(self) -> bytes:
        """In COPY from the client: CopyFail, and Sync in the extended protocol. A CopyData that was begun is filled
        up first, or the CopyFail would be taken for its data; nothing of that copy is kept by the server anyway."""
        pending = self._pending
        if pending.copying.statement is None or not pending.queue or self._frontend.left > PADDING_MOST:
            return b""
        padding = bytes(self._frontend.left)
        self._frontend.left = 0
        pending.copying.statement = None
        words = padding + messages.copy_fail("the session was ended by the gateway")
        if pending.queue[0][0] == EXECUTE:
            pending.synced()
            words += messages.SYNC
        return words

    def finish(self, outcome: Outcome) -> Sequence[Record]:
        """See ``Inspector.finish``."""
        return [*self._pending.close(outcome), *self._frontend.simple.close(outcome)]


def _over(_: bytes) -> Sequence[Step]:
    """What is done about bytes once nothing is done any more."""
    return ()
