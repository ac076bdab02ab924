"""The schema as rows for people: every setting with its default, its meaning, and when a change takes effect.

``python -m gateway_config.manual`` prints the tables of the README, and a test holds the README to them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_origin

from pydantic.fields import FieldInfo

from gateway_config.resources import SHAPES
from gateway_config.schema import Config
from gateway_config.settings import Reload, Section, reload_of, sections_in


@dataclass(frozen=True, slots=True)
class Setting:
    """``table`` is ``store`` or ``resources[].accounts[]``; ``default`` is TOML, or "required", or "none".
    ``protocol`` is that of the resource, where the table is part of one."""

    table: str
    name: str
    default: str
    reload: Reload
    description: str
    protocol: str = ""


def settings() -> list[Setting]:
    """Every setting of every table, required ones first; tables themselves are not rows."""
    return list(_rows(Config, "", ""))


def _rows(section: type[Section], table: str, protocol: str) -> Iterator[Setting]:
    inner = []
    # What must be written comes first; an inherited setting would otherwise stand before the entry's own name.
    for name, field in sorted(section.model_fields.items(), key=lambda each: not each[1].is_required()):
        found = sections_in(field.annotation)
        # An approval may also be a word, so it is a setting as well as a table.
        if not found or not _is_table(field):
            yield Setting(table, name, _default(field), reload_of(field), field.description or "", protocol)
        many = get_origin(field.annotation) is tuple
        place = f"{table}.{name}".lstrip(".") + ("[]" if many else "")
        inner += [(each, place, protocol or _protocol(each)) for each in found]
    for each, place, of in inner:
        yield from _rows(each, place, of)


def _protocol(section: type[Section]) -> str:
    return next((protocol for protocol, shape in SHAPES.items() if shape is section), "")


def _is_table(field: FieldInfo) -> bool:
    return "Literal" not in repr(field.annotation)


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else _toml(field.default)


def _toml(value: Any) -> str:
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"'


def tables() -> str:
    """All settings as Markdown tables, one per table of the file."""
    blocks: dict[tuple[str, str], list[str]] = {}
    for each in settings():
        row = f"| `{each.name}` | `{each.default}` | {each.reload.replace('_', ' ')} | {each.description} |"
        blocks.setdefault((each.table, each.protocol), []).append(row)
    head = "| setting | default | a change takes effect | meaning |\n|---|---|---|---|\n"
    return (
        "\n\n".join(f"### {_heading(*where)}\n\n{head}" + "\n".join(rows) for where, rows in blocks.items()) + "\n"
    )


def _heading(table: str, protocol: str) -> str:
    if not table:
        return "At the top of the file"
    plain = table.replace("[]", "")
    of = f' where `protocol = "{protocol}"`' if protocol else ""
    return (f"`[[{plain}]]`" if table.endswith("[]") else f"`[{plain}]`") + of


if __name__ == "__main__":
    print(tables(), end="")
