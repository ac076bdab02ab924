"""What the channels of one connection record, numbered and counted. Async only to wait for the disk; made by
``engine`` for one session.
"""

import contextlib
import itertools
from collections.abc import Callable, Sequence

from proxy.core.access import Grant
from proxy.core.errors import Unavailable
from proxy.core.ports import Recorder
from proxy.core.records import Outcome, Passed, Record, StatementFinished, StatementStarted
from proxy.protocols.ssh.refusals import Refusals

KEPT_MOST = 1024 * 1024
"""Bytes that a session has recorded, from which on it waits where the recorder is behind: who records little does
not wait for those who record much."""
RECORD = 256
"""What a statement takes in a recording besides its text."""


class Ledger:
    """``statements`` were begun; ``moved`` are the bytes of channels; ``outcomes`` counts how statements ended.
    ``keep_input``, ``keep_all``: what the grant wants kept; ``durable``: on disk, before it is passed on.
    ``failed`` is told of errors in callbacks."""

    def __init__(
        self, recorder: Recorder, grant: Grant, durable: bool, failed: Callable[[Exception], None]
    ) -> None:
        self.statements = 0
        self.moved = 0
        self.outcomes = [0] * len(Outcome)
        self.keep_input = bool(grant.conditions.get("record_input"))
        self.keep_all = bool(grant.conditions.get("record_traffic"))
        self.durable = durable
        self.failed = failed
        self._recorder = recorder
        self._numbers = itertools.count(1)
        self._refusals = Refusals()
        self._kept = 0

    def next_seq(self) -> int:
        """The number of the next statement."""
        return next(self._numbers)

    def write(self, record: Record) -> None:
        """``Unavailable`` when it cannot be recorded: then it must not happen either."""
        self._recorder.write(record)
        self.count(record)

    def count(self, record: Record) -> None:
        """A record that is written, or will be by the kernel."""
        if type(record) is Passed:
            self._kept += len(record.data)
        elif type(record) is StatementStarted:
            self.statements += 1
            self._kept += len(record.text) + RECORD
        elif type(record) is StatementFinished:
            self.outcomes[record.outcome] += 1

    def note(self, record: Record) -> None:
        """What the gateway itself says or does; a broken recorder has ended the session already."""
        with contextlib.suppress(Unavailable):
            self._recorder.write(record)

    def denied(self, what: str, detail: str = "") -> None:
        """Something that is refused to everybody was asked for."""
        note = self._refusals.note(what, detail)
        if note is not None:
            try:
                self.write(note)
            except Unavailable as error:
                self.failed(error)

    def forget(self) -> None:
        """Know the session no more."""
        self.failed = _nothing

    def left(self) -> Sequence[Record]:
        """At the end: the refusals that have not been recorded yet."""
        return self._refusals.left()

    @property
    def behind(self) -> bool:
        """Whether more was recorded here, of late, than the recorder has worked off. A terminal's output always is,
        and whoever fills the recorder ends everybody's session with it."""
        return self._kept > KEPT_MOST and self._recorder.behind

    async def caught_up(self) -> None:
        self._kept = 0
        await self._recorder.caught_up()

    async def on_disk(self) -> None:
        """Where that is configured: returns when all that was recorded is there."""
        if self.durable:
            await self._recorder.durable()


def _nothing(_: Exception) -> None:
    """What becomes of an error once the session is over."""
