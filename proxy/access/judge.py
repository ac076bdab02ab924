"""What policy, locks and the catalog of now say of a request, and the grant that follows when they say yes.

Plain functions that run inside one transaction. Called by ``requests``; knows nobody's permission to call it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from proxy.access.seals import Seals
from proxy.core.access import Decision, Grant, Outcome, Request
from proxy.core.events import GrantExtended, GrantIssued, plain
from proxy.core.feed import FeedKind, Scope, with_names
from proxy.core.identity import Catalog, Identity, Resource, names
from proxy.core.ports import Ids, Reader, Writer
from proxy.core.states import GrantStatus
from proxy.policy.decide import Ask, decide

GATEWAY = "gateway"
"""The actor of what policy decides by itself."""
NEWER_GRANT = "the grant was made by a newer version of Tidegate: extend it through an upgraded gateway"


@dataclass(frozen=True, slots=True)
class Judge:
    """Decides and issues by the configuration as it is at the call."""

    catalog: Callable[[], Catalog]
    ids: Ids
    seals: Seals

    def judge(self, reader: Reader, request: Request) -> Decision:
        """The decision on ``request`` as of now; its own earlier decision has no say."""
        catalog = self.catalog()
        identity = catalog.identities.get(request.identity)
        resource = catalog.resources.get(request.resource)
        if identity is None:
            return refusal(f"{catalog.name_of(request.who)} is not in the configuration")
        if resource is None or resource.account(request.account) is None:
            return refusal(f"account {request.account} on {request.resource} is not in the configuration")
        locked = lock_words(reader, identity, resource)
        if locked:
            return refusal(locked)
        ask = Ask(identity, resource, request.account, request.duration, request.reason, request.source)
        decision = decide(catalog.rules, ask)
        return self._of_extension(reader, request, decision) if request.extends else decision

    def _of_extension(self, reader: Reader, request: Request, decision: Decision) -> Decision:
        """An extension moves an end and nothing else: on other terms than the grant's it needs a new request."""
        grant = reader.grant(request.extends or "")
        if decision.outcome is Outcome.DENY:
            return decision
        if grant is None or not self.seals.intact(grant) or not is_live(grant, reader.now()):
            return replace(decision, outcome=Outcome.DENY, reason="the grant is over")
        if self.seals.newer(grant):
            return replace(decision, outcome=Outcome.DENY, reason=NEWER_GRANT)
        if not same_terms(grant, decision):
            reason = f"rule {decision.rule} now gives this on other terms than the grant's: make a new request"
            return replace(decision, outcome=Outcome.DENY, reason=reason)
        if new_end(grant, request, decision, reader.now()) <= grant.ends:
            reason = f"the grant already ends as late as rule {decision.rule} gives"
            return replace(decision, outcome=Outcome.DENY, reason=reason)
        return decision

    def carry_out(self, writer: Writer, request: Request) -> Grant:
        """The grant of an approved request, issued or moved; its time runs from now, not from when it was asked."""
        if request.extends:
            return self._extend(writer, request)
        now, decision = writer.now(), request.decision
        grant = self.seals.seal(
            Grant(
                id=self.ids.new("grant"),
                request=request.id,
                identity=request.identity,
                identity_name=self.catalog().name_of(request.who),
                resource=request.resource,
                account=request.account,
                starts=now,
                ends=now + request.duration,
                networks=decision.networks,
                databases=decision.databases,
                conditions=decision.conditions,
                rule=decision.rule,
            )
        )
        writer.put_grant(grant)
        writer.append(issued(grant))
        return grant

    def _extend(self, writer: Writer, request: Request) -> Grant:
        before = writer.grant(request.extends or "")
        # The judge found it live in this same transaction.
        assert before is not None  # noqa: S101
        ends = new_end(before, request, request.decision, writer.now())
        grant = self.seals.seal(replace(before, ends=ends, rule=request.decision.rule))
        writer.put_grant(grant)
        writer.append(
            GrantExtended(
                actor=GATEWAY,
                grant=grant.id,
                request=request.id,
                identity=grant.identity,
                resource=grant.resource,
                ends=ends,
                before=before.ends,
                names=names(request.who),
            )
        )
        # live sessions check it as the gate would
        sealed = {"ends": ends, "rule": grant.rule, "mac": grant.mac, "sealed": grant.sealed}
        told = {**sealed, **with_names(request.who)}
        writer.publish(FeedKind.EXTENDED, Scope.GRANT, grant.id, by=request.identity, data=told)
        return grant


def new_end(grant: Grant, request: Request, decision: Decision, now: float) -> float:
    """When an extended grant ends: what was asked for is added to its end, but never past what the rule gives
    somebody who asks now."""
    return min(grant.ends + request.duration, now + decision.max_duration)


def is_live(grant: Grant, now: float) -> bool:
    """Neither revoked nor ended."""
    return grant.status(now) in {GrantStatus.ACTIVE, GrantStatus.SCHEDULED}


def same_terms(grant: Grant, decision: Decision) -> bool:
    return (
        set(grant.networks) == set(decision.networks)
        and set(grant.databases) == set(decision.databases)
        and plain(grant.conditions) == plain(decision.conditions)
    )


def lock_words(reader: Reader, identity: Identity, resource: Resource) -> str:
    """Which lock is in the way, for people; "" when none."""
    if reader.lock(Scope.IDENTITY, identity.id) is not None:
        return f"{identity.name} is locked"
    return f"{resource.name} is locked" if reader.lock(Scope.RESOURCE, resource.name) is not None else ""


def refusal(reason: str) -> Decision:
    """A deny that no rule made."""
    return Decision(Outcome.DENY, reason=reason)


def issued(grant: Grant) -> GrantIssued:
    return GrantIssued(
        actor=GATEWAY,
        grant=grant.id,
        request=grant.request,
        identity=grant.identity,
        resource=grant.resource,
        account=grant.account,
        starts=grant.starts,
        ends=grant.ends,
        networks=grant.networks,
        rule=grant.rule,
        names=names(grant.who),
    )
