"""A recorded session shown again: what ran, how long it took, how it ended, at the pace it had. Pure over records.

Whatever a client or target sent is neutralised before it reaches a terminal. Called by the command line through the
API's statements, and by tests.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

_CONTROL = re.compile(
    "["
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1: what drives a terminal
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what changes the direction of text
    r"\xad\u200b-\u200d\u2028\u2029\u2060-\u2064\ufeff\U000e0000-\U000e007f"  # what is not seen, or breaks lines
    r"\ud800-\udfff"  # halves of characters: they cannot be printed
    "]"
)
LONGEST_PAUSE = 5.0
"""Seconds: nobody wants to wait through somebody's lunch."""


def safe(text: str) -> str:
    """``text`` without terminal escapes, bidirectional tricks or hidden characters; these show as ``\\xNN``."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def pauses(
    statements: Iterable[Mapping[str, Any]], speed: float, most: float = LONGEST_PAUSE
) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """(seconds to wait before showing it, statement); ``speed`` 2 is twice as fast, 0 does not wait."""
    previous: float | None = None
    for each in statements:
        at = datetime.fromisoformat(each["started"].replace("Z", "+00:00")).timestamp()
        yield 0.0 if previous is None else pause(at - previous, speed, most), each
        previous = at


def pause(gap: float, speed: float, most: float) -> float:
    """Seconds to wait where ``gap`` seconds passed."""
    return 0.0 if speed <= 0 else min(max(gap, 0.0) / speed, most)


def as_text(statement: Mapping[str, Any]) -> str:
    """A few lines: when, the text, its values, and how it ended."""
    return "\n".join([*_begun(statement), *_came(statement), f"    -> {ending(statement)}"])


def begun_as_text(statement: Mapping[str, Any]) -> str:
    """The lines of one that runs: when, the text, its values."""
    return "\n".join(_begun(statement))


def ended_as_text(statement: Mapping[str, Any]) -> str:
    """The lines of what came of one whose begin was told before."""
    return "\n".join([*_came(statement), f"    #{statement['seq']} -> {ending(statement)}"])


def _begun(statement: Mapping[str, Any]) -> Iterator[str]:
    yield f"[{statement['started']}] #{statement['seq']} {indented(named(statement))}"
    for text in statement.get("perhaps", ()):
        yield f"    perhaps {indented(text)}"
    for number, value in enumerate(statement["parameters"], 1):
        yield f"    ${number} = {safe(json.dumps(value, ensure_ascii=False, default=str))}"


def _came(statement: Mapping[str, Any]) -> Iterator[str]:
    for rows in statement.get("results", ()):
        yield from (f"    | {safe(json.dumps(row, ensure_ascii=False, default=str))}" for row in rows)
    for each in statement.get("content", ()):
        begin = f" from byte {each['offset']} on" if each["offset"] else ""
        digest = f", sha256 {each['sha256']}" if each["sha256"] else ""
        yield safe(f"    {each['flow']}: {each['bytes']} bytes{begin}{digest}")
    if "mismatch" in statement:
        yield f"    !! {indented(statement['mismatch'])}"


PLAIN = frozenset({"exec", "shell", "sftp", "scp", "tunnel"})
"""What statements are where the target speaks no SQL: their texts do not say it."""


def named(statement: Mapping[str, Any]) -> str:
    """The text, and what it is where it is no SQL: ``exec ls /``, ``shell in a terminal of 80x24``."""
    if statement["protocol"] not in PLAIN:
        return str(statement["text"])
    size = statement.get("terminal")
    where = f"in a terminal of {size['columns']}x{size['rows']}" if size else ""
    return " ".join(each for each in (statement["protocol"], statement["text"], where) if each)


QUIET = frozenset({"startup", "parameter", "perhaps", "mismatch", "passed"})
"""Kinds of notes that say nothing of what somebody did, or are shown with their statement."""


def note_as_text(note: Mapping[str, Any]) -> str:
    """One line of a note: that the session was cut, what the person was told, what was denied."""
    kind, data = note["kind"], note["data"]
    if kind == "farewell":
        words = f"session was cut: {data.get('text') or data.get('reason', '')}"
    elif kind == "warning":
        words = f"warned: {data.get('text', '')}"
    elif kind == "command_observed":
        words = f"in #{data.get('statement')} perhaps: {data.get('text')}{_seen(data)}"
    else:
        words = f"{kind}: " + ", ".join(f"{name} {value}" for name, value in data.items())
    return f"[{note['at']}] -- {indented(words)}"


def _seen(data: Mapping[str, Any]) -> str:
    """Where a command was seen, and its exit status if that was told: never certain."""
    status = "" if data.get("exit") is None else f", exit {data['exit']}"
    return f"  (seen: {data.get('source')}{status})"


def indented(text: str) -> str:
    """Safe text whose further lines stand to the right of ours: a statement must not be able to fake another."""
    return safe(text).replace("\n", "\n        ")


def ending(statement: Mapping[str, Any]) -> str:
    """``SELECT 3 in 1.2 ms``, ``exit 0 in 3 ms``, ``ERROR 42P01: …``, ``cut after 340 ms`` or ``running``."""
    outcome, duration = statement["outcome"], statement["duration_ms"]
    if outcome is None:
        return "running, or its end was never recorded"
    if duration is None:
        return f"{outcome}: its end was never recorded"
    took = f"{duration:g} ms"
    if outcome == "done":
        return f"{indented(statement['tag'] or 'done')} in {took}"
    if statement["sqlstate"]:
        return f"{outcome} after {took}: {safe(statement['sqlstate'])} {indented(statement['error'] or '')}"
    if statement["protocol"] in PLAIN:
        why = ", ".join(each for each in (statement["tag"], statement["error"]) if each)
        return f"{outcome} after {took}{': ' if why else ''}{indented(why)}"
    return f"{outcome} after {took}"
