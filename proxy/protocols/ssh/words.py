"""What a person is told over SSH of a refusal or an end: why, and in brackets what to do next. Pure; called by
``engine`` and ``conversation``.

The gate words a refusal for everybody; where this protocol has better advice, that is in the table here.
"""

from collections.abc import Mapping

from proxy.core.access import Refusal
from proxy.core.errors import TidegateError

_CERTIFICATE = "or show a certificate instead: `tidegate connect RESOURCE`, or `tidegate ssh-config`"
_HINTS: Mapping[str, str] = {
    Refusal.TOKEN_CUT_SHORT: f"paste it whole at the prompt, {_CERTIFICATE}",
    Refusal.TOKEN_EXPIRED: f"get a fresh one with `tidegate token RESOURCE`, {_CERTIFICATE}",
}


def refusal(error: TidegateError, reference: str = "") -> str:
    """What may be told of ``error``; ``reference`` is an id a person can quote to the gateway's operator."""
    words = advised(error.public, _HINTS.get(error.code, error.hint))
    return f"{words} [{reference}]" if reference else words


def advised(text: str, hint: str) -> str:
    """``text``, and what to do next where there is something."""
    return f"{text} ({hint})" if hint else text
