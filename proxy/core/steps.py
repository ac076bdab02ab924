"""What an inspector answers to the kernel: a few steps, as values.

Steps are made per chunk on the session path, so they are plain tuples with names, not dataclasses. Two
``Forward`` in a row mean the same as one with the bytes joined.

Steps may be made as they are asked for: where a chunk holds more than a short piece of work, its steps are a
generator, and whoever carries them out may take some, let others have their turn, and take the rest later. So no
single step may take long to make; where steps are few for the work, ``Pause`` counts it.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from proxy.core.access import Decision
from proxy.core.actions import Action
from proxy.core.records import Outcome, Record, StatementFinished, StatementStarted
from proxy.core.states import EndReason


class Side(IntEnum):
    """Who sent a chunk."""

    CLIENT = 0
    TARGET = 1


class Forward(NamedTuple):
    """Pass on to the other side than the chunk came from."""

    data: bytes | memoryview


class Reply(NamedTuple):
    """Say this to the client, in the protocol's own words."""

    data: bytes


class Tell(NamedTuple):
    """Say this to the target: the gateway's own words, as a message that takes a refused one's place."""

    data: bytes


class Observe(NamedTuple):
    """Write this record before any later step is carried out."""

    record: Record


class Recorded(NamedTuple):
    """``Observe`` and then ``Forward`` as one value: what most chunks come to."""

    record: Record
    data: bytes


class Ask(NamedTuple):
    """Hold this side until the action is decided; then ``inspector.resume(decision)``."""

    action: Action


class Think(NamedTuple):
    """Hold this side until ``work(data)``, which takes too long for the loop, has been called in another process
    and ``done`` was given the result; then ``inspector.resume(None)``. ``work`` is a function of a module, or a
    partial of one."""

    work: Callable[[bytes], object]
    data: bytes
    done: Callable[[Any], None]


class Pause(NamedTuple):
    """Nothing to do, but as much ``work`` was done as for so many steps."""

    work: int


class Wait(NamedTuple):
    """Hold the client until a chunk of the target has made ``over`` true; then go on with the steps behind."""

    over: Callable[[], bool]


class Close(NamedTuple):
    """This conversation is over."""

    reason: EndReason
    detail: str = ""


Step = Forward | Reply | Tell | Observe | Recorded | Ask | Think | Pause | Wait | Close

SLICE = 48
"""Steps carried out in one turn of the loop, of one session: about 0.2 ms."""
STEP = Pause(1)
TURN = Pause(SLICE)
"""A whole turn's work."""

Fed = Iterable[Step] | StatementStarted | StatementFinished
"""What a feeder gives for a chunk: steps, or a record alone, which stands for one ``Recorded`` of it and the whole
chunk. Most chunks come to that, and a record is a tuple already: two more around it are two too many."""


class Inspector(Protocol):
    """One conversation, both sides, as bytes alone. Pure: no I/O, no clock.

    Any split of any chunk sequence gives the same steps once adjacent ``Forward`` are joined and ``Pause`` is left
    out. The inspector owns the remainder of a chunk it holds back. A side is fed, or resumed, only when all its
    steps before were taken; between two steps of one side, the other may be fed: each leaves both sides whole.
    After ``Ask`` and ``Think`` the *client* side is held: the kernel stops reading it and calls ``resume``; the
    target side runs on.
    """

    def feed(self, side: Side, chunk: bytes) -> Sequence[Step]:
        """What to do about bytes that ``side`` sent. A peer that breaks the protocol gives ``Close``."""
        ...

    def feeder(self, side: Side) -> Callable[[bytes], Fed]:
        """``feed`` for one side, to be kept: the session path has no call to spare. A record alone is the start of
        a statement from the client's feeder, and the end of one from the target's."""
        ...

    def resume(self, decision: Decision | None) -> Iterable[Step]:
        """What to do now that the action of the last ``Ask`` is decided, or (None) the last ``Think`` thought."""
        ...

    def inject(self, text: str, hint: str = "") -> bytes:
        """A notice for the person, in the protocol's words; b"" where none may be said now: try again after the
        next chunk of the target."""
        ...

    def target_boundary(self) -> int:
        """Bytes of the target still to be forwarded until something may be said to the client: 0 at a boundary,
        -1 where the length is not known."""
        ...

    def farewell(self, reason: EndReason, text: str, hint: str = "") -> bytes:
        """The last words to the client; b"" inside a message."""
        ...

    def outlives(self, side: Side) -> bool:
        """Asked when ``side`` has ended: whether the other side may still send, and is to be told of the end once
        it has had every byte."""
        ...

    def running(self) -> bool:
        """Whether the target is doing something for the client now."""
        ...

    def stop(self) -> bytes:
        """What must be said to the target, besides a cancel on its own connection, to make it stop (CopyFail);
        later bytes of the client are dropped by the kernel."""
        ...

    def finish(self, outcome: Outcome) -> Sequence[Record]:
        """Records that close what is still open when the line ends; ``outcome`` is CUT or UNKNOWN."""
        ...

    def holds(self) -> int:
        """Bytes that are kept: of messages that are not whole yet, and under names."""
        ...

    def close(self) -> None:
        """Drop all that is kept, and take parts that know each other apart; nothing is asked afterwards."""
        ...
