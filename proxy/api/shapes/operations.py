"""The trail, health, configuration and keys."""

from typing import Any

from pydantic import Field

from proxy.api.shapes.access import RevocationMade
from proxy.api.shapes.values import Asked, AskedDuration, Instant, Paged, Shape


class TrailEvent(Shape):
    """One row of the trail. ``digest`` covers the row and ``previous``; in ``format`` 2 it covers ``body_digest``,
    and that covers ``salt``, actor, subjects and body, of which an erased row has none."""

    seq: int
    at: Instant
    at_epoch: float
    node: str
    kind: str
    actor: str
    subjects: dict[str, str]
    body: dict[str, Any]
    previous: str
    digest: str
    format: int
    body_digest: str
    salt: str


class TrailPage(Paged[TrailEvent]):
    """Rows hold ids, as they were hashed: ``names`` says what to call those whose name is not their id."""

    names: dict[str, str] = Field(description="id -> name of now, or of then for who has left")


class HeadShown(Shape):
    """A signed statement that the trail had ``seq`` rows and ended in ``digest``. ``origin``: how often a store was
    put back from a backup, and 1."""

    seq: int
    digest: str
    at: Instant
    at_epoch: float = Field(description="the same to the last bit, which is what is signed")
    kid: str
    signature: str
    origin: int


class HeadKeys(Shape):
    keys: dict[str, str]


class KeptHead(Asked):
    """A head as `GET /v1/audit/heads` gives it."""

    seq: int = Field(ge=1, lt=1 << 62)
    digest: str = Field(max_length=128)
    at: str = Field("", max_length=64)
    at_epoch: float
    kid: str = Field(max_length=128)
    signature: str = Field(max_length=256)
    origin: int = Field(1, ge=1, lt=1 << 62)


class HeadsAsked(Asked):
    items: list[KeptHead] = Field(min_length=1, max_length=100)


class HeadsCompared(Shape):
    """What the trail says of heads that were kept elsewhere."""

    good: int = Field(description="heads that the trail bears out")
    explained: int = Field(description="of rows that a store put back has lost, as the trail says")
    problems: list[str] = Field(description="rows that are not there, or not what was signed")
    unsigned: list[str] = Field(description="heads that prove nothing: not signed by a key of this gateway")


class TrailRestoredShown(Shape):
    """The trail goes on from row ``seq`` under a new origin, and everything was revoked."""

    seq: int
    origin: int
    lost: int = Field(description="the last row that is known to be lost; 0 where none is")
    revoked: RevocationMade


class Verified(Shape):
    """Whether the trail is whole, and the recordings, and what it ended, are what it says; otherwise the first bad
    row, and what is wrong with it. Rows after the first that breaks the chain are not believed, nor looked at."""

    ok: bool
    rows: int = Field(description="good rows from the first on")
    heads: int = Field(description="signed heads that were looked at")
    signed: int = Field(description="the last row that a signed head vouches for; 0 when none does")
    erased: int = Field(description="rows whose content was taken out; the chain goes through them")
    recordings: int = Field(description="recordings of this machine that are what the trail says")
    unsealed: int = Field(description="sessions that ended without a digest, as a lost node's: nothing to compare")
    elsewhere: int = Field(description="recordings on other machines, not looked at")
    deleted: int = Field(description="recordings that the gateway deleted when their time was up")
    first_bad: int | None
    problem: str
    problems: list[str] = Field(description="everything that was found, at most 20")
    more: int = Field(description="how many findings are not among `problems`")
    remarks: list[str] = Field(description="what is well and should be known, as stores put back; the last 20")


class Ready(Shape):
    ready: bool
    reasons: list[str] = Field(description="why not, empty when ready")
    nodes: int
    feed_position: int
    digest: str = Field(description="of the configuration that this process goes by; nodes must agree on it")


class Reloaded(Shape):
    """A configuration taken up. ``restart`` names the changed settings that need a restart to act; ``warnings`` say
    what somebody should look at."""

    digest: str
    changed: list[str]
    restart: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    renewed: list[str] = Field(
        default_factory=list,
        description="settings that did not change and lead to something new: a certificate, a key, a password",
    )


DRAIN = 1800.0
"""Seconds that who is there may stay, where nothing is said."""


class DrainAsked(Asked):
    node: str = Field("", max_length=128, description="a node, or a host with all its nodes; empty: the only host")
    duration: AskedDuration = DRAIN


class RotationAsked(Asked):
    distrust: bool = Field(False, description="believe nothing any more that older keys signed")


class TargetsRotationAsked(Asked):
    switch: bool = Field(False, description="sign with the next authority: every target must believe it by now")


class KeyRotated(Shape):
    kid: str = Field(description="the key that signs from now on; older ones verify until their tokens have ended")
