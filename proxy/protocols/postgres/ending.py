"""How statements end: the records, and when it is certain. Pure; part of ``pending``.

A CommandComplete is not the end of what is not in a transaction block: several statements of one string, or of one
pipeline, are one transaction, which an error or a failing commit undoes as a whole. So what may have changed
something waits for its ReadyForQuery there. So do the last statement of a group and every one that failed: only the
ReadyForQuery tells the transaction's state. What only reads ends when it is done, since the client has the rows.
Source: PostgreSQL manual, "Multiple Statements in a Simple Query" and "Pipelining".
"""

from proxy.core.records import Note, Outcome, Record, ResultRows, StatementFinished
from proxy.core.steps import Observe, Step
from proxy.protocols.postgres.entries import IDLE, Statement, rows_of
from proxy.protocols.postgres.results import described

IN_BLOCK = 84
CANCELLED = b"57014"
UNDONE = b"40000"
"""transaction_rollback: the SQLSTATE of a statement that another one's error undid."""
WAITING_MOST = 2_000
"""In a longer pipeline the statements end as they are done; a note tells where that was not the end."""
_READS = (b"SELECT", b"FETCH", b"SHOW", b"EXPLAIN", b"MOVE")
_BEGINS = frozenset({b"BEGIN", b"START TRANSACTION"})
_COMMITS = frozenset(
    {
        *(b"CALL", b"DO", b"VACUUM", b"REINDEX", b"CLUSTER", b"ALTER TABLE", b"ALTER SYSTEM", b"DISCARD ALL"),
        *(b"CREATE INDEX", b"DROP INDEX", b"CREATE DATABASE", b"ALTER DATABASE", b"DROP DATABASE"),
        *(b"CREATE TABLESPACE", b"DROP TABLESPACE", b"COMMIT PREPARED", b"ROLLBACK PREPARED"),
        *(b"CREATE SUBSCRIPTION", b"ALTER SUBSCRIPTION", b"DROP SUBSCRIPTION"),
    }
)
"""What may commit by itself where it is executed in a pipeline: a later error undoes nothing of it for certain."""


class _End:
    """An end that waits. ``certain``: the server said so after its commit."""

    __slots__ = ("certain", "data_bytes", "error", "outcome", "rows", "seq", "sqlstate", "tag")

    def __init__(self, statement: Statement, outcome: Outcome, tag: bytes, rows: int, certain: bool) -> None:
        self.seq = statement.seq
        self.outcome = outcome
        self.tag = tag
        self.rows = rows
        self.data_bytes = statement.data_bytes
        self.sqlstate = self.error = b""
        self.certain = certain

    def fail(self, outcome: Outcome, sqlstate: bytes, error: bytes) -> None:
        self.outcome, self.sqlstate, self.error = outcome, sqlstate, error

    def record(self, transaction: int) -> StatementFinished:
        return StatementFinished(
            self.seq,
            self.outcome,
            self.tag,
            self.rows,
            self.data_bytes,
            self.sqlstate,
            self.error,
            transaction,
        )


