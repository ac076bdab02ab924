"""What is wrong with a configuration, as values: all of it at once, each with its place.

Knows nothing of TOML or of the schema. Raised by ``loading``, printed by the command line and by reload. Messages
name settings, never the value of a secret.
"""

from collections.abc import Iterable
from dataclasses import dataclass

Place = tuple[str | int, ...]
"""Where a setting is: ``("resources", 2, "accounts", 0, "password")``."""

Finding = tuple[Place, str]
"""A place and what is wrong there, before its line is known."""


def path(place: Place) -> str:
    """The place as an operator reads it: ``resources[2].accounts[0].password``."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to put right. ``path`` is "" and ``line`` None where the whole file is meant; ``source`` is the
    file's name, "" for the main one."""

    path: str
    line: int | None
    message: str
    source: str = ""


class ConfigProblems(Exception):
    """Everything wrong with one configuration. ``str()`` is one line per problem, as compilers print them."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = sorted(problems, key=_order)
        super().__init__(str(self))

    def __str__(self) -> str:
        return "\n".join(self._worded(each) for each in self.problems)

    def place(self, problem: Problem) -> str:
        """The file, and the line where it is known: ``policies/shop.toml:12``."""
        source = problem.source or self.source
        return source if problem.line is None else f"{source}:{problem.line}"

    def _worded(self, problem: Problem) -> str:
        return ": ".join(part for part in (self.place(problem), problem.path, problem.message) if part)


def _order(problem: Problem) -> tuple[str, int, str, str]:
    return problem.source, problem.line or 0, problem.path, problem.message
