"""A live session as it goes on: what is new of it since the last look, through the API's cursors.

Looks often, but never spends more than a quarter of its time on them: a long recording is not read for nothing.
Called by ``commands.watching``; knows no terminal.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from proxy.cli.client import Api, part

EVERY = 0.3
SELDOM = 5.0
PAGE = 500
OPEN_MOST = 20
"""Statements that run at once whose ends are looked for in one look, the oldest first."""

Item = dict[str, Any]


@dataclass(slots=True)
class News:
    """What one look found. ``begun``: statements seen for the first time, some of them ended already; ``ended``:
    those that ran when they were seen before. ``kept``: bytes and sizes. ``live``: there will be more."""

    live: bool
    began: str
    begun: list[Item] = field(default_factory=list)
    ended: list[Item] = field(default_factory=list)
    kept: list[Item] = field(default_factory=list)
    notes: list[Item] = field(default_factory=list)


class Followed:
    """One session; ``statement``: only this one of it (0: all). ``news`` looks until it has ended."""

    def __init__(self, api: Api, session: str, statement: int = 0) -> None:
        self._api = api
        self._path = f"/v1/sessions/{part(session)}"
        self._statement = statement
        self._reached = 0
        self._more = False
        self._notes = 0
        self._seq = statement - 1 if statement else 0
        self._open: dict[int, Item] = {}

    def news(self) -> Iterator[News]:
        """The first is all there was. ``Failed`` as the API's calls."""
        while True:
            looked = time.monotonic()
            found = self._look()
            yield found
            if not found.live:
                return
            if self._more:
                continue
            time.sleep(min(max(EVERY, 3 * (time.monotonic() - looked)), SELDOM))

    def _look(self) -> News:
        """One look. The bytes come first: where they say that it has ended, all else is complete, too."""
        page = self._page()
        found = News(page["live"] or self._more, page["began"], kept=page["items"])
        found.ended = list(self._over())
        found.begun = list(self._new())
        found.notes = [each for each in self._noted() if self._wanted(each["data"].get("statement"))]
        return found

    def _page(self) -> Any:
        page = self._api.get(f"{self._path}/output", after=self._reached, statement=self._statement or None)
        self._reached, self._more = page["reached"], page["next"] is not None
        return page

    def _over(self) -> Iterator[Item]:
        for seq in sorted(self._open)[:OPEN_MOST]:
            for each in self._ran(seq - 1, 1):
                if each["outcome"] is not None:
                    del self._open[seq]
                    yield each

    def _new(self) -> Iterator[Item]:
        while not self._statement or self._seq < self._statement:
            items = self._ran(self._seq, 1 if self._statement else PAGE)
            for each in items:
                self._seq = each["seq"]
                if not self._wanted(each["seq"]):
                    return
                if each["outcome"] is None:
                    self._open[each["seq"]] = each
                yield each
            if len(items) < PAGE:
                return

    def _ran(self, after: int, limit: int) -> list[Item]:
        found: list[Item] = self._api.get(f"{self._path}/statements", after=after, limit=limit)["items"]
        return found

    def _noted(self) -> Iterator[Item]:
        more = True
        while more:
            page = self._api.get(f"{self._path}/notes", after=self._notes)
            self._notes += len(page["items"])
            yield from page["items"]
            more = page["more"]

    def _wanted(self, seq: int | None) -> bool:
        return self._statement in (0, seq)
