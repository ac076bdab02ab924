"""From a file to a ``Config``, or to everything that is wrong with the file.

TOML -> models -> cross checks and surroundings; each stage reports all it finds, and the next one runs only on what
the one before has accepted. Called at start, on reload, and by ``tidegate config check``.
"""

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway_config import checks, surroundings
from gateway_config.lines import line_of, lines
from gateway_config.problems import ConfigProblems, Finding, Place, Problem, path
from gateway_config.resources import SHAPES
from gateway_config.schema import Config
from gateway_config.settings import Section, sections_in
from gateway_config.suggestions import suggestion

MAX_FILE = 8 * 1024 * 1024
"""Bytes: more is a wrong file."""

_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def load(file: Path, *, with_surroundings: bool = True, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in ``file``; ``ConfigProblems`` with all that is wrong.

    ``with_surroundings=False`` does not look at secrets, certificates and keys; ``environ`` is the process's own
    environment unless given.
    """
    source = str(file)
    return read(
        _text(file, source),
        source=source,
        base=file.absolute().parent,
        with_surroundings=with_surroundings,
        environ=environ,
    )


def read(
    text: str,
    *,
    source: str,
    base: Path,
    with_surroundings: bool = True,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """As ``load``, of a text that stands, or would stand, in folder ``base`` under the name ``source``."""
    data = _parse(text, source)
    try:
        config = Config.model_validate(data).based_on(base)
    except ValidationError as error:
        found = _findings(error.errors(include_url=False, include_input=False))
    else:
        found = list(checks.findings(config))
        if with_surroundings:
            found += surroundings.findings(config, environ)
        if not found:
            return config
    raise ConfigProblems(source, _problems(text, found))


def _text(file: Path, source: str) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigProblems(source, [Problem("", None, error.strerror or "cannot be read")]) from None
    if len(data) > MAX_FILE:
        raise ConfigProblems(source, [Problem("", None, f"is larger than {MAX_FILE} bytes")])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigProblems(source, [Problem("", line, "is not UTF-8 text")]) from None


def _parse(text: str, source: str) -> dict[str, Any]:
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


def _problems(text: str, found: Iterable[Finding]) -> list[Problem]:
    known = lines(text)
    # dict.fromkeys: two names for one file give the same finding twice.
    return [Problem(path(place), line_of(known, place), message) for place, message in dict.fromkeys(found)]


def _findings(errors: Sequence[ErrorDetails]) -> list[Finding]:
    placed = [(_place(each["loc"]), each) for each in errors]
    return [(place, _worded(each, place)) for place, each in placed if not _is_echo(each, place, placed)]


def _is_echo(error: ErrorDetails, place: Place, placed: Sequence[tuple[Place, ErrorDetails]]) -> bool:
    """pydantic leaves wrong entries out of a list and then calls it too short: only the entries are wrong."""
    return error["type"] == "too_short" and any(
        len(other) > len(place) and other[: len(place)] == place for other, _ in placed
    )


def _place(location: tuple[int | str, ...]) -> Place:
    """pydantic's location without its own marks: tags of unions (``<word>``) and ``[key]``."""
    return tuple(part for part in location if isinstance(part, int) or part[:1] not in ("<", "["))


def _worded(error: ErrorDetails, place: Place) -> str:
    kind, message = error["type"], error["msg"]
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return _unknown(error["loc"], str(place[-1]))
    if kind in ("model_type", "model_attributes_type"):
        return "should be a table"
    if kind == "tuple_type":
        return "should be a list"
    if kind == "too_short":
        return "should have at least one entry"
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


def _unknown(location: tuple[int | str, ...], name: str) -> str:
    """What to say of a setting that there is not: that another protocol's resources have it, or what is near."""
    shape = next((each for each in SHAPES if f"<{each}>" in location), None)
    others = [
        other
        for other in SHAPES
        if shape and name in _settings(tuple(f"<{other}>" if each == f"<{shape}>" else each for each in location))
    ]
    if others:
        return f"is a setting of {' and '.join(others)} resources, not of {shape} ones"
    return f"is no setting{suggestion(name, _settings(location))}"


def _settings(location: tuple[int | str, ...]) -> Collection[str]:
    """The settings of the section that holds pydantic's location."""
    sections: tuple[type[Section], ...] = (Config,)
    for part in location[:-1]:
        if isinstance(part, str) and part[:1] == "<":
            sections = (SHAPES[part[1:-1]],) if part[1:-1] in SHAPES else sections
        elif isinstance(part, str) and sections:
            field = sections[0].model_fields.get(part)
            sections = sections_in(field.annotation) if field else ()
    return sections[0].model_fields if sections else ()
