"""The line of a terminal that the cursor is in, as long as it is: all that is kept of a screen. Pure; part of
``screen``.

A line may be several rows of the screen, where it was written over the margin; columns are counted through.
"""

import re
from unicodedata import category, east_asian_width

CELLS_MOST = 4096
COLUMNS_MOST = 1024
"""A client may say any width; what changes a row costs as much as the row is wide."""
CELLS_A_UNIT = 8
WORK_A_CHARACTER = 3
"""For one that is asked how wide it is."""
_NARROW = re.compile("[\u0020-\u02ff\u0370-\u0482\u048a-\u0590\ufffd]+")
"""Characters that each take one cell: of many, this need not be asked one by one."""


class Line:
    """``at`` is where the next character goes. At a margin it goes to the next row, unless the cursor moves first
    (``over``), as terminals do. ``work`` grows by what was done, one for each ``CELLS_A_UNIT`` cells that were
    moved."""

    __slots__ = ("at", "cells", "columns", "insert", "over", "work")

    def __init__(self, columns: int) -> None:
        self.cells: list[str] = []
        self.at = 0
        self.over = False
        self.insert = False
        self.work = 0
        self.resize(columns)

    @property
    def _row(self) -> int:
        """Where the row begins that the cursor is in."""
        return (self.at - self.over) // self.columns * self.columns

    @property
    def _column(self) -> int:
        return self.at - self.over - self._row

    def text(self) -> str:
        """What stands in it, without the blanks at its end."""
        self.work += len(self.cells) // CELLS_A_UNIT
        return "".join(self.cells).rstrip()

    def before(self) -> str:
        """What stands before the cursor."""
        self.work += len(self.cells) // CELLS_A_UNIT
        return "".join(self.cells[: self.at])

    def put(self, text: str) -> None:
        """Characters that are shown."""
        position, end = 0, len(text)
        while position < end:
            run = _NARROW.match(text, position)
            if run is not None:
                self._narrow(list(run[0]))
                position = run.end()
                continue
            self._other(text[position])
            position += 1

    def _narrow(self, cells: list[str]) -> None:
        if not self.insert:
            self._write(cells)
            return
        while cells:  # what is pushed out of a row is gone, so each row by itself
            room = self.columns - self.at % self.columns
            self._write(cells[:room])
            cells = cells[room:]

    def _other(self, character: str) -> None:
        self.work += WORK_A_CHARACTER
        if category(character) in ("Mn", "Me", "Cf"):
            last = min(self.at, len(self.cells)) - 1
            if last >= 0 and len(self.cells[last]) < 8:
                self.cells[last] += character
        elif east_asian_width(character) in "WF":
            self._write([character, ""])
        else:
            self._write([character])

    def _write(self, cells: list[str]) -> None:
        known = len(self.cells)
        if self.at > known:
            self.cells += [" "] * (min(self.at, CELLS_MOST) - known)
            self.work += (len(self.cells) - known) // CELLS_A_UNIT
        if self.insert and self.at < len(self.cells):
            self.over = False
            self.blank_in(len(cells))
        self.work += len(cells) // CELLS_A_UNIT
        self.cells[self.at : self.at + len(cells)] = cells
        del self.cells[CELLS_MOST:]
        self.at += len(cells)
        self.over = self.at % self.columns == 0

    def move(self, column: int) -> None:
        """To a column of the row, from 0."""
        row = self._row
        self.at = row + max(0, min(self.columns - 1, column))
        self.over = False

    def right(self, count: int) -> None:
        self.move(self._column + count)

    def tab(self) -> None:
        self.move((self._column // 8 + 1) * 8)

    def up(self, rows: int) -> None:
        """Only within the line: what is above it is not known."""
        column, row = self._column, self._row
        self.at = max(0, row - rows * self.columns) + column
        self.over = False

    def down(self, rows: int) -> bool:
        """To a lower row of the line; False where it has none."""
        column, row = self._column, self._row
        last = max(0, len(self.cells) - 1) // self.columns * self.columns
        if row >= last:
            return False
        self.at = min(last, row + rows * self.columns) + column
        self.over = False
        return True

    def fresh(self, column: int | None = None) -> None:
        """Another line, of which nothing is known, in the same column or that one."""
        self.at = min(self._column if column is None else column, self.columns - 1)
        self.over = False
        self.cells.clear()

    def resize(self, columns: int) -> None:
        self.columns = max(1, min(columns, COLUMNS_MOST))
        self.over = False

    # -- changes of the row --------------------------------------------------------------------------------------

    def erase(self, which: int) -> None:
        """From the cursor to the row's end (0), from its beginning to the cursor (1), or all of it (2)."""
        row = self._row
        here = self.at - self.over
        start = here if which == 0 else row
        stop = here + 1 if which == 1 else row + self.columns
        self._clear(start, stop)

    def erase_below(self) -> None:
        del self.cells[self.at - self.over :]

    def blank(self, count: int) -> None:
        """Overwrite so many with blanks."""
        here = self.at - self.over
        self._clear(here, min(here + count, self._row + self.columns))

    def blank_in(self, count: int) -> None:
        """Push what follows in the row to the right."""
        here, end = self.at - self.over, self._row + self.columns
        count = max(0, min(count, end - here))
        if here < len(self.cells):
            self.work += (end - here) // CELLS_A_UNIT
            kept = self.cells[here : min(end, len(self.cells))]
            self.cells[here:end] = ([" "] * count + kept)[: end - here]

    def take_out(self, count: int) -> None:
        """Pull what follows in the row to the left."""
        here, end = self.at - self.over, self._row + self.columns
        count = max(0, min(count, end - here))
        self.work += (end - here) // CELLS_A_UNIT
        rest = self.cells[here + count : end]
        more = len(self.cells) > end
        self.cells[here:end] = rest + [" "] * count if more else rest

    def _clear(self, start: int, stop: int) -> None:
        self.work += (stop - start) // CELLS_A_UNIT
        if stop >= len(self.cells):
            del self.cells[start:]
        else:
            self.cells[start:stop] = [" "] * (stop - start)
