"""Secrets out of SQL text, bind values and the target's errors before they are recorded. Pure; called for every
statement, so ordinary text must cost next to nothing: one ``upper`` and a few searches.

What a secret looks like is in ``patterns``, where one stands in a statement in ``reading``; the forms are listed,
each with a canary, in ``tests/protocols/postgres/secret_forms.py``. A secret becomes ``'***'`` where it was a
literal, and ``***`` inside of one. What a statement does is never replaced: its verbs, names and structure, in a
function's body and in SQL inside a string too.

What cannot be known: a secret under an innocent name, one that is computed, and one in a text that is no SQL
(``password = 'it's'``).
"""

import re
from collections.abc import Collection, Iterable, Iterator

from proxy.protocols.postgres.inside import Edit
from proxy.protocols.postgres.patterns import NAME, STARS, in_code, in_text
from proxy.protocols.postgres.reading import MASK, Reading

READ_MOST = 256 * 1024
"""A text is read token by token, at about two microseconds each, while nobody else is served."""
PIECE = 64 * 1024
OVERLAP = 64
"""Longer than what is searched for."""
_SUSPECT = re.compile(
    NAME.pattern + rb"|eyj|://|crypt|hmac|digest|pgp_|scram-|'md5|bearer|authorization\W|\bprogram\b|u&\"",
    re.IGNORECASE,
)
_QUOTED = re.compile(
    "|".join(
        f"{first}(?:.*{last}|.*)"
        for first, last in ('""', "''", "``", "«»", "»«", "„“", "“”", "\u2018\u2019", "「」")
    ),
    re.DOTALL,
)
"""From the first mark of the server's language to the last, or to the end."""
_RAISED = b"P0001"
_TEXT = 0


def sensitive(text: bytes, hidden: Collection[bytes] = ()) -> bool:
    """Whether ``text`` might hold a secret: the cheap test before the dear one. As str, since ``in`` takes five
    times as long on bytes. ``hidden`` as in ``redact``."""
    upper = text.decode("latin-1").upper()
    if (
        "CR" not in upper
        and "PASS" not in upper
        and "TOKEN" not in upper
        and "KEY" not in upper
        and "PW" not in upper
        and "EYJ" not in upper
        and "//" not in upper
        and "PGP_" not in upper
        and "HMAC" not in upper
        and "MD5" not in upper
        and "DIGEST" not in upper
        and "BEARER" not in upper
        and "PROGRAM" not in upper
        and "AUTHORIZATION" not in upper
        and 'U&"' not in upper
    ):
        return bool(hidden) and "EXECUTE" in upper
    return _suspect(text) or (bool(hidden) and "EXECUTE" in upper)


def _suspect(text: bytes) -> bool:
    """A search is one step of the interpreter, which nobody else gets in between, in another thread neither: a long
    text is looked at in pieces."""
    if len(text) <= PIECE:
        return _SUSPECT.search(text) is not None
    starts = range(0, len(text), PIECE)
    return any(_SUSPECT.search(text, max(0, at - OVERLAP), at + PIECE) is not None for at in starts)


def redact(text: bytes, escapes: bool = False, hidden: Collection[bytes] = (), doubt: bool = False) -> bytes:
    """``text`` with its secrets replaced; the same object when there is none. ``escapes`` as in ``tokens``;
    ``hidden``: the names of prepared statements that are given secrets; ``doubt``: ``escapes`` may have changed
    meanwhile, so that what is a literal one way and runs the other is shown."""
    if not sensitive(text, hidden):
        return text
    reading = Reading(text, escapes, hidden)
    edits = reading.edits
    if doubt and b"\\" in text:
        other = Reading(text, not escapes, hidden)
        edits = [*_agreed(edits, other), *_agreed(other.edits, reading)]
    return _edited(text, [*edits, *(Edit(*found) for found in in_code(text))])


def secret_parameters(text: bytes, escapes: bool = False, hidden: Collection[bytes] = ()) -> Collection[int]:
    """The numbers of the ``$n`` of ``text`` whose bind values must not be kept; all, where it is too long to
    read."""
    if not sensitive(text, hidden):
        return ()
    if len(text) > READ_MOST:
        return range(1, 65_536)
    return frozenset(Reading(text, escapes, hidden).parameters)


def redact_value(value: bytes, form: int = _TEXT) -> bytes:
    """A bind value without the secrets that show by themselves. A binary one keeps its length: parts of it may
    tell where others are."""
    if value.find(b"eyJ") < 0 and value.find(b"://") < 0 and value.find(b"passw") < 0:
        return value
    edits = (Edit(*found) for found in in_text(value))
    if form != _TEXT:
        edits = (Edit(start, end, b"*" * (end - start)) for start, end, _ in edits)
    return _edited(value, edits, padded=False)


def redact_option(name: str, value: str) -> str:
    """A setting's value, or what may be kept of it."""
    raw = value.encode()
    if NAME.search(name.encode()) or (name == "options" and NAME.search(raw)):
        return STARS.decode()
    return _edited(raw, (Edit(*found) for found in in_text(raw))).decode("utf-8", "replace")


def redact_error(state: bytes, message: bytes, guarded: bool) -> bytes:
    """What the target says of an error, in UTF-8. ``guarded``: a secret may come back in it. The server quotes what
    it was given; what RAISE says is made of anything."""
    if guarded and state == _RAISED:
        return STARS
    kept = _edited(message, (Edit(*found) for found in in_text(message)))
    if not guarded:
        return kept
    return _QUOTED.sub(lambda found: f'"{STARS.decode()}"', kept.decode("utf-8", "replace")).encode()


def _agreed(edits: Iterable[Edit], other: Reading) -> Iterator[Edit]:
    """What of ``edits`` hides nothing that runs if the ``other`` reading is right."""
    same = set(other.edits)
    leaves = iter(sorted(other.leaves))
    leaf = next(leaves, None)
    for edit in sorted(edits):
        while leaf is not None and leaf[1] <= edit.start:
            leaf = next(leaves, None)
        if edit in same or (leaf is not None and leaf[0] <= edit.start and edit.end <= leaf[1]):
            yield edit
        elif leaf is not None and leaf[0] < edit.end:
            yield Edit(max(edit.start, leaf[0]), min(edit.end, leaf[1]), MASK)


def _edited(text: bytes, edits: Iterable[Edit], padded: bool = True) -> bytes:
    """``text`` with ``edits`` made; of two that overlap the first counts, and the second for what it has beyond.
    ``padded``: a space keeps a mask from joining what stands beside it to another literal or a comment."""
    parts: list[bytes] = []
    done = 0
    for start, end, new in sorted(edits):
        if end <= done or text[start:end] == new:
            continue
        if start > done or not parts:
            parts.append(text[done:start])
        elif start < done:
            done = end  # the mask before it stands for both
            continue
        if padded:
            last = next((part[-1:] for part in reversed(parts) if part), b"")
            following = text[end : end + 1]
            before = last + new[:1] in (b"''", b"/*")
            after = new[-1:] + following in (b"''", b"*/", b"**")
            parts += (b" " * before, new, b" " * after)
        else:
            parts.append(new)
        done = end
    return b"".join((*parts, text[done:])) if parts else text
