"""Revocations and locks: what ends access at once, and how far it has got."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response

from proxy.access.revocations import Target
from proxy.api.callers import Given, Known
from proxy.api.receipts import made, previewed, progress
from proxy.api.shapes.access import LockAsked, LockShown, RevocationAsked, RevocationMade, RevocationShown
from proxy.api.shapes.values import LARGEST, Paged
from proxy.core.feed import Scope

router = APIRouter(prefix="/v1", tags=["revocations"])


@router.post("/revocations", summary="End access by grant, identity, resource, token, or all of it")
async def revoke(asked: RevocationAsked, caller: Known, services: Given) -> RevocationMade:
    """With `dry_run` nothing changes: the answer says what would end. Otherwise it is committed when this answers,
    and every node acts on it; `/v1/revocations/{seq}` tells how far that has got. The sessions that one token
    opened end too, but only their nodes know them: they are not listed."""
    target = Target(Scope(asked.scope), asked.key)
    if asked.dry_run:
        impact = await services.revocations.preview(target, caller.identity)
        return await previewed(services, target, impact, caller.identity)
    revocation = await services.revocations.revoke(target, caller.identity, asked.reason)
    services.doorbell.ring()
    return await made(services, target, revocation, caller.identity)


@router.get("/revocations/{seq}", summary="How far a revocation, lock or cut has got")
async def revocation(
    seq: Annotated[int, Path(ge=1, le=LARGEST)], caller: Known, services: Given
) -> RevocationShown:
    """Receipts of the sessions it ended, those still live, and the nodes that have not acted on it yet. Kept for
    minutes; after that the trail tells."""
    return await progress(services, seq, caller.identity)


@router.get("/locks", summary="Users and resources that may not be used now")
async def locks(caller: Known, services: Given) -> Paged[LockShown]:
    """All of them for auditors and admins, else one's own. One page."""
    found = await services.revocations.locks(caller.identity)
    return Paged[LockShown](items=[LockShown.of(each, services.catalog()) for each in found])


@router.post("/locks", summary="Lock a user or resource", status_code=201)
async def lock(asked: LockAsked, caller: Known, services: Given) -> RevocationMade:
    """No log-in, request, token or session from now on, and live sessions end. Grants stay. Admins only."""
    target = Target(Scope(asked.scope), asked.key)
    locked = await services.revocations.lock(target.scope, target.key, caller.identity, asked.reason)
    services.doorbell.ring()
    return await made(services, target, locked, caller.identity)


@router.delete("/locks", summary="Take a lock away", status_code=204)
async def unlock(
    scope: Literal["identity", "resource"],
    key: Annotated[str, Query(min_length=1, max_length=128)],
    caller: Known,
    services: Given,
) -> Response:
    """Admins only."""
    await services.revocations.unlock(Scope(scope), key, caller.identity)
    return Response(status_code=204)
