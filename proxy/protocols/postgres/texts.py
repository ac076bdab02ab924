"""A statement's text on its way into the record: from the client's encoding to UTF-8, redacted, cut into
statements, shortened. Pure; called by ``frontend`` for each statement. What would take long was found by ``search``
before.
"""

import codecs
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from proxy.core.errors import PeerError
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.names import NAME_MOST
from proxy.protocols.postgres.redact import redact, redact_error, secret_parameters, sensitive
from proxy.protocols.postgres.split import TooMany, check, split
from proxy.protocols.postgres.verbs import NO_EFFECT, copies, effect, prepared_tags, tags_of

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

_SWALLOWED = re.compile(rb"[\x80-\xff]\\")
"""A backslash that is one or the half of a character, depending on the encoding."""

Key = tuple[bytes, bool, bool, str, int]
"""A text as the client sent it, and all else that what is found in it depends on."""


class Refused(ValueError):
    """A text that cannot be recorded as it would run; the message says why, ``hint`` what to do instead."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


class Setting(NamedTuple):
    """All that how a text is read depends on: ``limits``, the session's settings, whether they are in ``doubt``,
    and the names of prepared statements that are ``hidden``."""

    limits: Limits
    escapes: bool
    codec: str
    unknown: bool
    doubt: bool
    hidden: tuple[bytes, ...]


class Found(NamedTuple):
    """What was found in a statement: its text as it may be ``shown`` (None: as it is), the parameters that are
    ``secrets``, whether it calls for redaction, and what ``verbs`` says of it."""

    shown: bytes | None = None
    secrets: Collection[int] = ()
    guarded: bool = False
    effect: tuple[bytes, bytes] = NO_EFFECT
    copies: bool = False
    tags: tuple[bytes, ...] = ()
    inner: tuple[bytes, ...] = ()


PLAIN = Found()


class Searched(NamedTuple):
    """What was found in a long text: why it is ``refused`` (and a hint), or its statements, each where it begins
    and ends in the text in UTF-8, or itself; and what was ``found`` in those, by number, that are not ``PLAIN``."""

    refused: tuple[str, str] | None
    pieces: tuple[tuple[int, int] | bytes, ...] = ()
    found: Mapping[int, Found] = {}


class Texts:
    """How this conversation's texts are to be read: both settings follow the target's ParameterStatus, which comes
    only with a ReadyForQuery. ``plain``: they are UTF-8 with standard strings, and nothing has to be done to them.
    ``in_doubt`` says whether something is unanswered that may change them. ``brief``: a text of so many bytes is
    never much work; ``hidden``: names of prepared statements that are given secrets; ``guarded``: a text with a
    secret came, which an error may quote from now on, at once or when a statement, a portal or a setting made of it
    is used."""

    __slots__ = (
        "_at_hand",
        "_codec",
        "_searched",
        "_unknown",
        "brief",
        "escapes",
        "guarded",
        "hidden",
        "in_doubt",
        "limits",
        "plain",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.brief = min(limits.brief_text, limits.max_text)
        self.escapes = False
        self.plain = True
        self.in_doubt: Callable[[], bool] = _certain
        self.hidden: dict[bytes, None] = {}
        self.guarded = False
        self._codec = ""
        self._unknown = False
        self._searched: tuple[Key, Searched] | None = None
        self._at_hand: Found | None = None

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

    def statements(self, text: bytes) -> Iterator[bytes]:
        """The statements of a query string, in UTF-8, not redacted yet; each is the one at hand until the next is
        asked for. ``Refused`` when there are more than can be told apart, or one that cannot be recorded."""
        searched = self._known(text)
        if searched is None:
            self.check(text)
            yield from self.cut(text)
            return
        whole = self.utf8(text) if any(isinstance(each, tuple) for each in searched.pieces[:1]) else b""
        for number, piece in enumerate(searched.pieces):
            self._at_hand = searched.found.get(number, PLAIN)
            yield piece if isinstance(piece, bytes) else whole[piece[0] : piece[1]]
        self._at_hand = None

    def statement(self, text: bytes) -> bytes:
        """The text of a Parse, likewise."""
        searched = self._known(text)
        if searched is None:
            self.check(text)
        else:
            self._at_hand = searched.found.get(0, PLAIN)
        return self.utf8(text)

    def check(self, text: bytes) -> None:
        """``Refused`` for a text that the server may read in another way than we can."""
        if self._unknown and not text.isascii():
            raise Refused("texts in this client_encoding are not known to the gateway", "use UTF8")
        if self.in_doubt() and _SWALLOWED.search(text):
            raise Refused("how this text is read depends on answers that are still to come", "wait for them first")

    def cut(self, text: bytes) -> list[bytes]:
        """The statements of a text in the client's encoding. ``Refused`` when they are too many."""
        text = self.utf8(text)
        try:
            if text.find(b";", 0, -1) < 0:
                check(text)
                return [text]
            return split(text, self.escapes, self.limits.max_statements)
        except TooMany as error:
            raise Refused(str(error), "send it in smaller pieces") from error

    # -- long texts ----------------------------------------------------------------------------------------------

    def heavy(self, text: bytes, whole: bool) -> bool:
        """Whether looking at a query string (``whole``) or a Parse's text may take so long that it has to be done
        elsewhere first, and is not done: it has many statements, or may hold secrets, or is very long."""
        size = len(text)
        if size <= self.brief or self._known(text) is not None:
            return False
        if size > self.limits.think_text:
            return True
        return (whole and text.find(b";", 0, -1) >= 0) or sensitive(text, self.hidden)

    def setting(self) -> Setting:
        """How a text is to be read now, for a search elsewhere."""
        reading = self.escapes, self._codec, self._unknown, self.in_doubt()
        return Setting(self.limits, *reading, tuple(self.hidden))

    @classmethod
    def under(cls, setting: Setting) -> "Texts":
        """What reads a text as it is to be read under ``setting``."""
        texts = cls(setting.limits)
        texts.escapes, texts._codec, texts._unknown = setting.escapes, setting.codec, setting.unknown
        texts.in_doubt = lambda: setting.doubt
        texts.hidden = dict.fromkeys(setting.hidden)
        return texts

    def learner(self, text: bytes) -> Callable[[Any], None]:
        """Takes what a search of ``text`` found, which is known from then on until ``forget``."""
        key = self._key(text)

        def learn(searched: Searched) -> None:
            self._searched = key, searched

        return learn

    def _key(self, text: bytes) -> Key:
        return text, self.escapes, self.in_doubt(), self._codec, len(self.hidden)

    def _known(self, text: bytes) -> Searched | None:
        """What was found in ``text``. ``Refused`` where that was that it must not pass."""
        if self._searched is None or self._searched[0] != self._key(text):
            return None
        searched = self._searched[1]
        if searched.refused is not None:
            raise Refused(*searched.refused)
        return searched

    def forget(self) -> None:
        """The long text that was searched is through."""
        self._searched = self._at_hand = None

    # -- records -------------------------------------------------------------------------------------------------

    def secrets(self, statement: bytes) -> Collection[int]:
        """The numbers of the parameters whose values are not to be kept."""
        found = self._at_hand
        return secret_parameters(statement, self.escapes, self.hidden) if found is None else found.secrets

    def shown(self, statement: bytes) -> Shown:
        """What a record holds of the text (already UTF-8) of a statement that runs: all of it, redacted."""
        found = self._at_hand
        if found is not None:
            self.guarded = self.guarded or found.guarded
            return statement if found.shown is None else found.shown, 0, ""
        guarded = sensitive(statement, self.hidden)
        self.guarded = self.guarded or guarded
        return redact(statement, self.escapes, self.hidden, self.in_doubt()) if guarded else statement, 0, ""

    def effect(self, statement: bytes) -> tuple[bytes, bytes]:
        """See ``verbs.effect``."""
        return effect(statement) if self._at_hand is None else self._at_hand.effect

    def copies(self, statement: bytes) -> bool:
        """See ``verbs.copies``."""
        return copies(statement) if self._at_hand is None else self._at_hand.copies

    def tags(self, statement: bytes) -> tuple[bytes, ...]:
        """See ``verbs.tags_of``."""
        return tags_of(statement) if self._at_hand is None else self._at_hand.tags

    def inner_tags(self, statement: bytes) -> tuple[bytes, ...]:
        """See ``verbs.prepared_tags``."""
        return prepared_tags(statement) if self._at_hand is None else self._at_hand.inner

    def beginning(self, text: bytes, size: int = 0) -> Shown:
        """What a record holds of a text that does not run: as much as takes no time; without a digest, from which a
        short secret could be guessed. ``size``: of all of it, where this is only how it begins."""
        size = size or len(text)
        most = min(self.limits.max_text, self.limits.brief_text)
        kept = redact(text[:most], self.escapes, self.hidden, self.in_doubt())[:most]
        return kept, size if size > most else 0, ""

    def hide(self, name: bytes) -> None:
        """The prepared statement of that name is given secrets, by Bind or by EXECUTE."""
        self.hidden[name] = None
        if len(self.hidden) > self.limits.max_names:
            del self.hidden[next(iter(self.hidden))]

    def error(self, state: bytes, message: bytes) -> bytes:
        """What a record may hold of an error's message."""
        return redact_error(state, self.utf8(message), self.guarded)


def _certain() -> bool:
    """What ``in_doubt`` says where nobody asks."""
    return False
