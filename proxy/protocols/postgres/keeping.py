"""How much memory the names of one conversation hold: bind values, types, texts, descriptions. Pure; counted by
``extended``, ``naming`` and ``pending``.

Names are bounded by their number, but each may hold megabytes, and while nothing is answered what a name stood for
before is kept too. So what is kept is shared out: a thing has its share for as long as it is there itself.
"""

from typing import Optional

from proxy.core.errors import PeerError
from proxy.core.records import Parameter
from proxy.recording.codec import Packed

KEPT_MOST = 64 * 1024 * 1024
SMALL = 1024
"""What holds less has no share: a name by itself takes as much."""
VALUE, TYPE, SECRET, FORMAT, STATEMENT = 128, 40, 64, 8, 256
"""What each takes besides its bytes."""


class Share:
    """``size`` bytes of what is kept, until it is gone; ``also``: and those of this one."""

    __slots__ = ("_kept", "also", "size")

    def __init__(self, kept: "Kept", size: int, also: Optional["Share"]) -> None:
        self._kept = kept
        self.size = size
        self.also = also
        kept.size += size

    def __del__(self) -> None:
        self._kept.size -= self.size


class Kept:
    """``size``: bytes kept now."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0

    def share(self, size: int, also: Share | None = None) -> Share | None:
        """For something that holds so many bytes. ``PeerError`` (limit) where they are too many."""
        if size <= SMALL:
            return also
        if not self.room(size):
            raise PeerError("too much is kept for prepared statements and portals", code="limit")
        return Share(self, size, also)

    def room(self, size: int) -> bool:
        """Whether so many bytes more may be kept."""
        return self.size + size <= KEPT_MOST


def of_values(parameters: tuple[Parameter, ...], formats: tuple[int, ...]) -> int:
    """Bytes that the values of a Bind hold."""
    if isinstance(parameters, Packed):
        return parameters.held + FORMAT * len(formats)
    held = VALUE * len(parameters) + FORMAT * len(formats)
    for parameter in parameters:
        held += len(parameter[2] or b"")
    return held
