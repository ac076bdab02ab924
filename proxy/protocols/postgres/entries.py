"""What is waited for: the entries of the queue of expected answers. Pure values that change; made by the client's
side, read by ``pending``.
"""

from collections import deque
from typing import Any

from proxy.core.records import Parameter
from proxy.protocols.postgres.keeping import Share
from proxy.protocols.postgres.names import Named, Names, Portal, Prepared

QUERY, EXECUTE, SYNC, PARSE, BIND, DESCRIBE, CLOSE, REFUSED = range(8)
IDLE = 73

Change = tuple[Names, bytes, Named]  # type: ignore[type-arg]
"""In which table, under which name, what: see ``names``."""


class Statement:
    """A statement that was sent and is not finished. ``keeping``: the next row is to be kept, with those in
    ``kept``; ``changes`` what it does to names if it succeeds; ``gave_up``: the client said CopyFail; ``call``: the
    ``large_objects.Call`` that it is, if it is one."""

    __slots__ = (
        "call",
        "changes",
        "data_bytes",
        "description",
        "gave_up",
        "keeping",
        "kept",
        "kept_bytes",
        "portal",
        "rows",
        "seq",
    )

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.rows = 0
        self.data_bytes = 0
        self.gave_up = False
        self.keeping = False
        self.kept: list[bytes] = []
        self.kept_bytes = 0
        self.description = b""
        self.portal: Portal | None = None
        self.call: Any = None
        self.changes: tuple[Change, ...] = ()


class Query:
    """A query string: its statements, answered one by one, and then by one ReadyForQuery. ``share``: of the memory
    that may be kept."""

    __slots__ = ("changes", "current", "rest", "share")

    def __init__(self, first: Statement) -> None:
        self.current: Statement | None = first
        self.rest: deque[Statement] | None = None
        self.changes: tuple[Change, ...] = ()
        self.share: Share | None = None

    def advance(self) -> None:
        self.current = self.rest.popleft() if self.rest else None


Quick = tuple[Prepared, bytes, tuple[Parameter, ...], tuple[int, ...], bool, bool]
"""A Bind, Execute and Sync that ``express`` sent: of what, by which name, with which values and result formats;
whether a Parse went before, and a Describe between. No class: one is made for every such chunk."""


class Refused:
    """A message that was not passed on: ``answer`` is what the client is told in the place of the server's error;
    ``whole``: it is answered by a ReadyForQuery of its own; ``told``: the error has come; ``seq`` is the number of
    the statement."""

    __slots__ = ("answer", "seq", "told", "whole")

    def __init__(self, answer: bytes, whole: bool, seq: int) -> None:
        self.answer = answer
        self.seq = seq
        self.whole = whole
        self.told = False


Entry = tuple[int, Any]
"""What kind of answer, and what it is about: a Query, a Statement (EXECUTE), a Change (PARSE, BIND, CLOSE), a
Prepared or Portal or None (DESCRIBE), a Refused, or None (SYNC). Not a union: telling its members apart would cost
a call each on the session path."""
SYNC_ENTRY: Entry = (SYNC, None)


def rows_of(tag: bytes) -> int:
    """The row count of a command tag, its last word; -1 where it has none."""
    count = tag[tag.rfind(b" ") + 1 :]
    return int(count) if count.isdigit() else -1
