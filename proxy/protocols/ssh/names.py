"""Paths and names of the other side's files, written so that they can be shown. Pure; called by the readers.

A name is bytes: nothing says that it is UTF-8, and it may hold anything but NUL. It goes into a record as it is
where it is harmless, else in double quotes with what is not visible escaped as in C; bytes beyond ASCII stay.
"""

import re

_HIDDEN = rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]|\xef\xbb\xbf"
"""Controls, C1 controls, and what changes the direction or the line, in UTF-8."""
_AWKWARD = re.compile(_HIDDEN + rb"|\\|\A[\" ]|  | \Z| ->|\A->|\A\Z")
"""Not visible, or read as where a name ends."""
_ESCAPED = re.compile(_HIDDEN + rb"|[\"\\]")
_UNSEEN = re.compile(_HIDDEN)
_ESCAPES = {bytes((byte,)): b"\\x%02x" % byte for byte in (*range(32), 127)} | {
    b"\n": rb"\n", b"\r": rb"\r", b"\t": rb"\t", b'"': rb"\"", b"\\": rb"\\",
}  # fmt: skip


def shown(name: bytes) -> bytes:
    """``name`` for a record's text: two different names never look the same."""
    if _AWKWARD.search(name) is None:
        return name
    return b'"' + _ESCAPED.sub(_escape, name) + b'"'


def _escape(found: re.Match[bytes]) -> bytes:
    return _ESCAPES.get(found[0]) or b"".join(b"\\x%02x" % byte for byte in found[0])


def said(text: bytes, most: int = 500) -> bytes:
    """What the other side says of an error: one visible line of at most ``most`` bytes, without line ends."""
    return _UNSEEN.sub(b" ", text[:most]).strip()
