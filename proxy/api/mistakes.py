"""What is wrong with what the API was sent, in plain words: never the validator's own, never the value.

Called by ``problems`` with what FastAPI found. A value may be a password, so that only its bound is told.
"""

from collections.abc import Mapping, Sequence
from typing import Any

PLACES = frozenset({"body", "query", "path", "header"})
_NUMBER, _WHOLE, _YES_OR_NO = "should be a number", "should be a whole number", "should be true or false"
_WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "string_type": "should be text",
    "string_unicode": "should be text",
    "string_too_long": "is too long: at most {max_length} characters",
    "string_too_short": "is too short: at least {min_length} characters",
    "greater_than": "should be more than {gt}",
    "greater_than_equal": "should be at least {ge}",
    "less_than": "should be less than {lt}",
    "less_than_equal": "should be at most {le}",
    "literal_error": "should be one of {expected}",
    "enum": "should be one of {expected}",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _YES_OR_NO,
    "bool_parsing": _YES_OR_NO,
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "dict_type": "should be an object",
    "model_type": "should be an object",
    "model_attributes_type": "should be an object",
    "json_invalid": "is not JSON",
}
"""By the validator's name of the mistake; the bounds are its own."""


def mistake(error: Mapping[str, Any]) -> dict[str, str]:
    """One of the errors of a ``RequestValidationError``: the ``path`` of what was sent (``body.duration``), and the
    ``problem`` with it."""
    return {"path": ".".join(str(part) for part in error["loc"]), "problem": _worded(error)}


def summary(found: Sequence[Mapping[str, str]], most: int = 3) -> str:
    """One line for people of the first ``most``."""
    said = [f"{_called(each['path'])}: {each['problem']}" for each in found[:most]]
    if len(found) > most:
        said.append(f"and {len(found) - most} more")
    return "; ".join(said) or "the request cannot be understood"


def _worded(error: Mapping[str, Any]) -> str:
    kind, bounds = str(error["type"]), error.get("ctx", {})
    if kind == "string_too_short" and bounds.get("min_length") == 1:
        return "should not be empty"
    if kind == "value_error" and "error" in bounds:
        return str(bounds["error"])  # of a validator of ours, in our words
    return _WORDS[kind].format_map(bounds) if kind in _WORDS else "is not what it should be"


def _called(path: str) -> str:
    """The field's own name: who sent a form or an option does not know of bodies and queries."""
    place, _, name = path.partition(".")
    if place not in PLACES:
        return path
    return f"`{name}`" if name and not name.isdigit() else "the request"
