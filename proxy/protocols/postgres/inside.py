"""What a string literal holds, and where in the text each byte of that stands, so that what is changed inside of it
can be changed in place. Pure; called by ``reading``.

Source: PostgreSQL manual, section "String Constants" and the three after it. Unicode escapes (``U&'…'``) are left
as they are: what hides a name so, wants it hidden.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from proxy.protocols.postgres.patterns import Found
from proxy.protocols.postgres.tokens import Kind, Token

_ESCAPES = re.compile(rb"\\(?:[0-7]{1,3}|x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)|''|\\\Z", re.DOTALL)
_QUOTES = re.compile(rb"''")
_LETTERS: Mapping[bytes, bytes] = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f"}


class Edit(NamedTuple):
    """``text`` may stand where the text has ``[start:end]``."""

    start: int
    end: int
    text: bytes


class Inside:
    """What a string holds, and where in the text each byte of that is."""

    def __init__(self, text: bytes, token: Token, escapes: bool) -> None:
        start, end = token.start, token.end
        self._quoted = token.kind is Kind.STRING
        head = text[start : start + 3].lower()
        escaped = False
        if self._quoted:
            escaped = head[:1] == b"e" or (escapes and head[:1] in b"'n")
            start = text.index(b"'", start) + 1
            end -= token.ended
        else:
            size = text.index(b"$", start + 1) + 1 - start
            start, end = start + size, end - size if token.ended else end
        end = max(start, end)
        raw = text[start:end]
        self._start = start
        self._places: list[int] | None = None
        self.content = raw
        if self._quoted and (b"''" in raw or (escaped and b"\\" in raw)):
            self._unquote(raw, _ESCAPES if escaped else _QUOTES)

    def _unquote(self, raw: bytes, pattern: re.Pattern[bytes]) -> None:
        parts: list[bytes] = []
        places: list[int] = []
        done = 0
        for found in pattern.finditer(raw):
            meant = _meant(found.group())
            parts += (raw[done : found.start()], meant)
            places += range(done, found.start())
            places += [found.start()] * len(meant)
            done = found.end()
        parts.append(raw[done:])
        places += range(done, len(raw) + 1)
        self.content, self._places = b"".join(parts), places

    def at(self, position: int) -> int:
        """Where in the text the byte of the content is."""
        return self._start + (position if self._places is None else self._places[position])

    def back(self, edits: Iterable[Edit | Found]) -> Iterable[Edit]:
        """Edits of the content as edits of the text."""
        for start, end, new in edits:
            yield Edit(self.at(start), self.at(end), new.replace(b"'", b"''") if self._quoted else new)


def _meant(escape: bytes) -> bytes:
    if escape == b"''":
        return b"'"
    code = escape[1:]
    if code[:1] in b"01234567" and code:
        return bytes([int(code, 8) & 255])
    if code[:1] in b"xuU" and len(code) > 1:
        number = int(code[1:], 16)
        return bytes([number]) if code[:1] == b"x" else _character(number)
    return _LETTERS.get(code, code)


def _character(number: int) -> bytes:
    try:
        return chr(number).encode()
    except (ValueError, UnicodeEncodeError):
        return b"?"
