"""From a file to a ``Config``, or to everything that is wrong with the file.

TOML and what it includes -> models -> cross checks and surroundings; each stage reports all it finds, and the next
one runs only on what the one before has accepted. Called at start, on reload, and by ``tidegate config check``.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway_config import checks, surroundings
from gateway_config.parts import parts, text_of
from gateway_config.problems import ConfigProblems, Finding, Place
from gateway_config.resources import SHAPES
from gateway_config.schema import Config
from gateway_config.settings import Section, sections_in
from gateway_config.suggestions import suggestion


def load(file: Path, *, with_surroundings: bool = True, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in ``file``; ``ConfigProblems`` with all that is wrong.

    ``with_surroundings=False`` does not look at secrets, certificates and keys; ``environ`` is the process's own
    environment unless given.
    """
    source = str(file)
    return read(
        text_of(file, source),
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
    written = parts(text, source, base)
    try:
        config = Config.model_validate(written.whole).based_on(base)
    except ValidationError as error:
        found = _findings(error.errors(include_url=False, include_input=False))
    else:
        found = list(checks.findings(config, written.called))
        if with_surroundings:
            found += surroundings.findings(config, environ)
        if not found:
            return config
    # dict.fromkeys: two names for one file give the same finding twice
    raise ConfigProblems(source, [written.problem(each) for each in dict.fromkeys(found)])


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
