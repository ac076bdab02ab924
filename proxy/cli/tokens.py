"""Which grant, and its token: what ``tidegate token``, ``connect`` and ``passfile`` share.

Standard library only, since ``tidegate token`` must start at once: scripts call it for every connection.
"""

from dataclasses import dataclass, field
from typing import Any

from proxy.cli.client import Api, part
from proxy.cli.failures import DENIED, USAGE, Failed


@dataclass(frozen=True, slots=True)
class Ticket:
    """A grant and a fresh token for it. ``life`` in seconds; ``databases`` empty: any; ``protocol``, ``host`` and
    ``port`` say where the gateway listens ("" and 0 where it does not say)."""

    grant: str
    resource: str
    account: str
    databases: tuple[str, ...]
    ends: str
    life: float
    token: str = field(repr=False)
    jti: str = ""
    protocol: str = ""
    host: str = ""
    port: int = 0


def active_grant(api: Api, resource: str, account: str = "") -> dict[str, Any]:
    """The caller's own active grant for ``resource``: of several accounts one must be named; of several grants for
    the same account, the one that lasts longest."""
    found = [
        each
        for each in api.every("/v1/grants", {"resource": resource, "mine": "true", "active": "true"})
        if each["status"] == "active" and account in ("", each["account"])
    ]
    if not found:
        to = f"{account}@{resource}" if account else resource
        hint = f'ask for one: tidegate request {resource} --as {account or "ACCOUNT"} --for 30m --reason "…"'
        raise Failed(f"you have no active grant for {to}", hint=hint, code=DENIED)
    accounts = sorted({each["account"] for each in found})
    if len(accounts) > 1:
        what = f"you have grants for several accounts of {resource}: {', '.join(accounts)}"
        raise Failed(what, hint=f"say which: --as {accounts[0]}", code=USAGE)
    return max(found, key=lambda each: str(each["ends"]))


def ticket(api: Api, resource: str, account: str = "") -> Ticket:
    """A fresh token for the caller's active grant."""
    grant = active_grant(api, resource, account)
    made = api.post(f"/v1/grants/{part(grant['id'])}/token")
    return Ticket(
        grant=grant["id"],
        resource=grant["resource"],
        account=grant["account"],
        databases=tuple(made["databases"]),
        ends=grant["ends"],
        life=float(made["expires_in"]),
        token=str(made["token"]),
        jti=str(made["jti"]),
        **(made["connect"] or {}),
    )
