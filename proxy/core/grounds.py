"""The grounds on which a node admits nobody, each in one line: the one list of them.

A node's ``sessions.grounds.Grounds`` has a check for every word here. Whoever refuses on a ground asks that check,
and the node writes the words that hold into its row of the store, for readiness to tell: so nobody can be refused
on a ground that readiness does not know. Words are stored: an unknown one, of a newer node, is shown as it is.
"""

from collections.abc import Mapping
from enum import StrEnum


class Ground(StrEnum):
    NOT_FRESH = "not_fresh"
    CLOCK_DIFFERS = "clock_differs"
    TWIN = "twin"
    STORE_OLDER = "store_older"
    RECORDER = "recorder_failed"
    MEMORY = "too_busy"
    CLOSED = "closed"


GATE = (Ground.NOT_FRESH, Ground.CLOCK_DIFFERS, Ground.TWIN, Ground.STORE_OLDER)
"""Those on which the gate refuses. On RECORDER the recorder does, and on MEMORY the session, with their own
words; where the node is CLOSED nobody gets as far."""

WORDS: Mapping[Ground, str] = {
    Ground.NOT_FRESH: "it cannot read the feed, so it does not hear of revocations",
    Ground.CLOCK_DIFFERS: "its clock and the store's differ too much",
    Ground.TWIN: "another gateway runs under its name",
    Ground.STORE_OLDER: "the store is not the one that was signed last: see `tidegate audit verify`",
    Ground.RECORDER: "it cannot record: little space is left on its disk, or the disk refuses",
    Ground.MEMORY: "what waits in its memory for the sessions it has is as much as may be",
    Ground.CLOSED: "it takes no connections: it has no listener, is drained, or stops",
}
"""Who asks whether a gateway is ready is told these, without logging in."""


NO_KEY = "no token can be signed: the keys' folder has no key that signs now"
"""Why the API gives nobody a token."""


def told(node: str, ground: str) -> str:
    """Return why nobody gets in at ``node``, in words."""
    words = WORDS[Ground(ground)] if ground in WORDS else ground
    return f"{node} admits nobody: {words}"
