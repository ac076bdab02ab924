"""On which line each setting of a TOML text stands.

``tomllib`` gives values without places, so this walks the text once more. It reads only text that ``tomllib`` has
accepted, and therefore checks nothing; where it is unsure it leaves a place out, never guesses. Pure.
"""

import re
from collections.abc import Mapping

from gateway_config.problems import Place

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}\n#]*")
_STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)


def lines(text: str) -> Mapping[Place, int]:
    """Place -> line (from 1) of every table, key, array element and inline-table key."""
    return _Walk(text).whole()


def line_of(known: Mapping[Place, int], place: Place) -> int | None:
    """The line of the place, or of the nearest thing around it that stands in the file."""
    for length in range(len(place), 0, -1):
        if place[:length] in known:
            return known[place[:length]]
    return None


class _Walk:
    """One pass over the text. ``table`` is the table that the last header opened."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.counted_to = 0
        self.line = 1
        self.found: dict[Place, int] = {}
        self.arrays: dict[Place, int] = {}
        self.table: Place = ()

    def whole(self) -> Mapping[Place, int]:
        self.space()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                self.header()
            else:
                self.pair(self.table)
            self.space()
        return self.found

    def space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def header(self) -> None:
        array = self.text.startswith("[[", self.at)
        self.at += 2 if array else 1
        parts = self.key()
        self.at += 2 if array else 1
        place: Place = ()
        for part in parts[:-1]:
            place = self.latest((*place, part))
        place = (*place, parts[-1])
        if array:
            self.arrays[place] = self.arrays.get(place, -1) + 1
            self.note(place)
        self.table = self.latest(place)
        self.note(self.table)

    def latest(self, place: Place) -> Place:
        """Inside an array of tables, a header goes on with the last element."""
        return (*place, self.arrays[place]) if place in self.arrays else place

    def key(self) -> list[str]:
        parts = []
        while True:
            self.blanks()
            parts.append(self.key_part())
            self.blanks()
            if self.text[self.at : self.at + 1] != ".":
                return parts
            self.at += 1

    def key_part(self) -> str:
        start = self.at
        if self.text[start : start + 1] in ('"', "'"):
            self.string()
            # Escapes stay as they are: such a key only loses its line.
            return self.text[start + 1 : self.at - 1]
        match = _BARE.match(self.text, start)
        self.at = match.end() if match else start + 1
        return self.text[start : self.at]

    def blanks(self) -> None:
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1

    def pair(self, table: Place) -> None:
        start = self.at
        place: Place = table
        for part in self.key():
            place = (*place, part)
            self.note(place, start)
        self.at += 1
        self.space()
        self.value(place)

    def value(self, place: Place) -> None:
        first = self.text[self.at : self.at + 1]
        if first in ('"', "'"):
            self.string()
        elif first == "[":
            self.items(place)
        elif first == "{":
            self.pairs(place)
        else:
            match = _SCALAR.match(self.text, self.at)
            self.at = match.end() if match else self.at + 1

    def string(self) -> None:
        for form in _STRINGS:
            if match := form.match(self.text, self.at):
                self.at = match.end()
                return
        self.at += 1

    def items(self, place: Place) -> None:
        self.at += 1
        index = 0
        while self.more("]"):
            self.note((*place, index))
            self.value((*place, index))
            index += 1

    def pairs(self, place: Place) -> None:
        self.at += 1
        while self.more("}"):
            self.pair(place)

    def more(self, end: str) -> bool:
        """Step over blanks and commas; whether something comes before ``end``, which is stepped over too."""
        self.space()
        while self.text[self.at : self.at + 1] == ",":
            self.at += 1
            self.space()
        if self.at < len(self.text) and self.text[self.at] != end:
            return True
        self.at += 1
        return False

    def note(self, place: Place, at: int | None = None) -> None:
        where = self.at if at is None else at
        self.line += self.text.count("\n", self.counted_to, where)
        self.counted_to = max(self.counted_to, where)
        self.found.setdefault(place, self.line)
