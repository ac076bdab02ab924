"""How a conversation's texts are written: the client's encoding, and whether plain strings have backslash escapes.
Pure; part of ``texts``, and told to ``search``.
"""

import codecs
import re
from collections.abc import Mapping

from proxy.core.errors import PeerError
from proxy.protocols.postgres.names import NAME_MOST
from proxy.protocols.postgres.split import TooMany, check, split

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

_SWALLOWED = re.compile(rb"[\x80-\xff]\\")
"""A backslash that is one or the half of a character, depending on the encoding."""


class Refused(ValueError):
    """A text that cannot be recorded as it would run; the message says why, ``hint`` what to do instead."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


class Encoding:
    """Both follow the target's ParameterStatus, which comes only with a ReadyForQuery. ``escapes``: plain strings
    have backslash escapes; ``plain``: they have none, and texts are UTF-8."""

    __slots__ = ("_codec", "_unknown", "escapes", "plain")

    def __init__(self) -> None:
        self.escapes = False
        self.plain = True
        self._codec = ""
        self._unknown = False

    def same(self) -> "Encoding":
        """What stays so when this changes."""
        same = Encoding()
        same.escapes, same.plain, same._codec, same._unknown = self.escapes, self.plain, self._codec, self._unknown
        return same

    def key(self) -> tuple[bool, str]:
        """Equal for two that read every text the same way."""
        return self.escapes, self._codec

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

    def check(self, text: bytes, doubt: bool) -> None:
        """``Refused`` for a text that the server may read in another way than we can. ``doubt``: what was sent and
        is unanswered may change how it is read."""
        if self._unknown and not text.isascii():
            raise Refused("texts in this client_encoding are not known to the gateway", "use UTF8")
        if doubt and _SWALLOWED.search(text):
            raise Refused("how this text is read depends on answers that are still to come", "wait for them first")

    def cut(self, text: bytes, most: int) -> list[bytes]:
        """The statements of a text, in UTF-8. ``Refused`` when they are more than ``most``."""
        text = self.utf8(text)
        try:
            if text.find(b";", 0, -1) < 0:
                check(text)
                return [text]
            return split(text, self.escapes, most)
        except TooMany as error:
            raise Refused(str(error), "send it in smaller pieces") from error
