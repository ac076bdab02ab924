"""Whether a grant can be used now: the one check of the gate and of whoever hands out tokens and certificates.

Pure. Callers read the locks and the store's time in the snapshot that they decide on, and have made sure before
that the grant is its holder's own and as it was sealed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.access.refusals import refused, revoked_words
from proxy.access.seals import Seals
from proxy.core.access import Grant, Refusal
from proxy.core.errors import Denied
from proxy.core.feed import Scope
from proxy.core.identity import Account, Catalog, Identity, Resource
from proxy.core.ports import Lock, Reader
from proxy.core.states import GrantStatus
from proxy.policy.decide import holds

_STATUS: Mapping[GrantStatus, Refusal | None] = {
    GrantStatus.ACTIVE: None,
    GrantStatus.SCHEDULED: Refusal.GRANT_NOT_STARTED,
    GrantStatus.EXPIRED: Refusal.GRANT_EXPIRED,
    GrantStatus.REVOKED: Refusal.GRANT_REVOKED,
}


class NoLongerGiven(Denied):
    """The configuration of now does not give what the grant is for. To a client this is ``BAD_TOKEN``, as for what
    is unknown; who is logged in as the holder may be told."""

    code = Refusal.BAD_TOKEN


@dataclass(frozen=True, slots=True)
class Standing:
    """What a grant stands on in the configuration of now."""

    identity: Identity
    resource: Resource
    account: Account


@dataclass(frozen=True, slots=True)
class GrantLocks:
    """The locks on a grant's holder and on its resource, each None where there is none."""

    identity: Lock | None
    resource: Lock | None

    @classmethod
    def read(cls, reader: Reader, grant: Grant) -> "GrantLocks":
        """Return them as they are in this snapshot."""
        return cls(reader.lock(Scope.IDENTITY, grant.identity), reader.lock(Scope.RESOURCE, grant.resource))


def usable(catalog: Catalog, grant: Grant, locks: GrantLocks, now: float, seals: Seals) -> Standing:
    """Return what the grant stands on. ``Denied`` with the code of ``Refusal`` that says why it cannot be used at
    ``now`` (the store's clock, epoch seconds); ``NoLongerGiven`` where the configuration is what is in the way."""
    if locks.identity is not None:
        raise refused(Refusal.USER_LOCKED, identity=catalog.name_of(grant.who))
    if locks.resource is not None:
        raise refused(Refusal.RESOURCE_LOCKED, resource=grant.resource)
    why = _STATUS[grant.status(now)]
    if why is not None:
        raise refused(why, by=revoked_words(grant, catalog))
    if not seals.usable(grant):
        raise refused(Refusal.GRANT_NEWER)
    standing = standing_of(catalog, grant)
    if standing is None:
        told = refused(Refusal.BAD_TOKEN)
        raise NoLongerGiven(told.public, hint=told.hint, detail="the configuration no longer gives this grant")
    return standing


def standing_of(catalog: Catalog, grant: Grant) -> Standing | None:
    """Return person, resource and account of a grant, if all are there and policy still gives this to them; else
    None."""
    identity = catalog.identities.get(grant.identity)
    resource = catalog.resources.get(grant.resource)
    account = resource.account(grant.account) if resource else None
    if identity is None or resource is None or account is None:
        return None
    if not holds(catalog.rules, identity, resource, account.name):
        return None
    return Standing(identity, resource, account)
