"""What a client was refused before anything began, as rows of a recording: one by one at first, then by number.
Pure; kept by ``ledger``.

A client may ask for as much as it likes, so rows are bounded: the same again is a row when it was refused twice as
often as the last row said, and of what is different each time there are so many and no more.
"""

from collections.abc import Sequence

from proxy.core.records import Note

KINDS_MOST = 1000
"""Refusals that are told apart in a session. What comes beyond is counted by its word alone."""
DETAIL_MOST = 500
WORD_MOST = 100


class Refusals:
    """Those of one session."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}  # how often, and how often by the last row

    def note(self, what: str, detail: str) -> Note | None:
        """The row for one more, if there is to be one: ``times`` says how often it was by now."""
        key = what[:WORD_MOST], detail[:DETAIL_MOST]
        if key not in self._seen and len(self._seen) >= KINDS_MOST:
            key = key[0], "and others"
        times, told = self._seen.get(key, (0, 0))
        due = times + 1 >= 2 * told
        self._seen[key] = times + 1, times + 1 if due else told
        return _row(key, times + 1) if due else None

    def left(self) -> Sequence[Note]:
        """The rows for those that none has told of; none the second time."""
        due = [(key, times) for key, (times, told) in self._seen.items() if times > told]
        self._seen.update({key: (times, times) for key, times in due})
        return [_row(key, times) for key, times in due]


def _row(key: tuple[str, str], times: int) -> Note:
    what, detail = key
    repeated = (("times", times),) if times > 1 else ()
    return Note("denied", (("what", what), ("detail", detail), *repeated))
