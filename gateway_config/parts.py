"""The files that one configuration is written in: the main one, and those that it includes for policies alone.

``loading`` hands the main file over; what comes back is the whole as one table, and in which file and line each
place of it stands. Nothing is validated here but what an included file may hold.
"""

import glob
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway_config.lines import line_of, lines
from gateway_config.problems import ConfigProblems, Finding, Place, Problem, path

MAX_FILE = 8 * 1024 * 1024
"""Bytes, of all files together: more is a wrong file."""
INCLUDE, POLICIES = "include", "policies"

_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Part:
    """One file: its name for people, its text, and what it says. Its policies are ``first`` and on of the whole."""

    source: str
    text: str
    data: Mapping[str, Any]
    first: int = 0

    @property
    def policies(self) -> list[Any]:
        found = self.data.get(POLICIES, [])
        return found if isinstance(found, list) else []


@dataclass(frozen=True, slots=True)
class ConfigParts:
    """The main file and what it includes, in the order in which their policies follow each other."""

    main: Part
    included: Sequence[Part] = ()
    _lines: dict[str, Mapping[Place, int]] = field(default_factory=dict)

    @property
    def whole(self) -> dict[str, Any]:
        """What all of them say, as one file would."""
        data = dict(self.main.data)
        own = data.get(POLICIES, [])
        if self.included and isinstance(own, list):
            data[POLICIES] = [*own, *(policy for part in self.included for policy in part.policies)]
        return data

    def problem(self, finding: Finding) -> Problem:
        """The finding with its file, its line there, and its path as that file counts."""
        place, message = finding
        part, local = self._home(place)
        if part.source not in self._lines:
            self._lines[part.source] = lines(part.text)
        source = "" if part is self.main else part.source
        return Problem(path(local), line_of(self._lines[part.source], local), message, source)

    def called(self, place: Place) -> str:
        """The path of a place as people find it: with its file, where that is not the main one."""
        part, local = self._home(place)
        return path(local) if part is self.main else f"{path(local)} of {part.source}"

    def _home(self, place: Place) -> tuple[Part, Place]:
        match place:
            case (str(kind), int(index), *rest) if kind == POLICIES and self.included:
                part = next((each for each in reversed(self.included) if each.first <= index), self.main)
                return part, (POLICIES, index - part.first, *rest)
        return self.main, place


def parts(text: str, source: str, base: Path) -> ConfigParts:
    """``text`` and every file that it includes, relative to the folder ``base``; ``ConfigProblems`` with all that
    cannot be read in any of them."""
    main = Part(source, text, parse(text, source))
    problems: list[Problem] = []
    included: list[Part] = []
    read, first = len(text.encode()), len(main.policies)
    for where in _files(main, base, problems):
        name = str(Path(source).parent / where)
        try:
            found = Part(name, *_policies(base / where, name, MAX_FILE - read), first)
        except ConfigProblems as wrong:
            problems += [Problem(each.path, each.line, each.message, name) for each in wrong.problems]
            continue
        included.append(found)
        read, first = read + len(found.text.encode()), first + len(found.policies)
    if problems:
        raise ConfigProblems(source, problems)
    return ConfigParts(main, included)


def text_of(file: Path, source: str, most: int = MAX_FILE) -> str:
    """A file's text; ``ConfigProblems`` where it is none, or is longer than ``most`` bytes."""
    try:
        with file.open("rb") as stream:
            data = stream.read(most + 1)
    except OSError as error:
        raise ConfigProblems(source, [Problem("", None, error.strerror or "cannot be read")]) from None
    if len(data) > most:
        others = ", with the files before it" if most < MAX_FILE else ""
        raise ConfigProblems(source, [Problem("", None, f"is larger than {MAX_FILE} bytes{others}")])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigProblems(source, [Problem("", line, "is not UTF-8 text")]) from None


def parse(text: str, source: str) -> dict[str, Any]:
    """What a TOML text says; ``ConfigProblems`` where it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigProblems(source, [_syntax_problem(str(error), text)]) from None
    except RecursionError:
        raise ConfigProblems(source, [Problem("", None, "is nested too deeply")]) from None


def _syntax_problem(message: str, text: str) -> Problem:
    match = _TOML_PLACE.search(message)
    line = int(match[1]) if match and match[1] else text.count("\n") + 1
    return Problem("", line, f"is not TOML: {_TOML_PLACE.sub('', message)}")


def _files(main: Part, base: Path, problems: list[Problem]) -> Iterator[Path]:
    """Each file that a pattern of ``main`` names, once, sorted within its pattern."""
    seen: set[Path] = set()
    said = main.data.get(INCLUDE, [])
    patterns = [said] if isinstance(said, str) else said
    if not isinstance(patterns, list) or not all(map(_fit, patterns)):
        return  # the schema says what is wrong with it
    known = lines(main.text) if patterns else {}
    for index, pattern in enumerate(patterns):
        place: Place = (INCLUDE, index)
        found = sorted(Path(each) for each in glob.glob(pattern, root_dir=base))  # noqa: PTH207 - relative to base
        if not found:
            problems.append(Problem(path(place), line_of(known, place), f'no file fits "{pattern}"'))
        yield from (each for each in found if each not in seen)
        seen.update(found)


def _fit(pattern: object) -> bool:
    return isinstance(pattern, str) and pattern.isprintable() and pattern != ""


def _policies(file: Path, source: str, most: int) -> tuple[str, dict[str, Any]]:
    """An included file's text and what it says: policies, and nothing else."""
    unfit = _unfit(file)
    if unfit:
        raise ConfigProblems(source, [Problem("", None, unfit)])
    text = text_of(file, source, most)
    data = parse(text, source)
    known = lines(text)
    problems = [Problem(each, line_of(known, (each,)), _stranger(each)) for each in data if each != POLICIES]
    if not isinstance(data.get(POLICIES, []), list):
        problems.append(Problem(POLICIES, line_of(known, (POLICIES,)), "should be a list: write [[policies]]"))
    if problems:
        raise ConfigProblems(source, problems)
    return text, data


def _unfit(file: Path) -> str:
    """What is wrong with the file as it lies there; a FIFO would keep whoever opens it waiting."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        return error.strerror or "cannot be read"
    if not stat.S_ISREG(mode):
        return "is not a regular file"
    return "everyone on this machine may change it; chmod o-w it" if mode & stat.S_IWOTH else ""


def _stranger(name: str) -> str:
    if name == INCLUDE:
        return "an included file includes no others"
    return "does not belong here: an included file holds [[policies]] alone"
