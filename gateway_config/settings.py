"""How a setting is declared: its default, what it means, and when a change of it takes effect.

Every section of the schema is built from these two. ``difference`` and ``manual`` read what they note.
"""

from functools import cache
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Reload = Literal["live", "new_sessions", "restart"]
"""When a changed setting takes effect after a reload: at once; for sessions that start later (running ones keep
what they started with); or only when the process is started again."""


class Section(BaseModel):
    """A table of the file: frozen, unknown keys refused. Input is left out of pydantic's errors because it may be a
    secret that was written where a reference belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)


def setting(
    description: str,
    reload: Reload,
    default: Any = ...,
    *,
    per_node: bool = False,
    shown: bool = True,
    **bounds: Any,
) -> Any:
    """One setting.

    ``default`` left out: it is required. ``per_node``: nodes of one cluster may differ in it, so it is no part of
    the digest. ``shown=False`` keeps it out of ``repr``. ``bounds`` are pydantic's (``ge``, ``le`` …).
    """
    notes: dict[str, Any] = {"reload": reload, "per_node": per_node}
    return Field(default, description=description, repr=shown, json_schema_extra=notes, **bounds)


_RELOADS: tuple[Reload, ...] = get_args(Reload)


def reload_of(field: FieldInfo) -> Reload:
    """When a change of this setting takes effect; ``restart``, the careful answer, where it does not say."""
    notes = field.json_schema_extra
    found = notes.get("reload") if isinstance(notes, dict) else None
    return next((each for each in _RELOADS if each == found), "restart")


@cache
def default_of(section: type[Section], name: str) -> Any:
    """What a setting is where nobody sets it, as it comes out of validation ("10s" is 10.0); pydantic's mark of
    nothing, which equals no value, where it is required."""
    field = section.model_fields[name]
    if field.is_required():
        return PydanticUndefined
    annotation: Any = field.annotation
    alone: Any = create_model("Alone", __base__=Section, value=(annotation, field))
    return alone().value


def is_per_node(field: FieldInfo) -> bool:
    """Whether nodes of one cluster may differ in this setting."""
    notes = field.json_schema_extra
    return isinstance(notes, dict) and bool(notes.get("per_node"))


def sections_in(annotation: Any) -> tuple[type[Section], ...]:
    """The sections a field holds, directly, in a tuple or as one of several kinds; none for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return (annotation,)
    return tuple(found for each in get_args(annotation) for found in sections_in(each))
