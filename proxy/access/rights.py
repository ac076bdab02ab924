"""Who may read and do what besides their own: the one table, asked by every route of the API. Pure.

A right is over everybody's things. What is one's own (one's requests, grants and sessions, live and after)
everybody may see whole; who may decide a request sees it, and what came of it in numbers.
"""

from collections.abc import Mapping
from enum import StrEnum

from proxy.core.errors import Denied
from proxy.core.identity import Identity, Role


class Right(StrEnum):
    """``LIVE``: who is where now, the text that runs there, what a cut would end. ``CONTENT``: what a session did:
    statements, output, notes, the recording. ``TRAIL``: the trail, requests, grants, locks, and sessions after
    their end, all without such texts. ``TRACE``: every rule that a decision looked at. ``USE``: what came of a
    request, in numbers. ``FIGURES``: nodes and metrics. ``ADMINISTER``: revoke, cut, lock, drain, reload, rotate
    keys."""

    LIVE = "live"
    CONTENT = "content"
    TRAIL = "trail"
    TRACE = "trace"
    USE = "use"
    FIGURES = "figures"
    ADMINISTER = "administer"


_BOTH = frozenset({Role.ADMIN, Role.AUDITOR})

HELD: Mapping[Right, frozenset[Role]] = {
    Right.LIVE: _BOTH,
    Right.CONTENT: frozenset({Role.AUDITOR}),
    Right.TRAIL: _BOTH,
    Right.TRACE: _BOTH,
    Right.USE: _BOTH,
    Right.FIGURES: _BOTH,
    Right.ADMINISTER: frozenset({Role.ADMIN}),
}
"""Which roles hold which right. ``admins_read`` of the configuration adds ``CONTENT`` for admins."""

_REFUSED: Mapping[Right, tuple[str, str]] = {
    Right.LIVE: ("only auditors and administrators may see that", ""),
    Right.CONTENT: (
        "only auditors may read what somebody else's session did",
        "with `admins_read = true` under [recordings] administrators may too",
    ),
    Right.TRAIL: ("only auditors and administrators may read that", ""),
    Right.TRACE: ("only auditors and administrators may read that", ""),
    Right.USE: ("only who may decide it, auditors and administrators may read that", ""),
    Right.FIGURES: ("only auditors and administrators may read that", ""),
    Right.ADMINISTER: ("only an administrator may do that", ""),
}


def holders(right: Right, *, admins_read: bool = False) -> frozenset[Role]:
    """Return the roles that hold ``right``."""
    return HELD[right] | {Role.ADMIN} if admins_read and right is Right.CONTENT else HELD[right]


def may(person: Identity, right: Right, *, admins_read: bool = False) -> bool:
    """Return whether ``person`` holds ``right``. ``admins_read`` is the catalog's; only ``CONTENT`` depends on
    it."""
    return not person.roles.isdisjoint(holders(right, admins_read=admins_read))


def must(person: Identity, right: Right, *, admins_read: bool = False) -> None:
    """Raise ``Denied``, in words, unless ``person`` holds ``right``."""
    if not may(person, right, admins_read=admins_read):
        text, hint = _REFUSED[right]
        raise Denied(text, hint=hint)
