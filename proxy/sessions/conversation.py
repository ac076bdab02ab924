"""What the kernel must know of two sides that talk, whatever they speak, to end their conversation well.

``relay.Relay`` is one, for protocols that are bytes and have an inspector; a protocol whose library owns both lines
brings its own. Called by ``session`` and ``parting``, in the loop's thread; knows no protocol.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.core.records import Outcome, Record
from proxy.core.states import EndReason


@dataclass(frozen=True, slots=True)
class Farewell:
    """The last words to a client: why, as a word and as text, and what to do next."""

    reason: EndReason
    text: str
    hint: str


class Conversation(Protocol):
    """One session's two sides. ``statements`` were begun; ``outcomes`` counts how those that are over ended, by
    ``core.records.Outcome``. It calls ``session.end`` itself when a side closes."""

    outcomes: list[int]

    @property
    def statements(self) -> int: ...

    @property
    def broken(self) -> bool:
        """Whether it ended by a line that broke, rather than was closed."""
        ...

    @property
    def target_gone(self) -> bool:
        """Whether the line to the target is lost."""
        ...

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to pass things on; ``tasks`` owns whatever has to wait."""
        ...

    def running(self) -> bool:
        """Whether the target does something for the client now."""
        ...

    def activity(self) -> tuple[int, bool]:
        """Bytes that people moved until now, either way, and whether the target is at work on something they wait
        for: whoever is neither reading nor waiting is idle."""
        ...

    def stop(self) -> None:
        """Say to the target, besides what ``TargetControl.abandon`` does, what makes it stop."""
        ...

    def warn(self, text: str, hint: str) -> bool:
        """A notice for the person; False where none can be given now: try again later."""
        ...

    def freeze(self, farewell: Farewell | None) -> None:
        """In this turn: pass on nothing of the client any more. Say ``farewell`` (None: no words) as soon as
        something may be said, recorded as it is said, and nothing of the target after it. The first call counts."""
        ...

    async def whole(self, patience: float) -> None:
        """Returns when the farewell has been said, or could not be within ``patience`` seconds; then ``mute``."""
        ...

    def mute(self) -> None:
        """From now on what the target sends is only looked at."""
        ...

    async def quiet(self, patience: float) -> bool:
        """Read the target until it does nothing for the client, at most ``patience`` seconds; whether it came to
        that."""
        ...

    def left(self, outcome: Outcome) -> Sequence[Record]:
        """Records that close what is still open, counted; the caller records them."""
        ...

    def close(self) -> None:
        """Let go of the session and of all that is kept, once it is over: what it held must not wait for Python's
        collector. Only ``statements`` and ``outcomes`` may be asked for afterwards."""
        ...
