"""How much is unanswered: more than so much is not sent, so that what is waited for is bounded. Pure; part of
``pending``, asked by ``frontend``.
"""

from collections import deque

from proxy.protocols.postgres.entries import EXECUTE, QUERY, Entry, Statement
from proxy.protocols.postgres.keeping import Kept
from proxy.protocols.postgres.limits import Limits


class Backlog:
    """Over the ``queue`` of what is to be answered, and the memory that is ``kept`` for it."""

    __slots__ = ("_kept", "_limits", "_queue")

    def __init__(self, queue: deque[Entry], kept: Kept, limits: Limits) -> None:
        self._queue = queue
        self._kept = kept
        self._limits = limits

    def full(self) -> bool:
        """Whether so much is unanswered that no more should be sent until it is ``eased``."""
        most = self._limits
        return bool(self._queue) and (len(self._queue) >= most.max_pending or self._kept.size >= most.max_kept)

    def eased(self) -> bool:
        """Whether so much was answered that more may be sent."""
        most = self._limits
        return not self._queue or (
            len(self._queue) <= most.max_pending // 2 and self._kept.size <= most.max_kept // 2
        )

    def first(self) -> int:
        """The number of the first statement without an answer; 0 when there is none."""
        for kind, what in self._queue:
            statement: Statement | None = what if kind == EXECUTE else what.current if kind == QUERY else None
            if statement is not None:
                return statement.seq
        return 0
