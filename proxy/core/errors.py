"""Errors that say whose fault it is by their type. Everyone raises them; the edges word them.

``public`` is what the other side may read; ``detail`` is for the operator's log and never leaves the gateway;
``hint`` tells a person what to do next; ``code`` is a stable word for machines and metrics.
"""


class TidegateError(Exception):
    """The root: never raised itself."""

    code = "error"

    def __init__(self, public: str, *, hint: str = "", detail: str = "", code: str = "") -> None:
        super().__init__(public)
        self.public = public
        self.hint = hint
        self.detail = detail
        if code:
            self.code = code

    def __str__(self) -> str:
        return f"{self.public} ({self.detail})" if self.detail else self.public


class PeerError(TidegateError):
    """The other side broke its protocol or sent something that cannot be understood or done.

    Codes in use: ``invalid``, ``conflict`` (the thing is not in a state that allows this), ``protocol``.
    """

    code = "invalid"


class NotFound(PeerError):
    """No such thing, or not for this caller: the two are never told apart."""

    code = "not_found"


class Denied(TidegateError):
    """A decision said no. Codes: ``unauthenticated``, ``forbidden`` and those of ``core.access.Refusal``."""

    code = "forbidden"


class Unreachable(TidegateError):
    """The target cannot be reached, or does not let the gateway in."""

    code = "target_unreachable"


class Unavailable(TidegateError):
    """Tidegate itself cannot serve now (store gone, recorder broken, too busy). Fails closed."""

    code = "unavailable"


class Ended(TidegateError):
    """The session has ended while something was still being done for it; ``code`` is its end reason."""

    code = "ended"
