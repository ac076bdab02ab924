"""What a statement's text tells before it runs: its verb, what it does to names, how its command tag begins. Pure;
called by ``texts`` and ``search``.
"""

import re
from collections.abc import Container, Mapping

from proxy.protocols.postgres.split import skip
from proxy.protocols.postgres.tokens import Kind, name_of, tokens

WATCHED = frozenset(b"aAcCpPdDrR \t\r\n\f\v/-(;")
"""Bytes a text begins with that may do something to names, or be a COPY."""
_TO_CLIENT = re.compile(rb"\b(?:FROM\s+STDIN|TO\s+STDOUT)\b", re.IGNORECASE)
_WORD = re.compile(rb'(?:[uU]&)?"[^"]*+(?:""[^"]*+)*+"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+')
_NAMING = frozenset({b"PREPARE", b"DECLARE", b"DEALLOCATE", b"CLOSE"})
_WRITES = (b"INSERT", b"UPDATE", b"DELETE", b"MERGE")
_READS = (b"SELECT", b"VALUES", b"TABLE")
_TAGS: Mapping[bytes, tuple[bytes, ...]] = {
    b"END": (b"COMMIT", b"ROLLBACK"),
    b"COMMIT": (b"COMMIT", b"ROLLBACK"),
    b"ABORT": (b"ROLLBACK",),
    b"ANALYSE": (b"ANALYZE",),
    b"CREATE": (b"CREATE", b"SELECT"),
    b"EXECUTE": (b"",),
}
"""How a command tag begins, where not with the statement's first word."""
ANYTHING = (b"",)
NO_EFFECT = (b"", b"")
TOKENS_MOST = 10_000
"""So many are looked at for the verb of a statement: each takes about a microsecond."""


class Unclear(ValueError):
    """A name that is written in a way that is not read here."""


def copies(text: bytes) -> bool:
    """Whether ``text`` is a COPY from or to the client."""
    if not text or text[0] not in WATCHED:
        return False
    return first_words(text, 1) == [b"COPY"] and _TO_CLIENT.search(text) is not None


def effect(text: bytes) -> tuple[bytes, bytes]:
    """What a statement does to names when it succeeds: (b"", b"") for most, else a verb and a name. PREPARE and
    DEALLOCATE are of prepared statements, DECLARE and CLOSE of portals; DEALLOCATE and CLOSE of b"" take all,
    DISCARD all of both, ROLLBACK (of the whole transaction) all portals. The end of a transaction that succeeds is
    known by its command tag."""
    if not text or text[0] not in WATCHED:
        return NO_EFFECT
    try:
        words = first_words(text, 3)
    except Unclear:  # whatever name it is, none can be relied on after it
        return (b"DISCARD", b"") if first_words(text, 1)[0] in _NAMING else NO_EFFECT
    verb, second = (*words, b"", b"")[:2]
    if verb == b"PREPARE":
        return NO_EFFECT if second in (b"TRANSACTION", b"") else (b"PREPARE", name_of(second))
    if verb == b"DECLARE" and second:
        return b"DECLARE", name_of(second)
    if verb == b"DEALLOCATE" and second == b"PREPARE" and len(words) > 2:
        second = words[2]
    if verb in (b"DEALLOCATE", b"CLOSE") and second:
        return verb, b"" if second == b"ALL" else name_of(second)
    if verb == b"DISCARD" and second == b"ALL":
        return b"DISCARD", b""
    if verb in (b"ROLLBACK", b"ABORT") and b"TO" not in words and second != b"PREPARED":
        return b"ROLLBACK", b""
    return NO_EFFECT


def tags_of(text: bytes) -> tuple[bytes, ...]:
    """What the command tag begins with (any of these) when ``text`` is what runs. None begins with NUL: an empty
    text has no tag."""
    words = first_words(text, 1)
    if not words:
        return (b"SELECT",) if text[skip(text, 0) :][:1] == b"(" else (b"\0",)
    verb = words[0]
    if verb == b"WITH":
        at = _outside(text, _READS + _WRITES)
        if at is None:
            return (b"SELECT", *_WRITES)
        verb = text[at[0] : at[1]].upper()
    return (b"SELECT",) if verb in _READS else _TAGS.get(verb, (verb,))


def prepared_tags(text: bytes) -> tuple[bytes, ...]:
    """The same of what a PREPARE prepares."""
    at = _outside(text, (b"AS",))
    return tags_of(text[at[1] :]) if at else ANYTHING


def _outside(text: bytes, words: Container[bytes]) -> tuple[int, int] | None:
    """Where the first of ``words`` outside parentheses begins and ends."""
    depth = 0
    for number, token in enumerate(tokens(text)):
        piece = text[token.start : token.end]
        if token.kind is Kind.OTHER:
            depth += (piece == b"(") - (piece == b")")
        elif depth == 0 and token.kind is Kind.WORD and piece.upper() in words:
            return token.start, token.end
        if number > TOKENS_MOST:
            break
    return None


def first_words(text: bytes, count: int) -> list[bytes]:
    """The first words of a statement, upper case but for quoted names. ``Unclear`` for a name with Unicode escapes
    behind the first of them: which it is depends on what follows, in many ways."""
    found: list[bytes] = []
    position = skip(text, 0)
    while text[position : position + 1] == b";":
        position = skip(text, position + 1)
    while len(found) < count:
        word = _WORD.match(text, position)
        if word is None:
            break
        position = skip(text, word.end())
        name = word.group()
        if name[:2] in (b"u&", b"U&") and name[2:3] == b'"':
            following = _WORD.match(text, position)
            escaped = following is not None and following.group().upper() == b"UESCAPE"
            if found and (escaped or b"\\" in name):
                raise Unclear("a name with Unicode escapes")
            name = name[2:]
        found.append(name if name[:1] == b'"' else name.upper())
    return found
