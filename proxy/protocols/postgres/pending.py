"""What the target still owes an answer to, and the join of each statement's record. Pure; ``frontend`` appends what
was sent, ``backend`` tells what came.

Answers are matched by order: each message sent is an entry of the queue, and after an error the server discards up
to the Sync, whose ReadyForQuery is never skipped (PostgreSQL manual, "Pipelining"). A refused message has its
place here too: an unparsable Parse went in its stead, so that the server itself rolls back what went before.

When a statement that was answered has ended for certain is ``ending``'s to say.
"""

from collections import deque

from proxy.core.records import Note, Outcome, Record, StatementAnswered
from proxy.core.steps import Observe, Step
from proxy.protocols.postgres.backlog import Backlog
from proxy.protocols.postgres.copying import Copying, running
from proxy.protocols.postgres.ending import Ending, broken_off
from proxy.protocols.postgres.entries import (
    BIND,
    CLOSE,
    DESCRIBE,
    EXECUTE,
    IDLE,
    PARSE,
    QUERY,
    REFUSED,
    SYNC,
    SYNC_ENTRY,
    Entry,
    Query,
    Quick,
    Refused,
    Statement,
)
from proxy.protocols.postgres.keeping import TYPE, Kept
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.names import Names, Portal, Prepared
from proxy.protocols.postgres.texts import Texts

ENDS = (b"COMMIT", b"PREPARE TRANSACTION")
"""Command tags of what ends a transaction for certain, and with it the life of its portals: a ROLLBACK may be one
to a savepoint."""
MANY_ROWS = 100_000
MANY_BYTES = 1024 * 1024
"""What is kept of a result whose rows, or bytes, have no limit of their own."""
LOOKED_AHEAD = 16
"""So many messages behind an Execute are looked at for another one before the Sync."""
AT_ONCE = 32
"""So many messages or statements that the server passes over are recorded in one step."""


