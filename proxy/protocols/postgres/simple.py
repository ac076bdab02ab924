"""The simple query protocol as the client speaks it: one Query, one or many statements, one ReadyForQuery. Pure;
called by ``frontend``.

Source: PostgreSQL manual, chapter "Frontend/Backend Protocol", section "Simple Query". A Query also destroys the
unnamed prepared statement, whether it succeeds or not.
"""

from collections import deque

from proxy.core.records import StatementStarted, Via
from proxy.core.steps import Observe, Step
from proxy.protocols.postgres.entries import QUERY, Query, Statement
from proxy.protocols.postgres.naming import changes_of, drop
from proxy.protocols.postgres.pending import Pending
from proxy.protocols.postgres.texts import Shown, copies, effect


class Simple:
    """Query strings of one conversation."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending

    def texts(self, body: bytes) -> list[bytes]:
        """The statements of a Query's text, in UTF-8, not redacted yet."""
        return self._pending.texts.statements(body)

    def start(self, text: bytes, steps: list[Step]) -> Statement:
        """Record the run of one statement."""
        pending = self._pending
        statement = pending.opened()
        what = effect(text)
        if what[0]:
            statement.changes = changes_of(pending, what, text, steps)
        self._record(statement, pending.texts.shown(text), Via.COPY if copies(text) else Via.SIMPLE, steps)
        return statement

    def refused(self, text: bytes, steps: list[Step], via: Via) -> Statement:
        """Record what will not run, whatever it would have done."""
        statement = self._pending.opened()
        self._record(statement, self._pending.texts.beginning(text), via, steps)
        return statement

    def _record(self, statement: Statement, shown: Shown, via: Via, steps: list[Step]) -> None:
        text, length, digest = shown
        status = self._pending.status
        steps.append(Observe(StatementStarted(statement.seq, via, status, 0, text, length, digest, b"", b"", ())))

    def query(self, body: bytes, steps: list[Step]) -> None:
        """A whole query string is sent."""
        pending = self._pending
        statements = [self.start(text, steps) for text in self.texts(body)]
        query = Query(statements[0])
        if len(statements) > 1:
            query.rest = deque(statements[1:])
        if pending.statements.get(b"") is not None:
            query.changes = (drop(pending, b""),)
        pending.expect((QUERY, query), whole=True)
