"""Seals: what a row says is what the gateway wrote into it, whoever has the database's password.

Seal 2 of a row is a text with all its fields (column ``sealed``) and the code of that text under a key that is not
in the store (``mac``). A row is intact when the code is that of the text and each column says what the text says: a
column that is changed alone does not equal the text, a text that is changed alone has another code, and a text of
another row has another id. The code is bound to the kind of row (``SEALED_AS``): what was sealed as a vote is no
grant. Any dataclass with ``id``, ``sealed`` and ``mac`` can be sealed so; the text is ::

    {"fields": {NAME: VALUE, …}, "must": [NAME, …]}

A new field costs nothing: at its default it stays out of the text, so older and newer rows are the same. A field of
a later version stands in the text for those who know it; the others keep it when they seal the row anew, and refuse
to decide, extend or widen it. ``must`` are those fields in use, and the newer conditions in use as
``conditions.NAME``, without which the row cannot be acted on at all, since they narrow it.

Seal 1, of 2881ff7, has no text: it is over the literal list of that version's fields of a grant, and holds while
all others are at their default. A row loses nothing by that, and gains nothing: without its text a row of seal 2
has a code that fits nothing. Pure over ``core.ports.Seal``; called by what decides on a stored row.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from typing import Any, ClassVar, Protocol, TypeVar

from proxy.core.access import Grant
from proxy.core.events import plain
from proxy.core.ports import Seal
from proxy.core.words import NEWER

GRANT_1 = (
    "id",
    "request",
    "identity",
    "resource",
    "account",
    "starts",
    "ends",
    "networks",
    "databases",
    "conditions",
    "rule",
    "revoked",
    "revoked_by",
    "revoked_reason",
)
"""What seal 1 is over."""

CONDITIONS_1 = frozenset({"record_rows", "record_bytes", "record_input", "record_traffic", "token_life"})
"""The conditions of a grant that every version since 2881ff7 keeps to; any other one in use must be understood."""

CONDITIONS = CONDITIONS_1
"""Those that this version keeps to."""

SEAL = frozenset({"sealed", "mac"})

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class Sealable(Protocol):
    """A frozen dataclass that is one row."""

    SEALED_AS: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def id(self) -> str: ...
    @property
    def sealed(self) -> str: ...
    @property
    def mac(self) -> str: ...


Row = TypeVar("Row", bound=Sealable)


@dataclass(frozen=True, slots=True)
class SealedText:
    """What a sealed text holds."""

    fields: Mapping[str, Any]
    must: frozenset[str]


class Seals:
    """Seals rows and checks them."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def seal(self, row: Row) -> Row:
        """Return the row with its seal. Fields of a later version that an intact text of it had stay in it."""
        before = self._text(row)
        kept = {name: before.fields[name] for name in unknown(row, before)} if before else {}
        must = before.must - understood(row) if before else frozenset()
        sealed = text_of(row, kept, must)
        return replace(row, sealed=sealed, mac=self._seal.mac(domain(row), sealed))

    def intact(self, row: Sealable) -> bool:
        """Return whether the row is as it was sealed. Says no to whatever cannot be written canonically."""
        try:
            if not row.sealed:
                return isinstance(row, Grant) and self._intact_as_before(row)
            text = self._text(row)
            if text is None:
                return False
            columns = columns_of(row)
            said = {name: value for name, value in text.fields.items() if name in columns}
            return same(columns, {**initial(type(row)), **said})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return False

    def newer(self, row: Sealable) -> bool:
        """Return whether an intact row says something that this version does not know: it can be used, or ended,
        but not decided, extended or widened."""
        text = self._text(row)
        values = (getattr(row, name) for name in initial(type(row)))
        return (text is not None and bool(unknown(row, text) | strange(row, text))) or any(map(has_newer, values))

    def usable(self, row: Sealable) -> bool:
        """Return whether this version understands all that must be understood of an intact row to act on it."""
        text = self._text(row)
        return text is None or not strange(row, text)

    def _text(self, row: Sealable) -> SealedText | None:
        """The text, if there is one and we wrote it."""
        if not row.sealed or not self._seal.fits(domain(row), row.sealed, row.mac):
            return None
        found = json.loads(row.sealed)
        return SealedText(found["fields"], frozenset(found["must"]))

    def _intact_as_before(self, grant: Sealable) -> bool:
        columns, first = columns_of(grant), initial(type(grant))
        later = first.keys() - set(GRANT_1)
        if not same({name: columns[name] for name in later}, {name: first[name] for name in later}):
            return False
        return self._seal.fits("grant 1", _encode({name: columns[name] for name in GRANT_1}), grant.mac)


def domain(row: Sealable) -> str:
    """Return what a code is bound to besides the text."""
    return f"{row.SEALED_AS} 2"


def text_of(row: Sealable, newer: Mapping[str, Any], must: frozenset[str]) -> str:
    """Return the text of a row; ``newer`` and ``must`` are what a later version said besides."""
    first = initial(type(row))
    said = {
        name: value
        for name, value in columns_of(row).items()
        if not (value == first[name] and same({name: value}, {name: first[name]}))
    }
    needed = {each.name for each in fields(row) if each.metadata.get("must") and each.name in said}
    needed |= conditions(getattr(row, "conditions", {}).keys() - CONDITIONS_1)
    return _encode({"fields": {**newer, **said}, "must": sorted(must | needed)})


def conditions(names: Iterable[str]) -> frozenset[str]:
    """Return the names of conditions as they stand in ``must``."""
    return frozenset(f"conditions.{name}" for name in names)


def columns_of(row: Sealable) -> dict[str, Any]:
    """Return what a seal is over, by name, in the form it has in texts."""
    return {name: even(plain(getattr(row, name))) for name in initial(type(row))}


@cache
def initial(kind: type[Sealable]) -> Mapping[str, Any]:
    """Return the defaults of what a seal is over, in the same form; ``MISSING``, which no JSON holds, where a field
    has none. Once a version is out a default never changes: texts leave it out."""
    values = {
        each.name: each.default if each.default_factory is MISSING else each.default_factory()
        for each in fields(kind)
        if each.name not in SEAL
    }
    return {name: even(plain(value)) for name, value in values.items()}


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two are the same JSON, where 1 and true are two things."""
    return _encode(one) == _encode(other)


def unknown(row: Sealable, text: SealedText) -> frozenset[str]:
    """Return the fields of a later version in a text."""
    return frozenset(text.fields) - {each.name for each in fields(row)}


def strange(row: Sealable, text: SealedText) -> frozenset[str]:
    """Return what must be understood of a row, and is not."""
    return text.must - understood(row)


def understood(row: Sealable) -> frozenset[str]:
    """Return the names in ``must`` that this version knows."""
    return conditions(CONDITIONS) | {each.name for each in fields(row)}


def has_newer(value: Any) -> bool:
    """Return whether a later version's word is in a value, at whatever depth."""
    if hasattr(value, "is_known"):
        return not value.is_known
    if isinstance(value, tuple | frozenset):
        return any(map(has_newer, value))
    if hasattr(value, NEWER):
        return bool(value.newer) or any(has_newer(getattr(value, each.name)) for each in fields(value))
    return False


def even(value: Any) -> Any:
    """``value`` with whole floats as integers: stores differ in whether 20 comes back as 20.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: even(each) for key, each in value.items()}
    return [even(each) for each in value] if isinstance(value, list) else value