class Pending:
    """The state both sides share. ``status`` is the transaction's, I, T or E, as last told; ``group`` counts Syncs
    and queries sent, ``answered`` those answered; ``skipping``: the target discards up to the next Sync. Where very
    much was passed over at once, ``behind``, it is recorded bit by bit: ``catch_up`` before anything else comes."""

    def __init__(self, limits: Limits, status: int = IDLE) -> None:
        self.limits = limits
        self.texts = Texts(limits)
        self.encoding = self.texts.encoding
        self.keep_rows = limits.record_rows or (MANY_ROWS if limits.record_bytes else 0)
        self.keep_bytes = limits.record_bytes or MANY_BYTES
        self.status = status
        self.ending = Ending()
        self.seq = 0
        self.refs = 0
        self.kept = Kept()
        self.group = 1
        self.answered = 0
        self.open_group = False
        self.quick = 0
        self.quick_bind: Quick | None = None
        self.skipping = False
        self.behind = False
        self._discarding = False
        self._passed_over: deque[Statement] = deque()
        self.queue: deque[Entry] = deque()
        self.texts.in_doubt = self._in_doubt
        self.copying = Copying(self.queue)
        self.backlog = Backlog(self.queue, self.kept, limits)
        self.statements: Names[Prepared] = Names()
        self.portals: Names[Portal] = Names()

    def _in_doubt(self) -> bool:
        """Whether something was sent whose ReadyForQuery, and with it what it set, is still to come."""
        return self.open_group or self.group - 1 > self.answered

    def expand(self) -> None:
        """What ``express`` sent becomes entries like any other: an answer came that is not of its shape, or more
        was sent before the answer."""
        seq, bound = self.quick, self.quick_bind
        self.quick = 0
        if bound is None:
            self._append((QUERY, Query(self._made(seq, None))), self.group - 1)
            return
        prepared, _, _, _, parsed, described = bound
        if parsed:
            self.queue.append((PARSE, (self.statements, b"", prepared)))
        portal = self._bound(bound)
        self.queue.append((BIND, (self.portals, b"", portal)))
        if described:
            self.queue.append((DESCRIBE, portal))
        self._append((EXECUTE, self._made(seq, portal)), self.group - 1)
        self._append(SYNC_ENTRY, self.group - 1)

    def _append(self, entry: Entry, group: int) -> None:
        self.queue.append(entry)
        self.copying.sent(entry, group)

    def _bound(self, quick: Quick) -> Portal:
        """The unnamed portal that a quick Bind made, unsettled."""
        portal = Portal(self.group - 1)
        portal.prepared, portal.statement_name, portal.parameters, portal.formats, _, _ = quick
        self.portals.put(b"", portal)
        return portal

    def ran(self, quick: Quick, status: int) -> None:
        """A quick Bind was answered as it should be. In a transaction block the unnamed portal lives on."""
        prepared, _, _, _, parsed, _ = quick
        if parsed:
            self.statements.settle(b"", prepared)
        if status != IDLE:
            self.portals.settle(b"", self._bound(quick))

    # -- what was sent -------------------------------------------------------------------------------------------

    def opened(self, portal: Portal | None = None) -> Statement:
        """A new statement, with the next number."""
        self.seq += 1
        return self._made(self.seq, portal)

    def _made(self, seq: int, portal: Portal | None) -> Statement:
        statement = Statement(seq)
        statement.portal = portal
        statement.keeping = self.keep_rows > 0
        return statement

    def expect(self, entry: Entry, steps: list[Step], whole: bool = False) -> None:
        """A message went out that will be answered. It leaves its group open, unless it is answered by a
        ReadyForQuery of its own (``whole``): if what stood before it in an open group failed, it is discarded too,
        and the group goes on. Where the server discards already, it is passed over at once."""
        self.copying.sent(entry, self.group)
        if self.skipping and not self.queue:
            self._skip(entry, steps)
            self.group += whole
            return
        self.queue.append(entry)
        if whole:
            self.group += 1
        else:
            self.open_group = True

    def synced(self) -> None:
        """A Sync went out: while the server takes copy data it ignores one."""
        if self.copying.statement is None:
            self._append(SYNC_ENTRY, self.group)
        else:
            self.answered += 1
        self.group += 1
        self.open_group = False

    # -- what came -----------------------------------------------------------------------------------------------

    def current(self) -> Statement | None:
        """The statement whose rows come now."""
        return running(self.queue)

    def acknowledged(self, kind: int) -> None:
        """ParseComplete, BindComplete or CloseComplete."""
        if self.queue and self.queue[0][0] == kind:
            names, name, thing = self.queue.popleft()[1]
            names.settle(name, thing)

    def described(self, body: bytes | None) -> None:
        """RowDescription or NoData (None). In a query it tells of the rows that come."""
        if not self.queue:
            return
        kind, what = self.queue[0]
        if kind == DESCRIBE:
            self.queue.popleft()
            if isinstance(what, Prepared | Portal) and body is not None and self.keep_rows:
                self._describe(what, body)
        elif kind == QUERY and what.current is not None and body is not None:
            what.current.description = body

    def _describe(self, what: Prepared | Portal, body: bytes) -> None:
        """Kept as long as there is room: without it columns have numbers for names."""
        if self.kept.room(len(body)):
            what.share = what.share if what.description else self.kept.share(len(body), what.share)
            what.description = body

    def typed(self, types: tuple[int, ...]) -> None:
        """ParameterDescription."""
        what = self.queue[0][1] if self.queue else None
        if not isinstance(what, Prepared):
            return
        what.usual = None
        if self.kept.room(TYPE * len(types)):
            what.share = what.share if what.types else self.kept.share(TYPE * len(types), what.share)
            what.types = types

    def completed(self, tag: bytes, steps: list[Step]) -> None:
        """CommandComplete or EmptyQueryResponse (b"")."""
        self.copying.over()
        if not self.queue:
            return
        kind, what = self.queue[0]
        if kind == QUERY:
            statement = what.current
            if statement is None:
                return
            what.advance()
            last = what.current is None
        elif kind == EXECUTE:
            statement = what
            self.queue.popleft()
            last = self._is_last()
            if statement.portal is not None:
                self._verify(statement, statement.portal, tag, steps)
        else:
            return
        ended = tag in ENDS or (tag == b"ROLLBACK" and bool(statement.changes))
        for names, name, thing in statement.changes:
            names.settle(name, thing)
        statement.changes = ()
        if ended:
            self.portals.forget(self.answered)
        waits = self.ending.done(statement, tag, self.status, steps, last, kind == QUERY, ended)
        if waits and not (last and kind == QUERY) and not (self.queue and self.queue[0] is SYNC_ENTRY):
            steps.append(Observe(StatementAnswered(statement.seq)))  # its end may be long in coming

    def _is_last(self) -> bool:
        """Whether the Execute that was answered is the last of its group, as far as was sent."""
        for number, (kind, _) in enumerate(self.queue):
            if kind == SYNC:
                return True
            if kind in (EXECUTE, QUERY, REFUSED) or number == LOOKED_AHEAD:
                return False
        return True

    def _verify(self, statement: Statement, portal: Portal, tag: bytes, steps: list[Step]) -> None:
        """Whether the command tag fits the text that ran as far as we know. A function may have given the name
        another meaning; then it has none for us any more."""
        prepared = portal.prepared
        if prepared is None or not prepared.tags or not tag or tag.startswith(prepared.tags):
            return
        what = tag.decode("utf-8", "replace")
        steps.append(Observe(Note("mismatch", (("statement", statement.seq), ("tag", what)))))
        self.statements.withdraw(prepared.name, prepared, ended=True)
        self.portals.withdraw(portal.name, portal, ended=True)

    def suspended(self, steps: list[Step]) -> None:
        """PortalSuspended: an Execute reached its row limit; the portal goes on with the next."""
        if not self.queue:
            return
        kind, what = self.queue[0]
        if kind == EXECUTE:
            self.queue.popleft()
            self.ending.done(what, b"", self.status, steps, self._is_last(), False, False)
        elif kind == QUERY and what.current is not None:
            statement = what.current
            what.advance()
            self.ending.done(statement, b"", self.status, steps, what.current is None, True, False)

    def failed(self, fields: dict[bytes, bytes], steps: list[Step]) -> None:
        """ErrorResponse that is not the answer to something refused."""
        self.copying.over()
        state = fields.get(b"C", b"")[:5]
        message = self.texts.error(state, fields.get(b"M", b""))
        kind, what = self.queue[0] if self.queue else SYNC_ENTRY
        if kind == SYNC or (kind == QUERY and what.current is None):
            self.ending.error(state, message, steps)
        elif kind == QUERY:
            self._fail(what.current, state, message, steps)
            self._skip_rest(what)
        elif kind == REFUSED and what.told:
            self.ending.note(state, message, steps)
        else:
            self._fail_group(state, message, steps)

    def _fail(self, statement: Statement, state: bytes, message: bytes, steps: list[Step]) -> None:
        _withdraw(statement)
        self.ending.failed(statement, state, message, self.status, steps)

    def _fail_group(self, state: bytes, message: bytes, steps: list[Step]) -> None:
        """The head failed; what comes after it up to the Sync is discarded. The statement that the failed message
        belongs to (its own Execute, the next in the group) carries the error."""
        kind, what = self.queue.popleft()
        self.skipping = True
        self.ending.broke()
        if kind == EXECUTE:
            self._fail(what, state, message, steps)
        else:
            if kind in (PARSE, BIND, CLOSE):
                names, name, thing = what
                # a failed Parse has dropped the unnamed statement before it looked at the text
                names.withdraw(name, thing, ended=kind == PARSE and not name)
            for kind, what in self.queue:
                if kind in (SYNC, QUERY, REFUSED):
                    self.ending.note(state, message, steps)
                    break
                if kind == EXECUTE:
                    self._fail(what, state, message, steps)
                    what.seq = 0
                    break
            else:
                self.ending.note(state, message, steps)
        self._discarding = self.behind = True

    def catch_up(self, steps: list[Step]) -> bool:
        """Record a few of the messages and statements that the server passes over; whether more are left."""
        for _ in range(AT_ONCE):
            if self._passed_over:
                statement = self._passed_over.popleft()
                _withdraw(statement)
                self.ending.skipped(statement, self.status, steps)
            elif not self._discarding:
                break
            elif self.queue and self.queue[0] is not SYNC_ENTRY:
                self._skip(self.queue.popleft(), steps)
            else:
                self._discarding = False
        self.behind = self._discarding or bool(self._passed_over)
        return self.behind

    def refused(self, steps: list[Step]) -> None:
        """The server has failed what went in a refused message's stead, and, unless that has a ReadyForQuery of its
        own, discards the rest of the group."""
        refused: Refused = self.queue[0][1]
        self.ending.broke(refused.seq)
        if refused.whole:
            refused.told = True
            return
        self.queue.popleft()
        self.skipping = self._discarding = self.behind = True

    def _skip(self, entry: Entry, steps: list[Step]) -> None:
        kind, what = entry
        if kind == EXECUTE:
            _withdraw(what)
            self.ending.skipped(what, self.status, steps)
        elif kind == QUERY:
            if what.current is not None:
                _withdraw(what.current)
                self.ending.skipped(what.current, self.status, steps)
            self._skip_rest(what)
            for names, name, thing in what.changes:
                names.withdraw(name, thing)
            self.answered += 1
        elif kind == REFUSED:
            self.answered += what.whole
        elif kind in (PARSE, BIND, CLOSE):
            names, name, thing = what
            names.withdraw(name, thing)

    def _skip_rest(self, query: Query) -> None:
        self._passed_over.extend(query.rest or ())
        self.behind = True
        query.rest = None
        query.current = None

    def ready(self, status: int, steps: list[Step]) -> None:
        """ReadyForQuery."""
        self.status = status
        queue = self.queue
        while queue:
            kind, what = entry = queue.popleft()
            if kind == SYNC or (kind == REFUSED and what.whole and not self.skipping):
                self.answered += 1
                break
            if kind == QUERY and not self.skipping:
                for statement in (what.current, *(what.rest or ())):
                    if statement is not None:  # the target counted fewer statements than we did
                        _withdraw(statement)
                        self.ending.skipped(statement, self.status, steps, Outcome.UNKNOWN)
                for names, name, thing in what.changes:
                    names.settle(name, thing)
                self.answered += 1
                break
            self._skip(entry, steps)
        while self.catch_up(steps):
            pass
        self.skipping = False
        self.copying.forget(self.answered)
        self.ending.ready(status, steps)
        if status == IDLE:
            self.portals.forget(self.answered)

    def close(self, outcome: Outcome) -> list[Record]:
        """Records for whatever is open when the line ends."""
        if self.quick:
            self.expand()
        steps: list[Step] = []
        while self.catch_up(steps):
            pass
        records = [step.record for step in steps if isinstance(step, Observe)]
        records += self.ending.close(self.status)
        for kind, what in self.queue:
            if kind == EXECUTE and what.seq:
                records.extend(broken_off(what, outcome, self.status))
            elif kind == QUERY:
                for statement in (what.current, *(what.rest or ())):
                    if statement is not None:
                        records.extend(broken_off(statement, outcome, self.status))
        self.queue.clear()
        return records


def _withdraw(statement: Statement) -> None:
    """What it would have done to names was not done."""
    for names, name, thing in statement.changes:
        names.withdraw(name, thing)
