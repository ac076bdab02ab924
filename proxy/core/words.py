"""Words that are stored, and how a reader takes one that a later version wrote: as it is, and never for another.

Two versions share a store during an upgrade. What is read must not raise, must not be taken for something known,
and must be written back as it was read. So status words are ``StoredWord``s, values that are stored as JSON keep
keys they do not know (``newer_keys``), and whoever would decide by such a value asks ``is_known`` first. Pure;
used by the types of ``core`` and by whatever reads rows.
"""

import dataclasses
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any, Self, TypeVar

T = TypeVar("T")

NEWER = "newer"


class StoredWord(StrEnum):
    """A status word as stored. ``Kind("a word of a later version")`` gives a member with that value which is none
    of those listed: it equals nothing but itself, and prints and is stored as it was read."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        word = str.__new__(cls, value)
        word._name_ = word._value_ = value
        return word

    def __reduce_ex__(self, protocol: Any) -> tuple[type[Self], tuple[str]]:
        """By value: some versions of Python copy a member by its name, which a word of a later version has not."""
        return type(self), (self._value_,)

    @property
    def is_known(self) -> bool:
        """Whether this version has the word."""
        return self._value_ in type(self)._value2member_map_


class StoredCode(IntEnum):
    """The same for words that are stored as numbers: ``Kind(9)`` is then called ``UNKNOWN_9``."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        word = int.__new__(cls, value)
        word._name_, word._value_ = f"UNKNOWN_{value}", value
        return word

    def __reduce_ex__(self, protocol: Any) -> tuple[type[Self], tuple[int]]:
        """As a word's."""
        return type(self), (self._value_,)


def newer_keys() -> Any:
    """Declare the field ``newer`` of a value that is stored as JSON: keys that a later version wrote, with what
    they held. ``events.plain`` puts them back beside the others."""
    return dataclasses.field(default_factory=dict, hash=False)


def read(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return the ``kind``, a dataclass with ``newer``, whose ``plain`` form is ``values``; what it has no field for
    goes into ``newer``. Errors: TypeError where a value that it needs is missing."""
    names = {each.name for each in dataclasses.fields(kind)} - {NEWER}  # type: ignore[arg-type]
    newer = {name: value for name, value in values.items() if name not in names}
    known = {name: value for name, value in values.items() if name in names}
    return kind(**known, **{NEWER: newer})
