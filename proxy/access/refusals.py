"""The words of a refusal at the gate: what the client reads, and what a person can do next.

One table, so that a code always says the same. Called by ``tokens`` and ``gate``; knows only words. ``BAD_TOKEN``
takes no details, whatever was wrong: unknown, forbidden and forged are told apart by nobody outside.
"""

from collections.abc import Mapping

from proxy.core.access import Grant, Refusal
from proxy.core.errors import Denied
from proxy.core.identity import Catalog

_FRESH = "get a fresh one with `tidegate token RESOURCE`"
_AGAIN = "ask again with `tidegate request RESOURCE`"

_WORDS: Mapping[Refusal, tuple[str, str]] = {
    Refusal.BAD_TOKEN: ("the token is not valid", _FRESH),
    Refusal.TOKEN_CUT_SHORT: (
        "the token was cut short: your client sent only {size} bytes of it",
        "pass it whole, or use `tidegate connect RESOURCE`",
    ),
    Refusal.TOKEN_EXPIRED: ("the token has expired", f"{_FRESH}, or use `tidegate connect RESOURCE`"),
    # Said before the token is asked for, so that it does not cross the network in the clear.
    Refusal.NO_TLS: ("a token is only taken over TLS", "connect with TLS: sslmode=verify-full"),
    # Somebody on the way put it there, or a client that means harm: what it says is never looked at.
    Refusal.PLAINTEXT: (
        "something was sent in the clear where TLS was to begin",
        "look for who stands between you and the gateway",
    ),
    Refusal.WRONG_ACCOUNT: ("this token is for account {account}", "connect as user {account}"),
    Refusal.WRONG_DATABASE: (
        "this token is not for that database",
        "this grant is for {databases}",
    ),
    Refusal.WRONG_PROTOCOL: ("this token is for a {protocol} resource", "connect with a {protocol} client"),
    # The same for a resource that is not there, that is somebody else's, and for a port that it does not have.
    Refusal.WRONG_RESOURCE: ("this token is for resource {resource}", "connect to {resource}:0"),
    Refusal.WRONG_NETWORK: (
        "this token is not for use from {source}",
        "connect from a network that the grant is for",
    ),
    Refusal.GRANT_NOT_STARTED: ("the grant has not started yet", "see `tidegate grants` for when it does"),
    Refusal.GRANT_EXPIRED: ("the grant has ended", _AGAIN),
    Refusal.GRANT_REVOKED: ("the grant was revoked{by}", _AGAIN),
    Refusal.GRANT_NEWER: (
        "this grant was made by a newer version of Tidegate than this gateway, which cannot keep to all of it",
        "connect through an upgraded gateway, or ask an administrator of Tidegate to upgrade this one",
    ),
    Refusal.USER_LOCKED: ("{identity} is locked", "ask an administrator of Tidegate"),
    Refusal.RESOURCE_LOCKED: ("resource {resource} is locked", "ask an administrator of Tidegate"),
    Refusal.TOO_MANY_SESSIONS: (
        "too many sessions under this grant: {limit} at once",
        "close one of them, see `tidegate sessions --live`",
    ),
}


def refused(why: Refusal, *, detail: str = "", **details: object) -> Denied:
    """The error for ``why``. ``details`` fill the words; ``detail`` is for the operator's log alone."""
    public, hint = _WORDS[why]
    return Denied(public.format(**details), hint=hint.format(**details), detail=detail, code=why)


def revoked_words(grant: Grant, catalog: Catalog) -> str:
    """Return " by dave: laptop stolen", for the end of a sentence; "" when it is not revoked."""
    if grant.revoked is None or not grant.revoked_by:
        return ""
    by = catalog.name_of(grant.revoker)
    return f" by {by}" + (f": {grant.revoked_reason}" if grant.revoked_reason else "")
