"""What a reload changes, and when each change takes effect. Paths only, never values: a log may print it all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway_config.schema import Config
from gateway_config.settings import Reload, Section, reload_of


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs. Entries of lists go by name: ``resources[shop].accounts[owner].password``."""

    path: str
    reload: Reload
    kind: Literal["changed", "added", "removed"] = "changed"

    def __str__(self) -> str:
        return f"{self.path} {self.kind} ({self.reload})"


def difference(old: Config, new: Config) -> list[Change]:
    """Every setting in which the two differ, in the order of the schema. Empty: nothing to do."""
    return list(_sections(old, new, ""))


def needs_restart(changes: Sequence[Change]) -> list[Change]:
    """Those that a reload cannot bring about."""
    return [each for each in changes if each.reload == "restart"]


def _sections(old: Section, new: Section, path: str) -> Iterator[Change]:
    for name, field in type(new).model_fields.items():
        here = f"{path}.{name}" if path else name
        yield from _values(getattr(old, name), getattr(new, name), here, reload_of(field))


def _values(old: object, new: object, path: str, reload: Reload) -> Iterator[Change]:
    if old == new:
        return
    if isinstance(old, Section) and isinstance(new, Section) and type(old) is type(new):
        yield from _sections(old, new, path)
    elif (before := named(old)) is not None and (after := named(new)) is not None:
        yield from _lists(before, after, path, reload)
    else:
        yield Change(path, reload)


def named(value: object) -> dict[str, Section] | None:
    """A list of sections by name; None for anything else."""
    if not isinstance(value, tuple):
        return None
    sections = {each.name: each for each in value if isinstance(each, Section) and hasattr(each, "name")}
    return sections if len(sections) == len(value) else None


def _lists(old: dict[str, Section], new: dict[str, Section], path: str, reload: Reload) -> Iterator[Change]:
    for name in old:
        if name not in new:
            yield Change(f"{path}[{name}]", reload, "removed")
    for name, section in new.items():
        if name not in old:
            yield Change(f"{path}[{name}]", reload, "added")
        else:
            yield from _values(old[name], section, f"{path}[{name}]", reload)
    # The order of policies can decide, so a new order is a change of its own.
    if [name for name in old if name in new] != [name for name in new if name in old]:
        yield Change(path, reload)
