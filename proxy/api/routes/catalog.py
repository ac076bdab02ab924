"""The resources a caller may ask for, and by which rules. What no rule could ever give is not shown at all."""

from fastapi import APIRouter

from proxy.access.people import no_such
from proxy.api.callers import Given, Known
from proxy.api.services import Facts, Services
from proxy.api.shapes.people import ConnectHint, Offer, OfferedAccount, ResourceShown
from proxy.api.shapes.values import Paged
from proxy.core.identity import Identity, Resource
from proxy.policy.decide import offers
from proxy.policy.rules import Rule

router = APIRouter(prefix="/v1/resources", tags=["resources"])


@router.get("", summary="Resources the caller may ask for")
async def resources(caller: Known, services: Given) -> Paged[ResourceShown]:
    """By name; all on one page."""
    shown = [visible(services, caller.identity, each) for each in services.catalog().resources.values()]
    return Paged[ResourceShown](items=sorted((each for each in shown if each), key=lambda each: each.name))


@router.get("/{name}", summary="One resource")
async def resource(name: str, caller: Known, services: Given) -> ResourceShown:
    found = services.catalog().resources.get(name)
    shown = visible(services, caller.identity, found) if found else None
    if shown is None:
        raise no_such("resource")
    return shown


def visible(services: Services, identity: Identity, resource: Resource) -> ResourceShown | None:
    """The resource with the accounts this person could get; None where there is none."""
    rules = services.catalog().rules
    accounts = [
        OfferedAccount(name=each.name, databases=list(each.databases), offers=[offer(rule) for rule in found])
        for each in resource.accounts
        if (found := offers(rules, identity, resource, each.name))
    ]
    if not accounts:
        return None
    return ResourceShown(
        name=resource.name,
        protocol=resource.protocol,
        description=resource.description,
        labels=dict(resource.labels),
        accounts=accounts,
        connect=connect_hint(services.facts(), resource.protocol),
    )


def offer(rule: Rule) -> Offer:
    return Offer(
        rule=rule.name,
        outcome=rule.effect.value,
        max_duration=rule.max_duration,
        approvals=rule.approvals,
        approvers=rule.approvers,
        reason_required=rule.reason_required or rule.min_reason_length > 0,
    )


def connect_hint(facts: Facts, protocol: str) -> ConnectHint | None:
    """Where clients of this protocol connect."""
    found = facts.listeners.get(protocol)
    return ConnectHint(protocol=protocol, host=found[0], port=found[1]) if found else None
