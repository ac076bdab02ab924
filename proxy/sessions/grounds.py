"""On which of the grounds a node admits nobody now. Made by the composition root, with a check for each of them.

Asked by the gate, and by ``presence``, which writes what holds into the node's row for readiness to tell. Knows no
store and no protocol.
"""

from collections.abc import Callable, Mapping

from proxy.core.grounds import GATE, Ground

Check = Callable[[], bool]
"""Whether the ground holds now. The very one that whoever refuses on it goes by."""


class Grounds:
    """``checks``: one for every ``Ground``; KeyError where one is missing."""

    def __init__(self, checks: Mapping[Ground, Check]) -> None:
        self._checks = {ground: checks[ground] for ground in Ground}

    def first(self) -> Ground | None:
        """Return the ground on which the gate refuses now; None where it admits."""
        return next((each for each in GATE if self._checks[each]()), None)

    def all(self) -> tuple[str, ...]:
        """Return the words of all that hold now."""
        return tuple(each.value for each in Ground if self._checks[each]())