class Ending:
    """Ends of one conversation. ``status``, where it is asked for, is the transaction's, I, T or E, as last told;
    messages of errors come as they may be recorded. Nothing is kept from one group to the next."""

    __slots__ = ("_block", "_culprit", "_early", "_failed", "_waiting")

    def __init__(self) -> None:
        self._block: bool | None = None
        self._waiting: list[_End] = []
        self._failed = False
        self._culprit = 0
        self._early: tuple[int, int] | None = None

    def done(
        self, statement: Statement, tag: bytes, status: int, steps: list[Step], last: bool, whole: bool, ended: bool
    ) -> bool:
        """The server completed a statement: of a query string (``whole``), or an Execute; or (no ``tag``) some rows
        of it. ``last``: no other comes before the ReadyForQuery, as far as is known; ``ended``: it was the end of a
        transaction. Whether its end waits."""
        if statement.kept:
            steps.append(Observe(_rows(statement)))
        rows = rows_of(tag) if tag else statement.rows or -1
        end = _End(statement, Outcome.DONE, tag, rows, whole and last)
        commits = ended or (not whole and tag in _COMMITS)
        if commits:
            self._now(status, steps)
        if ended or tag in _BEGINS:
            self._block = not ended
        block = self._in_block(status)
        if last or not (block or commits or not tag or tag.startswith(_READS)):
            self._wait(end, status, steps)
            return True
        steps.append(Observe(end.record(status if self._block is None else IN_BLOCK if block else IDLE)))
        return False

    def _in_block(self, status: int) -> bool:
        return status != IDLE if self._block is None else self._block

    def failed(self, statement: Statement, state: bytes, message: bytes, status: int, steps: list[Step]) -> None:
        """The server failed a statement."""
        self._failed = True
        if statement.seq:
            self._culprit = statement.seq
            end = self._unfinished(statement, Outcome.FAILED, status, steps)
            end.fail(_outcome(state, statement.gave_up), state, message)

    def skipped(
        self, statement: Statement, status: int, steps: list[Step], outcome: Outcome = Outcome.SKIPPED
    ) -> None:
        """The server passed over a statement; or (UNKNOWN) answered its group without a word of it."""
        if statement.seq:
            self._unfinished(statement, outcome, status, steps)

    def _unfinished(self, statement: Statement, outcome: Outcome, status: int, steps: list[Step]) -> _End:
        if statement.kept:
            steps.append(Observe(_rows(statement)))
        end = _End(statement, outcome, b"", statement.rows or -1, False)
        self._wait(end, status, steps)
        return end

    def error(self, state: bytes, message: bytes, steps: list[Step]) -> None:
        """An error while no statement runs: at a Sync the commit failed, and with it all that waits for it. Else it
        belongs to no statement."""
        undone = [end for end in self._waiting if end.outcome is Outcome.DONE and not end.certain]
        for end in undone:
            end.fail(_outcome(state, False), state, message)
        if not undone:
            self.note(state, message, steps)

    def broke(self, refused: int = 0) -> None:
        """The group failed, though none of its statements did: a message between them, or the statement of this
        number was ``refused``."""
        self._failed, self._culprit = True, refused

    def note(self, state: bytes, message: bytes, steps: list[Step]) -> None:
        """Record an error that belongs to no statement."""
        text = message.decode("utf-8", "replace")
        steps.append(Observe(Note("error", (("sqlstate", state.decode("ascii", "replace")), ("message", text)))))

    def _wait(self, end: _End, status: int, steps: list[Step]) -> None:
        if len(self._waiting) >= WAITING_MOST:
            if end.outcome is Outcome.SKIPPED:
                steps.append(Observe(end.record(status)))
                return
            self._early = (self._early or (self._waiting[0].seq, 0))[0], self._waiting[-1].seq
            self._now(status, steps)
        self._waiting.append(end)

    def _now(self, status: int, steps: list[Step]) -> None:
        """What waits ends as it is."""
        steps.extend(Observe(end.record(status)) for end in self._waiting)
        self._waiting.clear()

    def ready(self, status: int, steps: list[Step]) -> None:
        """ReadyForQuery with the new ``status``: everything that waits has ended. Outside a block an error undid
        what was done before it in the same transaction."""
        if self._failed and status == IDLE:
            self._undo(steps)
        self._now(status, steps)
        self._failed, self._culprit, self._early, self._block = False, 0, None, None

    def _undo(self, steps: list[Step]) -> None:
        why = b"rolled back: " + (b"#%d failed" % self._culprit if self._culprit else b"an error came after it")
        for end in self._waiting:
            if end.outcome is Outcome.DONE and not end.certain:
                end.fail(Outcome.FAILED, UNDONE, why)
        if self._early:
            first, last = self._early
            steps.append(Observe(Note("rolled back", (("first", first), ("last", last)))))

    def close(self, status: int) -> list[Record]:
        """Records for what waits when the line ends. Outside a block nobody knows whether it was committed."""
        block = self._in_block(status)
        for end in self._waiting:
            if end.outcome is Outcome.DONE and not end.certain and not block:
                end.outcome = Outcome.UNKNOWN
        records: list[Record] = [end.record(status) for end in self._waiting]
        self._waiting.clear()
        return records


def broken_off(statement: Statement, outcome: Outcome, status: int) -> list[Record]:
    """Records of a statement that was not answered when the line ended."""
    end = _End(statement, outcome, b"", statement.rows or -1, False).record(status)
    return [_rows(statement), end] if statement.kept else [end]


def _rows(statement: Statement) -> ResultRows:
    return ResultRows(statement.seq, described(statement.description, statement.portal), tuple(statement.kept))


def _outcome(state: bytes, gave_up: bool) -> Outcome:
    """A client that breaks its copy off itself gets the SQLSTATE of a cancel."""
    return Outcome.CANCELLED if state == CANCELLED and not gave_up else Outcome.FAILED
