"""A statement's text on its way into the record: from the client's encoding to UTF-8, redacted, cut into
statements, shortened; and what a text tells before it runs. Pure; called by ``frontend`` for each statement.
"""

import codecs
import contextlib
import re
from collections.abc import Callable, Collection, Container, Mapping

from proxy.core.errors import PeerError
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.names import NAME_MOST
from proxy.protocols.postgres.redact import redact, redact_error, secret_parameters, sensitive
from proxy.protocols.postgres.split import TooMany, check, skip, split
from proxy.protocols.postgres.tokens import Kind, name_of, tokens

_CODECS: Mapping[str, str] = {
    "LATIN1": "latin-1",
    "LATIN2": "iso8859-2",
    "LATIN3": "iso8859-3",
    "LATIN4": "iso8859-4",
    "LATIN5": "iso8859-9",
    "LATIN6": "iso8859-10",
    "LATIN7": "iso8859-13",
    "LATIN8": "iso8859-14",
    "LATIN9": "iso8859-15",
    "LATIN10": "iso8859-16",
    "EUC_JIS_2004": "euc_jis_2004",
    "SHIFT_JIS_2004": "shift_jis_2004",
    "SJIS": "cp932",
    "UHC": "cp949",
    "EUC_CN": "gb2312",
    "WIN866": "cp866",
    "WIN874": "cp874",
    "WIN1250": "cp1250",
    "WIN1251": "cp1251",
    "WIN1252": "cp1252",
    "WIN1253": "cp1253",
    "WIN1254": "cp1254",
    "WIN1255": "cp1255",
    "WIN1256": "cp1256",
    "WIN1257": "cp1257",
    "WIN1258": "cp1258",
    "KOI8R": "koi8_r",
    "KOI8U": "koi8_u",
}
"""The server's names for encodings, where Python has another. Source: PostgreSQL manual, "Character Set
Support"."""

Shown = tuple[bytes, int, str]
"""Text or its prefix; its full length and SHA-256 (hex) where it is a prefix, else 0 and ""."""

WATCHED = frozenset(b"aAcCpPdDrR \t\r\n\f\v/-(;")
"""Bytes a text begins with that may do something to names, or be a COPY."""
_TO_CLIENT = re.compile(rb"\b(?:FROM\s+STDIN|TO\s+STDOUT)\b", re.IGNORECASE)
_WORD = re.compile(rb'(?:[uU]&)?"[^"]*+(?:""[^"]*+)*+"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+')
_SWALLOWED = re.compile(rb"[\x80-\xff]\\")
"""A backslash that is one or the half of a character, depending on the encoding."""
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
LONGEST_NAME = 4096
TOKENS_MOST = 10_000
"""So many are looked at for the verb of a statement: each takes about a microsecond."""


Key = tuple[bytes, bool, bool, str, int]
"""A text as the client sent it, and all else that what is found in it depends on."""


