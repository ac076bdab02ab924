"""Python sources as the architecture's rules see them: a module's name, its syntax tree, what it imports and uses.

Nothing is imported or run: the rules read text, so lazy and type-only imports count like any other.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

ROOTS = ("proxy", "gateway_config")


class Import(NamedTuple):
    """One import: ``target`` is absolute (``proxy.core.access.Admission``); it makes the name ``local`` (or none,
    "") stand for ``meaning``: for ``import a.b`` that is ``a``."""

    line: int
    target: str
    local: str
    meaning: str


class Use(NamedTuple):
    """A name that is read somewhere, written out in full (``asyncio.create_task``), and whether it is called."""

    line: int
    name: str
    called: bool


@dataclass(frozen=True)
class Source:
    """One module. ``name`` is dotted; a package's ``__init__`` has the package's name."""

    name: str
    text: str
    package: bool = False

    @property
    def path(self) -> str:
        stem = self.name.replace(".", "/")
        return f"{stem}/__init__.py" if self.package else f"{stem}.py"

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.name.split("."))

    @property
    def area(self) -> str:
        """The package a rank is given to: ``core`` of ``proxy.core.access``, ``app`` of ``proxy.app``."""
        return self.parts[1] if len(self.parts) > 1 and self.parts[0] == "proxy" else self.parts[0]

    def at(self, line: int) -> str:
        return f"{self.path}:{line}"

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(self._imports())

    def _imports(self) -> Iterator[Import]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.split(".")[0]
                    yield Import(
                        node.lineno, alias.name, alias.asname or first, alias.name if alias.asname else first
                    )
            elif isinstance(node, ast.ImportFrom):
                module = self._absolute(node)
                for alias in node.names:
                    target = f"{module}.{alias.name}"
                    yield Import(node.lineno, target, alias.asname or alias.name, target)
            elif isinstance(node, ast.Call) and _imports_by_name(node):
                argument = node.args[0]
                assert isinstance(argument, ast.Constant)
                yield Import(node.lineno, str(argument.value), "", "")

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        above = self.parts if self.package else self.parts[:-1]
        base = above[: len(above) - node.level + 1]
        return ".".join((*base, node.module) if node.module else base)

    @cached_property
    def uses(self) -> tuple[Use, ...]:
        """Every imported name that is used, with its attributes: through whatever alias it goes here."""
        names = {each.local: each.meaning for each in self.imports if each.local}
        called = {id(node.func) for node in ast.walk(self.tree) if isinstance(node, ast.Call)}
        return tuple(
            Use(node.lineno, name, id(node) in called)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Name | ast.Attribute) and (name := _written_out(node, names))
        )


def sources(root: Path) -> tuple[Source, ...]:
    """Every module of the project's packages under ``root``, by name."""
    return tuple(
        _read(root, path)
        for package in ROOTS
        for path in sorted((root / package).rglob("*.py"))
        if "__pycache__" not in path.parts
    )


def _read(root: Path, path: Path) -> Source:
    parts = path.relative_to(root).with_suffix("").parts
    package = parts[-1] == "__init__"
    return Source(".".join(parts[:-1] if package else parts), path.read_text(), package)


def _imports_by_name(node: ast.Call) -> bool:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    named = bool(node.args) and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    return called in ("import_module", "__import__") and named


def _written_out(node: ast.expr, names: Mapping[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        owner = _written_out(node.value, names)
        return f"{owner}.{node.attr}" if owner else ""
    return ""
