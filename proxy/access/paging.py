"""All rows of a paged list, page by page, within one unit. Knows only that ids are time-ordered."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from proxy.core.access import Grant, Request
from proxy.core.ports import Page
from proxy.core.sessions import SessionRecord

Row = TypeVar("Row", Request, Grant, SessionRecord)

_ROWS = 500


def every(fetch: Callable[[Page], list[Row]], before: str = "") -> Iterator[Row]:
    """Every row that ``fetch`` gives, newest first, from those older than ``before``."""
    while rows := fetch(Page(_ROWS, before)):
        yield from rows
        if len(rows) < _ROWS:
            return
        before = rows[-1].id
