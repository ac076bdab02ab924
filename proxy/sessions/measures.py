"""How long the first thing is that a peer has sent, where it is read in chunks. Pure; for ``Stream.read_one``."""

from collections.abc import Callable

Measure = Callable[[bytearray], int]
"""How long that is which these bytes begin with; 0 while it is not to be seen."""


def up_to(end: bytes) -> Measure:
    """What comes up to ``end``, and with it."""
    return lambda taken: taken.find(end) + len(end) if end in taken else 0
