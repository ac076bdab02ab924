"""SQL text as the server's lexer cuts it: strings, names, comments, words. Pure; called by ``split`` and
``redact``.

Source: PostgreSQL manual, chapter "SQL Syntax", section "Lexical Structure". Works on UTF-8 bytes. Never fails:
what does not end runs to the end of the text, and is marked so.
"""

import re
from collections.abc import Iterator
from enum import IntEnum
from functools import partial
from typing import NamedTuple

from proxy.protocols.postgres.names import NAME_MOST


class Kind(IntEnum):
    """Names as the alternatives of the pattern below."""

    SPACE = 0
    COMMENT = 1
    STRING = 2
    DOLLAR = 3
    QUOTED_NAME = 4
    PARAMETER = 5
    WORD = 6
    OTHER = 7


class Token(NamedTuple):
    """``text[start:end]``; ``ended`` is False for a string or comment that runs to the end of the text."""

    kind: Kind
    start: int
    end: int
    ended: bool = True


_PLAIN = rb"[nN]?'[^']*(?:''[^']*)*(?:'|\Z)"
_ESCAPED = rb"[eE]'[^'\\]*(?:(?:\\.|'')[^'\\]*)*(?:'|\\?\Z)"
_LEGACY = rb"[nNeE]?'[^'\\]*(?:(?:\\.|'')[^'\\]*)*(?:'|\\?\Z)"
_BITS = rb"[bBxX]'[^']*(?:'|\Z)|[uU]&'[^']*(?:''[^']*)*(?:'|\Z)"


def _pattern(strings: bytes) -> re.Pattern[bytes]:
    return re.compile(
        rb"(\s+)|(--[^\n\r]*|/\*)|(" + strings + rb"|" + _BITS + rb")"
        rb"|((\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$).*?(?:\5|\Z))"
        rb'|((?:[uU]&)?"[^"]*(?:""[^"]*)*(?:"|\Z))'
        rb"|(\$[0-9]+)|([A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)|([0-9][0-9A-Za-z_.]*|.)",
        re.DOTALL,
    )


_STANDARD_PATTERN = _pattern(_PLAIN + rb"|" + _ESCAPED)
_LEGACY_PATTERN = _pattern(_LEGACY)
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_COMMENT_EDGE = re.compile(rb"/\*|\*/")
_KINDS = (
    Kind.SPACE,
    Kind.SPACE,
    Kind.COMMENT,
    Kind.STRING,
    Kind.DOLLAR,
    Kind.DOLLAR,
    Kind.QUOTED_NAME,
    Kind.PARAMETER,
    Kind.WORD,
    Kind.OTHER,
)


def tokens(text: bytes, escapes: bool = False, position: int = 0) -> Iterator[Token]:
    """All of ``text`` from ``position`` on, cut into tokens. ``escapes``: plain strings have backslash escapes, as
    under standard_conforming_strings = off."""
    match = (_LEGACY_PATTERN if escapes else _STANDARD_PATTERN).match
    length = len(text)
    while position < length:
        found = match(text, position)
        if found is None:  # the last alternative takes any byte
            return
        kind = _KINDS[found.lastindex or 0]
        end = found.end()
        if kind is Kind.COMMENT and text[position : position + 2] == b"/*":
            end, ended = comment_end(text, position + 2)
            yield Token(kind, position, end, ended)
        elif kind is Kind.STRING or kind is Kind.QUOTED_NAME:
            yield Token(kind, position, end, end < length or _closed(kind, text[position:end], escapes))
        elif kind is Kind.DOLLAR:
            delimiter = found.group(5)
            yield Token(
                kind, position, end, end - position >= 2 * len(delimiter) and text.endswith(delimiter, 0, end)
            )
        else:
            yield Token(kind, position, end)
        position = end


def comment_end(text: bytes, position: int) -> tuple[int, bool]:
    """Block comments nest."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(text, position)
        if edge is None:
            return len(text), False
        depth += 1 if edge.group() == b"/*" else -1
        position = edge.end()
    return position, True


def _closed(kind: Kind, piece: bytes, escapes: bool) -> bool:
    """Whether a string that reaches the end of the text has its closing quote: an odd count of them is open."""
    quote = b"'" if kind is Kind.STRING else b'"'
    if not piece.endswith(quote) or len(piece) < 2:
        return False
    if kind is Kind.STRING and (piece[:1] in b"eE" or (escapes and piece[:1] in b"'nN")):
        piece = _ESCAPE.sub(b"", piece)
    return piece.count(quote) % 2 == 0


_UNICODE = rb"(?:%s%s|%s[0-9A-Fa-f]{4}|%s\+[0-9A-Fa-f]{6})"


def meaning(word: bytes, escape: bytes = b"\\") -> bytes:
    """What an identifier is called, in UTF-8: without its quotes, and with its Unicode escapes read. Neither folded
    nor cut."""
    if word[:1] == b'"':
        return word[1:-1].replace(b'""', b'"')
    if word[:2] not in (b"U&", b"u&") or word[2:3] != b'"':
        return word
    pattern = re.compile(_UNICODE.replace(b"%s", re.escape(escape)))
    return pattern.sub(partial(_character, escape), word[3:-1].replace(b'""', b'"'))


def _character(escape: bytes, found: re.Match[bytes]) -> bytes:
    code = found.group()[len(escape) :].lstrip(b"+")
    if code == escape:
        return escape
    number = int(code, 16)
    return chr(number).encode("utf-8", "replace") if number <= 0x10FFFF else b"?"


def name_of(word: bytes) -> bytes:
    """An identifier as the server stores it: unquoted in lower case, cut at 63 bytes, but within no character."""
    name = word[1:-1].replace(b'""', b'"') if word[:1] == b'"' else word.lower()
    return name if len(name) <= NAME_MOST else name[:NAME_MOST].decode("utf-8", "ignore").encode()
