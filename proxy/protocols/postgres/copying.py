"""Which statement takes or gives copy data now, and copy data that a client sent before it was asked for them.
Pure; part of ``pending``, told by ``frontend`` and ``backend``.

Source: PostgreSQL manual, "COPY Operations". A Sync is ignored while the server takes copy data, so one that is
already on its way when the copy begins will never be answered; but one behind the copy data's end will. What comes
before the server asks is for the statement that was sent last: had there been another, it would stand before them.
"""

from collections import deque
from itertools import islice, takewhile

from proxy.protocols.postgres.entries import EXECUTE, QUERY, SYNC, SYNC_ENTRY, Entry, Statement

EARLY_MOST = 1000
"""So many copies are told apart whose data a client sends before it is asked for any."""


def running(queue: deque[Entry]) -> Statement | None:
    """The statement whose rows or copy data come now: the one at the head of what is waited for."""
    if not queue:
        return None
    kind, what = queue[0]
    found: Statement | None = what.current if kind == QUERY else what if kind == EXECUTE else None
    return found


class _Early:
    """Data of one copy that came before it began: for the Query or Execute ``owner``, sent in ``group``. ``syncs``
    went out before the copy's end did; None: its end is still to come."""

    __slots__ = ("gave_up", "group", "owner", "size", "syncs")

    def __init__(self, owner: object, group: int) -> None:
        self.owner = owner
        self.group = group
        self.size = 0
        self.syncs: int | None = None
        self.gave_up = False


class Copying:
    """``statement`` waits for the client's copy data; ``out``: copy data come from the target."""

    __slots__ = ("_early", "_group", "_newest", "_queue", "_syncs", "out", "statement")

    def __init__(self, queue: deque[Entry]) -> None:
        self.statement: Statement | None = None
        self.out = False
        self._queue = queue
        self._early: deque[_Early] = deque()
        self._newest: object = None
        self._group = 0
        self._syncs = 0

    @property
    def active(self) -> bool:
        """Whether nothing but copy data may be said now, either way."""
        return self.out or self.statement is not None

    def sent(self, entry: Entry, group: int) -> None:
        """A message went out that will be answered."""
        if entry[0] == SYNC:
            self._syncs += 1
        else:
            self._newest = entry[1] if entry[0] in (QUERY, EXECUTE) else None
            self._group, self._syncs = group, 0

    def begun(self) -> int:
        """CopyInResponse: how many Syncs, which went out before it, the server will ignore. They are taken off the
        queue."""
        self.over()
        statement = running(self._queue)
        if statement is None:
            return 0
        owner = self._queue[0][1]
        while self._early and self._early[0].owner is not owner:
            self._early.popleft()
        early = self._early.popleft() if self._early else None
        most = early.syncs if early is not None else None
        if early is not None:
            statement.data_bytes += early.size
            statement.gave_up = early.gave_up
        if most is None:
            self.statement = statement
        if self._queue[0][0] != EXECUTE:
            return 0
        syncs = sum(1 for _ in takewhile(_is_sync, islice(self._queue, 1, None)))
        ignored = syncs if most is None else min(syncs, most)
        for _ in range(ignored):
            del self._queue[1]
        return ignored

    def data(self, size: int) -> None:
        """Copy data went out: counted where the server takes them, dropped by the server itself where it does
        not."""
        if self.statement is not None:
            self.statement.data_bytes += size
        elif self._queue and self._newest is not None:
            self._open().size += size

    def ended(self, gave_up: bool) -> None:
        """CopyDone, or CopyFail (``gave_up``), went out, perhaps before we know whether the server takes copy
        data."""
        if self.statement is not None:
            self.statement.gave_up = gave_up
        elif self._queue and self._newest is not None:
            early = self._open()
            if early.syncs is None:
                early.syncs, early.gave_up = self._syncs, gave_up
        self.over()

    def _open(self) -> _Early:
        """The copy that early data are for now."""
        last = self._early[-1] if self._early else None
        full = len(self._early) >= EARLY_MOST
        if last is None or last.owner is not self._newest or (last.syncs is not None and not full):
            last = _Early(self._newest, self._group)
            self._early.append(last)
        return last

    def over(self) -> None:
        """No copy data come or go any more."""
        self.statement = None
        self.out = False

    def forget(self, answered: int) -> None:
        """All groups up to ``answered`` were: what came too early for one of them was for nobody."""
        self.over()
        while self._early and self._early[0].group <= answered:
            self._early.popleft()


def _is_sync(entry: Entry) -> bool:
    return entry is SYNC_ENTRY
