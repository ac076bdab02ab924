"""How a command fails: the exit codes, and one error type that carries the words.

Exit codes are a contract with scripts: 0 done, 1 failed, 2 wrong usage, 3 denied, 4 not reachable.
"""

from collections.abc import Mapping
from typing import Any

DONE, FAILED, USAGE, DENIED, UNREACHABLE = range(5)


class Failed(Exception):
    """The command cannot go on: ``what`` happened, and as a ``hint`` what to do next.

    ``problem`` is the API's problem document, where it came from there.
    """

    def __init__(
        self, what: str, *, hint: str = "", code: int = FAILED, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.code = code
        self.problem = dict(problem or {})

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints on standard error: the API's problem document, or one like it."""
        return self.problem or {"type": "about:blank", "detail": self.what, "hint": self.hint}


def exit_code(status: int) -> int:
    """The exit code for an HTTP status of the API."""
    if status in (401, 403):
        return DENIED
    return UNREACHABLE if status in (502, 503, 504) else FAILED
