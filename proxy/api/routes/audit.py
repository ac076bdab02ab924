"""The trail: its events, its signed heads, and whether it is whole. For auditors and admins."""

from typing import Annotated

from fastapi import APIRouter, Query

from proxy.api.callers import Given, ReadsTrail
from proxy.api.shapes.operations import HeadShown, TrailEvent, TrailPage, Verified
from proxy.api.shapes.values import Paged
from proxy.api.verification import verified
from proxy.core.errors import PeerError
from proxy.core.events import Event
from proxy.core.feed import Scope
from proxy.core.identity import Catalog, names
from proxy.core.trail import TrailRow

router = APIRouter(prefix="/v1/audit", tags=["trail"])

Text = Annotated[str | None, Query(max_length=128)]


@router.get("/events", summary="Events of the trail")
async def events(
    caller: ReadsTrail,
    services: Given,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, description="the `next` of the page before")] = None,
    kind: Text = None,
    actor: Text = None,
    subject: Annotated[
        str | None, Query(max_length=256, description="as `grant:ID`, `session:ID`, `identity:NAME` …")
    ] = None,
) -> TrailPage:
    """Newest first. `actor` and `identity:` are names or ids. What the chain covers is given as it was hashed:
    `at_epoch` and the instants inside `body` are epoch seconds, so that anybody can follow the chain."""
    catalog, about = services.catalog(), named(subject)
    if about is not None and about[0] == "identity":
        about = ("identity", catalog.id_of(about[1]))
    by = catalog.id_of(actor) if actor else None
    found = await services.store.read(
        lambda reader: reader.trail_before(before, limit + 1, kind=kind, actor=by, subject=about)
    )
    items = [shown(each) for each in found[:limit]]
    called = dict(who for each in found[:limit] for who in names_of(each, catalog).items())
    return TrailPage(items=items, next=str(items[-1].seq) if len(found) > limit else None, names=called)


@router.get("/heads", summary="Signed heads of the trail")
async def heads(
    caller: ReadsTrail,
    services: Given,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Paged[HeadShown]:
    """Oldest first, after row `after`. Keep them elsewhere: they show whether the trail was cut short."""
    found = await services.store.read(lambda reader: reader.trail_heads(after, limit + 1))
    items = [HeadShown.model_validate(each) for each in found[:limit]]
    return Paged[HeadShown](items=items, next=str(items[-1].seq) if len(found) > limit else None)


@router.get("/verify", summary="Whether the trail is whole")
async def verify(caller: ReadsTrail, services: Given) -> Verified:
    """Goes through every row and every signed head; names the first bad row."""
    return await verified(services)


def named(subject: str | None) -> tuple[str, str] | None:
    """``grant:ID`` as (name, value)."""
    if subject is None:
        return None
    name, colon, value = subject.partition(":")
    if not colon or not value or name not in Event.SUBJECTS:
        raise PeerError(f"a subject is one of {', '.join(Event.SUBJECTS)}, a colon, and an id or name")
    return name, value


def shown(row: TrailRow) -> TrailEvent:
    facts = {name: getattr(row, name) for name in TrailEvent.model_fields if name != "at_epoch"}
    return TrailEvent.model_validate({**facts, "at_epoch": row.at})


def names_of(row: TrailRow, catalog: Catalog) -> dict[str, str]:
    """Return id -> name of the persons in a row whose name, now or then, is not their id."""
    then = row.body.get("names")
    then = then if isinstance(then, dict) else {}
    ids = {row.actor, row.subjects.get("identity", ""), *then}
    if row.body.get("scope") == Scope.IDENTITY:
        ids.add(str(row.body.get("key", "")))
    return names(*((each, catalog.name_of((each, str(then.get(each, ""))))) for each in sorted(ids)))
