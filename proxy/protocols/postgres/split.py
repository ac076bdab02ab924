"""A query string into its statements, as the server itself would see them. Pure; called by ``texts`` for texts
that have a semicolon before their end. The only file that knows the SQL parser (libpg_query through postgast).

Our own scanner cuts, so that all of the text, comments included, is in some statement (but for white space around
it); libpg_query's parser confirms the count, and where the two differ its word counts. Text it cannot parse (a
newer server's syntax, a mistake) is cut by the scanner alone. That is one regular expression a statement, since
texts may be as long as a message; only where semicolons stand inside a statement (rules with several actions,
BEGIN ATOMIC bodies) is it read token by token. Semicolons in other parentheses are a mistake: nothing of such a
string runs.
"""

import re
from importlib import import_module

from proxy.protocols.postgres.tokens import Kind, comment_end, tokens

PARSE_MOST = 32 * 1024
"""Longer texts are cut by the scanner alone: a parse is some 5 to 20 µs a statement."""
TOKENS_MOST = 100_000
"""So many are read of all statements of a text that have semicolons inside: each takes about a microsecond."""

# Possessive throughout: a text of 16 MiB must not take a squared number of steps, nor memory for each.
_COMMENTS = rb"--[^\n\r]*+|/\*(?:[^*/]++|\*(?!/)|/(?!\*))*+\*/"
_BLANK = re.compile(rb"(?:\s++|" + _COMMENTS + rb")*+")
_DELIMITER = rb"\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*+)?\$"


def _statement(strings: bytes, escaped: bytes) -> re.Pattern[bytes]:
    """``escaped``: what before a quote makes it one with backslashes, and so no word in front of a plain one."""
    return re.compile(
        rb"(?:[^;'\"$/\-A-Za-z_\x80-\xff]++|" + strings + rb"|\"[^\"]*+\""
        rb"|(?!" + escaped + rb"')[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+|" + _COMMENTS + rb"|-(?!-)|/(?!\*)"
        rb"|\$[0-9]++|(" + _DELIMITER + rb")(?s:.*?)\1|(?!" + _DELIMITER + rb")\$)*+"
    )


_BACKSLASHED = rb"'(?:[^'\\]++|\\(?s:.)|'')*+'"
_STANDARD = _statement(rb"[eE]" + _BACKSLASHED + rb"|'[^']*+'", rb"[eE]")
_LEGACY = _statement(rb"[eEnN]?" + _BACKSLASHED + rb"|(?:[bBxX]|[uU]&)'[^']*+'", rb"[eEnN]")
"""Up to the semicolon that ends a statement, or to something that is not regular: a nested comment, a string
without an end."""
_INSIDE = re.compile(rb"\b(?:RULE|ATOMIC)\b", re.IGNORECASE)


COMMENTS_MOST = 100_000
"""Comments may nest, and such are counted one by one."""


class TooMany(ValueError):
    """The text has more statements, or a statement more tokens or comments, than are read."""


def split(text: bytes, escapes: bool = False, most: int = 10_000) -> list[bytes]:
    """The statements of ``text`` in order, without the semicolons between them; empty ones are none. A text with
    no statement at all gives [text]. ``TooMany`` when there are more than ``most``."""
    if text.find(b";", 0, -1) < 0:
        return [text]
    pieces = scan(text, escapes, most)
    if len(pieces) > 1 and not escapes and len(text) <= PARSE_MOST:
        parsed = _parsed(text)
        if parsed is not None and len(parsed) != len(pieces):
            pieces = _located(text, parsed)
    return [piece.strip() for piece in pieces] or [text]


def scan(text: bytes, escapes: bool = False, most: int = 10_000) -> list[bytes]:
    """As ``split``, by lexical rules alone, as psql does it."""
    check(text)
    pieces: list[bytes] = []
    start, length, empty = 0, len(text), 0
    budget = TOKENS_MOST
    while start < length:
        first = skip(text, start)
        stop = _end(text, first, escapes)
        if text[first : first + 6].upper() == b"CREATE" and _INSIDE.search(text, first, stop):
            stop, read = _end_of_create(text, first, escapes, budget)
            budget -= read
        if first < stop:
            pieces.append(text[start:stop])
        else:
            empty += 1
        if len(pieces) + empty > most:
            raise TooMany("too many statements in one string")
        start = stop + 1
    return pieces


def check(text: bytes) -> None:
    """``TooMany`` where ``skip`` would take long."""
    if len(text) > PARSE_MOST and text.count(b"/*") > COMMENTS_MOST:
        raise TooMany("too many comments in one string")


def skip(text: bytes, position: int) -> int:
    """Where white space and comments from ``position`` on end."""
    while True:
        found = _BLANK.match(text, position)
        position = found.end() if found else position
        if text[position : position + 2] != b"/*":
            return position
        position = comment_end(text, position + 2)[0]  # it nests, or does not end


def _end(text: bytes, position: int, escapes: bool) -> int:
    """Where the semicolon is that ends the statement at ``position``, or the end of the text."""
    pattern = _LEGACY if escapes else _STANDARD
    while True:
        found = pattern.match(text, position)
        position = found.end() if found else position
        if text[position : position + 2] == b"/*":
            position = comment_end(text, position + 2)[0]
        elif text[position : position + 1] in (b";", b""):
            return position
        else:
            return len(text)  # a string or a name that does not end


def _end_of_create(text: bytes, position: int, escapes: bool, most: int) -> tuple[int, int]:
    """The same for a statement with semicolons inside, and the tokens read. ``TooMany`` beyond ``most``."""
    depth = number = 0
    block = _AtomicBlock()
    for number, token in enumerate(tokens(text, escapes, position)):
        if number > most:
            raise TooMany("statements too long to be told from the next")
        if token.kind is Kind.OTHER:
            each = text[token.start]
            if each == 59 and depth <= 0 and block.depth == 0:  # ;
                return token.start, number
            depth += (each == 40) - (each == 41)  # ( )
        elif token.kind is Kind.WORD:
            block.word(text[token.start : token.end].upper())
    return len(text), number


class _AtomicBlock:
    """Follows the words of a CREATE: semicolons inside a function's BEGIN ATOMIC … END end nothing."""

    __slots__ = ("_before", "depth")

    def __init__(self) -> None:
        self.depth = 0
        self._before = b""

    def word(self, word: bytes) -> None:
        if self.depth == 0 and word == b"ATOMIC" and self._before == b"BEGIN":
            self.depth = 1
        elif self.depth and word in (b"CASE", b"BEGIN"):
            self.depth += 1
        elif self.depth and word == b"END":
            self.depth -= 1
        self._before = word


def _parsed(text: bytes) -> list[bytes] | None:
    """libpg_query's cut, which drops comments between statements; None where it cannot parse."""
    parser = import_module("postgast")  # not an import statement: its stubs do not pass mypy, and few need it
    try:
        return [piece.encode() for piece in parser.split(text.decode())]
    except (parser.PgQueryError, UnicodeDecodeError, ValueError):
        return None


def _located(text: bytes, parsed: list[bytes]) -> list[bytes]:
    """The parser's statements with what stands before each, so that no comment is lost."""
    pieces: list[bytes] = []
    start = 0
    for piece in parsed:
        found = text.find(piece, start)
        end = found + len(piece) if found >= 0 else len(text)
        pieces.append(text[start:end].lstrip(b"; \t\r\n"))
        start = end
    return pieces
