"""Grants: look, get a token, extend, end."""

from typing import Annotated

from fastapi import APIRouter, Query

from proxy.access.revocations import Target
from proxy.api.callers import Given, Known, Source
from proxy.api.receipts import made
from proxy.api.routes.catalog import connect_hint
from proxy.api.routes.requests import Before, Limit, with_grant
from proxy.api.shapes.access import ExtensionAsked, GrantShown, RequestMade, RevocationMade, TokenMade, Word
from proxy.api.shapes.values import Paged
from proxy.core.feed import Scope
from proxy.core.ports import Page
from proxy.core.states import RequestStatus

router = APIRouter(prefix="/v1/grants", tags=["grants"])


@router.get("", summary="Grants the caller may see")
async def listed(
    caller: Known,
    services: Given,
    limit: Limit = 50,
    before: Before = "",
    identity: Annotated[str | None, Query(max_length=128)] = None,
    resource: Annotated[str | None, Query(max_length=128)] = None,
    mine: Annotated[bool, Query(description="only the caller's own")] = False,
    active: Annotated[bool, Query(description="only those that are not over (scheduled ones included)")] = False,
) -> Paged[GrantShown]:
    """One's own and those one approved; auditors and admins see all. Newest first."""
    found = await services.grants.visible_to(
        caller.identity,
        Page(limit + 1, before),
        identity=caller.identity.name if mine else identity,
        resource=resource,
        live=active,
    )
    now = await services.store_now()
    items = [GrantShown.of(each, now, services.catalog()) for each in found[:limit]]
    return Paged[GrantShown](items=items, next=items[-1].id if len(found) > limit else None)


@router.get("/{id}", summary="One grant")
async def one(id: str, caller: Known, services: Given) -> GrantShown:
    found = await services.grants.get(id, caller.identity)
    return GrantShown.of(found, await services.store_now(), services.catalog())


@router.post("/{id}/token", summary="A fresh token for connecting", status_code=201)
async def token(id: str, caller: Known, services: Given) -> TokenMade:
    """For one's own active grant. It lives minutes; take a fresh one for every connection."""
    text, claims = await services.grants.token(id, caller.identity)
    grant = await services.grants.get(id, caller.identity)
    catalog = services.catalog()
    resource = catalog.resources.get(grant.resource)
    account = resource.account(grant.account) if resource else None
    return TokenMade(
        token=text,
        jti=claims.jti,
        expires=claims.expires,
        expires_in=max(0.0, claims.expires - services.clock.now()),
        grant=grant.id,
        resource=grant.resource,
        account=grant.account,
        databases=list(grant.databases or (account.databases if account else ())),
        connect=connect_hint(services.facts(), resource.protocol) if resource else None,
    )


@router.post("/{id}/extend", summary="Ask for more time", status_code=201)
async def extend(id: str, asked: ExtensionAsked, caller: Known, services: Given, source: Source) -> RequestMade:
    """A new request, decided by policy or people. When it is approved the end moves and live sessions go on."""
    request = await services.grants.extend(id, caller.identity, asked.duration, asked.reason, source)
    services.metrics.count("tidegate_requests_total", outcome=request.decision.outcome.value)
    if request.status is RequestStatus.APPROVED:
        services.doorbell.ring()
    return await with_grant(services, request, caller.identity)


@router.post("/{id}/revoke", summary="End a grant and every session under it")
async def revoke(id: str, asked: Word, caller: Known, services: Given) -> RevocationMade:
    """Its holder gives it back this way; who approved it and admins take it away."""
    target = Target(Scope.GRANT, id)
    revocation = await services.revocations.revoke(target, caller.identity, asked.reason)
    services.doorbell.ring()
    return await made(services, target, revocation, caller.identity)
