"""What is said of a trial: whether the gateway can reach a target and enter it, before somebody depends on it.

A protocol's ``trial`` enters, ``app.trial`` goes through the targets, the command line shows what came of it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """One way into a resource: as whom, and into which database where the protocol has such. ``control``: by the
    login that the gateway has for itself, not by an account of people's."""

    login: str
    database: str = ""
    control: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one way. ``result`` is "ok", with what is to be known besides, or what is wrong; ``hint`` what
    to do next. ``reached``: the target took the connection at least."""

    ok: bool
    reached: bool
    result: str
    hint: str = ""