class Refused(ValueError):
    """A text that cannot be recorded as it would run; the message says why, ``hint`` what to do instead."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


class Unclear(ValueError):
    """A name that is written in a way that is not read here."""


class Searched:
    """What was found in a long text: its statements, or why it is ``refused``; of each statement what may be shown,
    the parameters that may not, and whether it calls for redaction."""

    __slots__ = ("found", "refused", "statements")

    def __init__(self) -> None:
        self.statements: list[bytes] = []
        self.refused: Refused | None = None
        self.found: dict[bytes, tuple[bytes, Collection[int], bool]] = {}


class Texts:
    """How this conversation's texts are to be read: both settings follow the target's ParameterStatus, which comes
    only with a ReadyForQuery. ``plain``: they are UTF-8 with standard strings, and nothing has to be done to them.
    ``in_doubt`` says whether something is unanswered that may change them. ``hidden``: names of prepared statements
    that are given secrets; ``guarded``: a text with a secret came, which an error may quote from now on, at once or
    when a statement, a portal or a setting made of it is used."""

    __slots__ = ("_codec", "_searched", "_unknown", "escapes", "guarded", "hidden", "in_doubt", "limits", "plain")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.escapes = False
        self.plain = True
        self.in_doubt: Callable[[], bool] = _certain
        self.hidden: dict[bytes, None] = {}
        self.guarded = False
        self._codec = ""
        self._unknown = False
        self._searched: tuple[Key, Searched] | None = None

    def parameter(self, name: str, value: str) -> None:
        """The target reported a setting."""
        if name == "client_encoding":
            self._codec = "" if value in ("UTF8", "SQL_ASCII") else _CODECS.get(value, value.lower())
            try:
                codecs.lookup(self._codec or "utf-8")
                self._unknown = False
            except LookupError:
                self._unknown = True
        elif name == "standard_conforming_strings":
            self.escapes = value == "off"
        self.plain = not (self._codec or self.escapes)

    def utf8(self, text: bytes) -> bytes:
        """``text`` as UTF-8; where its encoding is not known, what is not ASCII becomes \\x escapes."""
        if not self._codec:
            return text
        if self._unknown:
            return text.decode("ascii", "backslashreplace").encode()
        said = text.decode(self._codec, "replace")
        if self._codec == "shift_jis_2004":  # Python has other characters there; the server has ASCII
            said = said.replace("\u00a5", "\\").replace("\u203e", "~")
        return said.encode()

    def name(self, name: bytes) -> bytes:
        """A name as the server stores it: in its own encoding, which is taken to be UTF-8, and cut. ``PeerError``
        where it cannot be known."""
        if self._unknown and not name.isascii():
            raise PeerError("names in this client_encoding are not known to the gateway: use UTF8", code="protocol")
        return self.utf8(name)[:NAME_MOST]

    def statements(self, text: bytes) -> list[bytes]:
        """The statements of a query string, in UTF-8, not redacted yet. ``Refused`` when there are more than can be
        told apart, or one that cannot be recorded."""
        searched = self._known(text)
        if searched is None:
            self._check(text)
            found = self._cut(text)
            self._suspect(found, self.hidden)
            return found
        if searched.refused is not None:
            raise searched.refused
        return searched.statements

    def statement(self, text: bytes) -> bytes:
        """The text of a Parse, likewise."""
        searched = self._known(text)
        if searched is not None and searched.refused is not None:
            raise searched.refused
        if searched is None:
            self._check(text)
            self._suspect([self.utf8(text)], self.hidden)
        return self.utf8(text)

    def _check(self, text: bytes) -> None:
        """``Refused`` for a text that the server may read in another way than we can."""
        if self._unknown and not text.isascii():
            raise Refused("texts in this client_encoding are not known to the gateway", "use UTF8")
        if self.in_doubt() and _SWALLOWED.search(text):
            raise Refused("how this text is read depends on answers that are still to come", "wait for them first")

    def _cut(self, text: bytes) -> list[bytes]:
        text = self.utf8(text)
        try:
            if text.find(b";", 0, -1) < 0:
                check(text)
                return [text]
            return split(text, self.escapes, self.limits.max_statements)
        except TooMany as error:
            raise Refused(str(error), "send it in smaller pieces") from error

    # -- long texts ----------------------------------------------------------------------------------------------

    def search(self, text: bytes, whole: bool) -> Callable[[], None] | None:
        """The search of a query string (``whole``) or a Parse's text for statements and secrets, where that may
        take so long that it has to be done elsewhere first; None where it does not, or is done. What it found is
        known until ``forget``."""
        if len(text) <= self.limits.think_text or self._known(text) is not None:
            return None
        key, searched, hidden = self._key(text), Searched(), tuple(self.hidden)
        doubt, cut = key[2], self._cut if whole else lambda text: [self.utf8(text)]
        self._check(text)

        def look() -> None:
            try:
                searched.statements = cut(text)
                _check_names(searched.statements)
                self._look(searched, hidden, doubt)
            except Refused as error:
                searched.refused = error
            self._searched = key, searched

        return look

    def _look(self, searched: Searched, hidden: Collection[bytes], doubt: bool) -> None:
        suspect = self._suspect(searched.statements, hidden, short=False)
        for each in suspect:
            kept = redact(each, self.escapes, hidden, doubt)
            searched.found[each] = kept, secret_parameters(each, self.escapes, hidden), True
        for each in set(searched.statements) - suspect:
            searched.found[each] = each, (), False

    def _suspect(self, statements: list[bytes], hidden: Collection[bytes], short: bool = True) -> set[bytes]:
        """Those of one message that may hold secrets; not looked for in a ``short`` message. ``Refused`` where they
        are more than can be searched: kept as they are they could give a secret away, kept in part they could hide
        what ran."""
        most = self.limits.max_text
        if short and sum(map(len, statements)) <= most:
            return set()
        suspect = {each for each in set(statements) if sensitive(each, hidden)}
        size = sum(len(each) for each in statements if each in suspect)
        if size > most:
            raise Refused(
                f"statements of {size} bytes that may hold a secret are not passed on, since they are too long to "
                f"be recorded without it: {most} bytes at most",
                "send their values as parameters, or with COPY",
            )
        return suspect

    def _key(self, text: bytes) -> Key:
        return text, self.escapes, self.in_doubt(), self._codec, len(self.hidden)

    def _known(self, text: bytes) -> Searched | None:
        searched = self._searched
        return searched[1] if searched is not None and searched[0] == self._key(text) else None

    def _found(self, statement: bytes) -> tuple[bytes, Collection[int], bool] | None:
        return self._searched[1].found.get(statement) if self._searched is not None else None

    def forget(self) -> None:
        """The long text that was searched is through."""
        self._searched = None

    # -- records -------------------------------------------------------------------------------------------------

    def secrets(self, statement: bytes) -> Collection[int]:
        """The numbers of the parameters whose values are not to be kept."""
        found = self._found(statement)
        return secret_parameters(statement, self.escapes, self.hidden) if found is None else found[1]

    def shown(self, statement: bytes) -> Shown:
        """What a record holds of the text (already UTF-8) of a statement that runs: all of it, redacted."""
        found = self._found(statement)
        if found is not None:
            self.guarded = self.guarded or found[2]
            return found[0], 0, ""
        guarded = sensitive(statement, self.hidden)
        self.guarded = self.guarded or guarded
        return redact(statement, self.escapes, self.hidden, self.in_doubt()) if guarded else statement, 0, ""

    def beginning(self, text: bytes) -> Shown:
        """What a record holds of a text that does not run: as much as takes no time; without a digest, from which a
        short secret could be guessed."""
        most = min(self.limits.max_text, self.limits.think_text)
        kept = redact(text[:most], self.escapes, self.hidden, self.in_doubt())[:most]
        return kept, len(text) if len(text) > most else 0, ""

    def hide(self, name: bytes) -> None:
        """The prepared statement of that name is given secrets, by Bind or by EXECUTE."""
        self.hidden[name] = None
        if len(self.hidden) > self.limits.max_names:
            del self.hidden[next(iter(self.hidden))]

    def error(self, state: bytes, message: bytes) -> bytes:
        """What a record may hold of an error's message."""
        return redact_error(state, self.utf8(message), self.guarded)


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


def _check_names(statements: list[bytes]) -> None:
    """``Refused`` for a name that would take long to be read, again and again; the server keeps 63 bytes of it."""
    for each in statements:
        if len(each) > LONGEST_NAME and each[0] in WATCHED:
            with contextlib.suppress(Unclear):
                if any(len(word) > LONGEST_NAME for word in first_words(each, 4)):
                    raise Refused(f"a name of more than {LONGEST_NAME} bytes", "63 bytes of a name are kept")


def _certain() -> bool:
    """What ``in_doubt`` says where nobody asks."""
    return False
