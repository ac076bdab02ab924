"""What a command prints: tables for people, ``--json`` for machines, errors in plain words.

Everything shown to people goes through ``clean``: a reason or a statement is somebody else's text, and must not
move the cursor or colour the terminal of who reads it. Rich is loaded only when a table is drawn.
"""

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any

from proxy.cli.documents import json_text
from proxy.cli.failures import Failed

Row = Mapping[str, Any]
# Ids, instants and names stay in one piece; columns of longer words are folded, but not to less than is readable.
UNBROKEN = 36
FOLDED_LEAST = 40


class Screen:
    """One command's output. ``json`` is set by ``--json``, before or after the command's name."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json

    def show(self, answer: Any, people: Callable[[], None]) -> None:
        """``answer`` as JSON, or whatever ``people`` prints."""
        if self.json:
            self.document(answer)
        else:
            people()

    def document(self, answer: Any) -> None:
        sys.stdout.write(json_text(answer, indent=2 if sys.stdout.isatty() else None) + "\n")

    def line(self, text: str = "") -> None:
        """A line for people on standard output."""
        sys.stdout.write(clean(text) + "\n")

    def note(self, text: str) -> None:
        """A line for people beside the output: standard error, silent with ``--json``."""
        if not self.json:
            _beside(clean(text))

    def table(self, rows: Sequence[Row], columns: Mapping[str, str], empty: str) -> None:
        """``columns``: key -> heading."""
        if not rows:
            self.line(empty)
            return
        draw([[value_text(row.get(key)) for key in columns] for row in rows], list(columns.values()))

    def facts(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """One fact a line, names aligned; empty ones are left out."""
        told = [(name, value_text(value)) for name, value in pairs if value not in (None, "", [], ())]
        width = max((len(name) for name, _ in told), default=0)
        for name, text in told:
            self.line(f"{name:<{width}}  {text}")

    def failure(self, failed: Failed) -> None:
        """What happened, and what to do next."""
        if self.json:
            _beside(json_text(failed.document()))
            return
        _beside(f"tidegate: {clean(failed.what)}")
        for field in failed.problem.get("fields", ()):
            said = ": ".join(str(field[name]) for name in ("place", "path", "problem") if field.get(name))
            if str(field.get("problem")) not in failed.what:  # else it was told already
                _beside(f"  {clean(said)}")
        if failed.hint:
            _beside(f"  next: {clean(failed.hint)}")
        if failed.problem.get("reference"):
            _beside(f"  reference: {clean(str(failed.problem['reference']))}")


def _beside(line: str) -> None:
    """To standard error; where that is full or gone there is nobody left to tell."""
    with contextlib.suppress(OSError):
        sys.stderr.write(line + "\n")


def draw(rows: Sequence[Sequence[str]], headings: Sequence[str], out: IO[str] | None = None) -> None:
    """A table by Rich; where nobody looks (a pipe) never wrapped."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    target = out or sys.stdout
    cleaned = [[clean(cell) for cell in row] for row in rows]
    whole = [all(len(cell) <= UNBROKEN for cell in column) for column in zip(*cleaned, strict=True)]
    width = _width(cleaned, headings, whole) if target.isatty() else 10_000
    console = Console(file=target, highlight=False, width=width)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    for heading, unbroken in zip(headings, whole, strict=True):
        table.add_column(heading, overflow="fold", no_wrap=unbroken)
    for row in cleaned:
        table.add_row(*[Text(cell) for cell in row])
    console.print(table)


def _width(rows: Sequence[Sequence[str]], headings: Sequence[str], whole: Sequence[bool]) -> int:
    """The terminal's, or more: an id stays in one piece, to be copied, and the terminal folds what is too long."""
    longest = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    needed = sum(
        each if unbroken else min(each, FOLDED_LEAST) for each, unbroken in zip(longest, whole, strict=True)
    )
    return max(shutil.get_terminal_size().columns, needed + 2 * len(headings))


def clean(text: str) -> str:
    """``text`` without control characters: escape sequences, carriage returns, direction overrides."""
    return "".join(each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in text)


def value_text(value: Any) -> str:
    """A JSON value for people; instants as ``when`` tells them."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(value_text(each) for each in value) or "-"
    return when(value) if isinstance(value, str) else str(value)


def when(text: str) -> str:
    """An ISO 8601 instant in UTC to the second, ``2026-01-31T12:00:00Z``, as replays tell it; any other text as it
    is."""
    if len(text) < 20 or text[4] != "-" or text[10] != "T":
        return text
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return text
