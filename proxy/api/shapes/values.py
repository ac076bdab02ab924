"""The kinds of values the shapes share, and the page of a list."""

from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from gateway_config.durations import duration
from proxy.core.words import StoredWord
from proxy.policy.words import spoken

T = TypeVar("T")

LARGEST = 1 << 40
"""No place in a list, and no statement's number, is larger: what no store can hold is a mistake of who asks."""


def iso(instant: float) -> str:
    """Epoch seconds as ISO 8601 in UTC with milliseconds, as ``2026-01-31T12:00:00.000Z``."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Asks = TypeVar("Asks", bound=StoredWord)


def known_word(word: Asks) -> Asks:
    """A word that somebody asks by: ValueError for one that this version does not have, which a stored one may
    be."""
    if not word.is_known:
        raise ValueError(f"is none of {', '.join(type(word))}")
    return word


Instant = Annotated[
    float,
    PlainSerializer(iso, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Seconds = Annotated[float, Field(description="seconds")]
LONGEST = 366 * 86400.0


def asked_duration(value: object) -> float:
    """Seconds: more than none, and no more than a year."""
    seconds = duration(value)
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"should be more than 0s and at most {spoken(LONGEST)}")
    return seconds


AskedDuration = Annotated[
    float,
    BeforeValidator(asked_duration, json_schema_input_type=str | float),
    Field(description=f'"30m", "1h30m", or a number of seconds; at most {spoken(LONGEST)}'),
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]
NeededReason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class Shape(BaseModel):
    """What the API answers: read from the attributes of the core's types."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Asked(BaseModel):
    """What the API is sent: an unknown member is a mistake, not something to overlook."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Paged(Shape, Generic[T]):
    """One page of a list, newest first. ``next`` goes into ``before`` of the call for the page after."""

    items: list[T]
    next: Annotated[str | None, Field(description="the next page's cursor; null when this is the last")] = None
