"""What a secret looks like: in a name, inside a string, in a shell command, anywhere. Pure patterns; called by
``reading`` and ``redact``. Nothing here knows SQL's structure.

Every pattern is bounded or possessive: a text of a million times "passw" must not take a million squared steps.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

STARS = b"***"
_NAME = (
    rb"(?:passw(?!ord_encryption)|passphrase|secret|pwd|credential|token|(?:api|access|private)[_-]?key"
    rb"|(?<![a-z0-9])(?:pass|pw)(?![a-z0-9]))"
)
NAME = re.compile(_NAME, re.IGNORECASE)
"""A name is a secret's when this is found in it."""
CIPHER = re.compile(rb"(?:crypt|hmac|digest|(?:en|de)crypt(?:_iv)?|pgp_(?:sym|pub)_\w+)\Z", re.IGNORECASE)
"""Functions of pgcrypto that are given plain text or a key."""
OPENS = re.compile(_NAME + rb"\w{0,64}+[^\w*]{0,200}+(?:\Z|(?<=%)[IsL1-9])", re.IGNORECASE)
"""A string that ends with a secret's name, or holds a place for its value: what it is joined to is the secret."""
_OBJECTS = (
    rb"(?:or\s+replace|temp(?:orary)?|unlogged|unique|(?:un)?trusted|materialized|foreign|event|access|text|table|index"
    rb"|view|role|user|group|schema|database|system|function|procedure|routine|aggregate|extension|sequence|type|domain"
    rb"|trigger|rule|policy|server|subscription|publication|language|cast|operator|collation|conversion|tablespace"
    rb"|statistics|transform|default|owned|large|column|constraint)\b"
)
RUNS = re.compile(
    rb"(?:\s++|\(|--[^\n]{0,200}+\n|/\*(?:[^*]|\*(?!/)){0,200}+\*/){0,50}+"
    rb"(?:delete\s+from|insert\s+into|merge\s+into|update\s+\S{1,200}+\s.{0,100}?\bset\b|truncate\s+(?:table|only)\b"
    rb"|truncate\s+[\w.\"]{1,200}+\s*\Z|(?:create|alter|drop|comment\s+on|security\s+label|reassign|refresh)\s+"
    + _OBJECTS
    + rb"|(?:grant|revoke)\s.{0,200}?\s(?:on|to|from)\s|select\b(?=.{0,1000}?(?:[(*'=]|\bfrom\b))"
    rb"|with\s+\S{1,200}+\s.{0,100}?\bas\b|(?:perform|call|execute)\s+[\w.\"]{1,200}+\s*\(|execute\s+['$]"
    rb"|copy\s+\S{1,200}+.{0,1000}?\b(?:from|to)\b|(?:begin|declare)\s.{0,1000}?;|do\s+['$e]"
    rb"|lock\s+table\b|import\s+foreign\b|prepare\s+\S.{0,1000}?\bas\b"
    rb"|explain\b(?=.{0,200}?\b(?:select|insert|update|delete|merge|with|execute)\s)|set\s.{1,200}?(?:=|\sto\s))",
    re.IGNORECASE | re.DOTALL,
)
"""A string that begins so is SQL, which something may run."""

_JWT = rb"eyJ[A-Za-z0-9_-]{6,}+(?:\.[A-Za-z0-9_-]*+){0,4}"
_URI = rb"(?<=://)[^\s/:@'\"]{0,200}+:(?P<uri>[^\s/@'\"]++)(?=@)"
_IN_TEXT = re.compile(
    _URI + rb"|" + _JWT + rb"|scram-sha-256\$[^\s'\"]++|\Amd5[0-9a-f]{32}\Z"
    rb"|authorization[\"'\\]{0,4}+\s{0,20}+[:=]\s{0,20}+(?P<header>(?:[\"'\\]{0,4}+\w{1,20}+\s{1,20}+)?[^\s'\"]++)"
    rb"|bearer\s{1,20}+(?P<bearer>[^\s'\"]++)",
    re.IGNORECASE,
)
_IN_CODE = re.compile(
    _URI + rb"|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}+\.eyJ[A-Za-z0-9_-]{10,}+(?:\.[A-Za-z0-9_-]*+){0,3}"
)
_PAIR = re.compile(
    _NAME + rb"\w{0,64}+[\"'\\]{0,4}+\s{0,200}+(?:[:=]>?|:=|>)\s{0,200}+"
    rb"(?P<value>'(?:[^'\\]|\\.)*+'?|\"(?:[^\"\\]|\\.)*+\"?|\\\"(?:[^\"\\]|\\[^\"])*+(?:\\\")?|[\[{].*|(?!%[-\d$]{0,9}[sIL])[^\s'\"]++)",
    re.IGNORECASE | re.DOTALL,
)
# What a shell might run is no value: no substitution, no second command.
_PLAIN = rb"(?:'[^']*+'|\"[^\"$`]*+\"|[^\s'\"`$;|&()<>]++)"
_SHELL = re.compile(
    rb"(?:"
    + _NAME
    + rb"[\w-]{0,64}+[\"'\\]{0,4}+(?:\s{0,20}+[:=]\s{0,20}+|\s{1,20}+(?!-))(?P<named>"
    + _PLAIN
    + rb")"
    rb"|\s(?:-u|--user|--proxy-user)[\s=]{0,20}+[\"']?[^\s:'\"`$;|&()<>]{1,200}+:(?P<user>[^\s'\"`$;|&()<>]++)"
    rb"|\bsshpass\s{1,20}+-p\s{0,20}+(?P<ssh>" + _PLAIN + rb")"
    rb"|\b(?:mysql|mariadb)[^|;&]{0,500}?\s-p(?P<attached>" + _PLAIN + rb"))",
    re.IGNORECASE,
)


class Found(NamedTuple):
    """``content[start:end]`` is a secret; ``text`` may stand there."""

    start: int
    end: int
    text: bytes


def in_text(content: bytes) -> Iterator[Found]:
    """Secrets in what is not SQL: a connection string, JSON, a URI, a header, prose."""
    yield from _found(_PAIR, content)
    yield from _found(_IN_TEXT, content)


def in_command(content: bytes) -> Iterator[Found]:
    """Secrets in a shell's command."""
    yield from _found(_SHELL, content)
    yield from _found(_IN_TEXT, content)


def in_code(content: bytes) -> Iterator[Found]:
    """Tokens and URIs that stand in SQL as it is, without quotes."""
    return _found(_IN_CODE, content)


def _found(pattern: re.Pattern[bytes], content: bytes) -> Iterator[Found]:
    for each in pattern.finditer(content):
        start, end = each.span(each.lastgroup or 0)
        quote = content[start : start + 1]
        yield Found(start, end, quote + STARS + quote if quote in (b"'", b'"') else STARS)
