"""The simple query protocol as the client speaks it: one Query, one or many statements, one ReadyForQuery. Pure;
called by ``frontend``.

Source: PostgreSQL manual, chapter "Frontend/Backend Protocol", section "Simple Query". A Query also destroys the
unnamed prepared statement, whether it succeeds or not.
"""

from collections import deque
from collections.abc import Iterator

from proxy.core.records import Outcome, Record, StatementStarted, Via
from proxy.core.steps import Observe, Step
from proxy.protocols.postgres.ending import broken_off
from proxy.protocols.postgres.entries import QUERY, Query, Statement
from proxy.protocols.postgres.keeping import STATEMENT
from proxy.protocols.postgres.naming import changes_of, drop
from proxy.protocols.postgres.pending import Pending
from proxy.protocols.postgres.texts import Shown


class Simple:
    """Query strings of one conversation."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self._begun: list[Statement] = []

    def texts(self, body: bytes) -> Iterator[bytes]:
        """The statements of a Query's text, in UTF-8, not redacted yet."""
        return self._pending.texts.statements(body)

    def start(self, text: bytes, steps: list[Step]) -> Statement:
        """Record the run of one statement."""
        pending = self._pending
        statement = pending.opened()
        what, copies = pending.texts.does(text)
        if what[0]:
            statement.changes = changes_of(pending, what, text, steps)
        self._record(statement, pending.texts.shown(text), Via.COPY if copies else Via.SIMPLE, steps)
        return statement

    def refused(self, text: bytes, steps: list[Step], via: Via, size: int = 0) -> Statement:
        """Record what will not run, whatever it would have done. ``size``: of the whole text, where this is only
        its beginning."""
        statement = self._pending.opened()
        self._record(statement, self._pending.texts.beginning(text, size), via, steps)
        return statement

    def _record(self, statement: Statement, shown: Shown, via: Via, steps: list[Step]) -> None:
        text, length, digest = shown
        status = self._pending.status
        steps.append(Observe(StatementStarted(statement.seq, via, status, 0, text, length, digest, b"", b"", ())))

    def query(self, body: bytes) -> Iterator[Step]:
        """A whole query string is sent: the records of its statements, a step each."""
        pending = self._pending
        steps: list[Step] = []
        for text in self.texts(body):
            self._begun.append(self.start(text, steps))
            yield from steps
            steps.clear()
        statements, self._begun = self._begun, []
        query = Query(statements[0])
        if len(statements) > 1:
            query.rest = deque(statements[1:])
            size = STATEMENT * len(statements)
            query.share = pending.kept.share(size) if pending.kept.room(size) else None
        if pending.statements.get(b"") is not None:
            query.changes = (drop(pending, b""),)
        pending.expect((QUERY, query), steps, whole=True)
        yield from steps

    def close(self, outcome: Outcome) -> list[Record]:
        """Records for statements of a string that was not sent yet when the line ended."""
        begun, self._begun = self._begun, []
        return [each for statement in begun for each in broken_off(statement, outcome, self._pending.status)]
