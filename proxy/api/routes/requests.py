"""Requests for access: ask, look, approve, deny, withdraw."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator

from proxy.access.people import no_such, sees_use, trace_for
from proxy.api.callers import Given, Known, Source
from proxy.api.services import Services
from proxy.api.shapes.access import (
    GrantShown,
    NeededWord,
    RequestAsked,
    RequestMade,
    RequestShown,
    UseShown,
    Word,
)
from proxy.api.shapes.values import Paged, known_word
from proxy.api.use import use_of
from proxy.core.access import Request
from proxy.core.identity import Identity
from proxy.core.ports import Page
from proxy.core.states import RequestStatus

router = APIRouter(prefix="/v1/requests", tags=["requests"])

Limit = Annotated[int, Query(ge=1, le=500, description="how many at most")]
Before = Annotated[str, Query(max_length=128, description="the `next` of the page before")]


@router.post("", summary="Ask for access", status_code=201)
async def make(asked: RequestAsked, caller: Known, services: Given, source: Source) -> RequestMade:
    """Decided at once by policy: `approved` comes with its grant, `pending` waits for people, `denied` says why."""
    made = await services.requests.make(
        caller.identity, asked.resource, asked.account, asked.duration, asked.reason, source
    )
    services.metrics.count("tidegate_requests_total", outcome=made.decision.outcome.value)
    return await with_grant(services, made, caller.identity)


@router.get("", summary="Requests the caller may see")
async def listed(
    caller: Known,
    services: Given,
    limit: Limit = 50,
    before: Before = "",
    status: Annotated[RequestStatus, AfterValidator(known_word)] | None = None,
    resource: Annotated[str | None, Query(max_length=128)] = None,
) -> Paged[RequestShown]:
    """One's own and those one may decide; auditors and admins see all. Newest first."""
    found = await services.requests.visible_to(
        caller.identity, Page(limit + 1, before), status=status.value if status else None, resource=resource
    )
    items = [told(services, each, caller.identity) for each in found[:limit]]
    return Paged[RequestShown](items=items, next=items[-1].id if len(found) > limit else None)


@router.get("/{id}", summary="One request")
async def one(id: str, caller: Known, services: Given) -> RequestShown:
    return told(services, await services.requests.get(id, caller.identity), caller.identity)


@router.get("/{id}/use", summary="What came of a request, in numbers")
async def use(id: str, caller: Known, services: Given) -> UseShown:
    """For its maker, those who may decide it, auditors and admins: how often and how much, nothing of what was
    done. Of a request to extend a grant: how that grant was used until now."""
    request = await services.requests.get(id, caller.identity)
    if not sees_use(caller.identity, request):
        raise no_such("request")
    return await services.store.read(partial(use_of, request))


@router.post("/{id}/approve", summary="Say yes")
async def approve(id: str, asked: Word, caller: Known, services: Given) -> RequestMade:
    """With the last yes that is needed the grant is issued. Nobody approves their own request."""
    request = await services.requests.approve(id, caller.identity, asked.reason)
    if request.extends and request.status is RequestStatus.APPROVED:
        services.doorbell.ring()
    return await with_grant(services, request, caller.identity)


@router.post("/{id}/deny", summary="Say no")
async def deny(id: str, asked: NeededWord, caller: Known, services: Given) -> RequestShown:
    return told(services, await services.requests.deny(id, caller.identity, asked.reason), caller.identity)


@router.post("/{id}/withdraw", summary="Take one's own request back")
async def withdraw(id: str, caller: Known, services: Given) -> RequestShown:
    return told(services, await services.requests.withdraw(id, caller.identity), caller.identity)


def told(services: Services, request: Request, identity: Identity) -> RequestShown:
    """The request as this person may see it."""
    return RequestShown.of(request, services.catalog(), trace=trace_for(identity, request))


async def with_grant(services: Services, request: Request, identity: Identity) -> RequestMade:
    """The request with the grant it led to."""
    named = request.grant
    grant = await services.store.read(lambda reader: reader.grant(named)) if named else None
    shown = GrantShown.of(grant, await services.store_now(), services.catalog()) if grant else None
    return RequestMade(request=told(services, request, identity), grant=shown)
