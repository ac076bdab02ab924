"""The trail: its events, its signed heads, and whether it is whole. For auditors and admins."""

from typing import Annotated

from fastapi import APIRouter, Query

from proxy.access.revocations import Target
from proxy.api.callers import Admin, Given, ReadsTrail
from proxy.api.receipts import made
from proxy.api.shapes.access import NeededWord
from proxy.api.shapes.operations import (
    HeadKeys,
    HeadsAsked,
    HeadsCompared,
    HeadShown,
    TrailEvent,
    TrailPage,
    TrailRestoredShown,
    Verified,
)
from proxy.api.shapes.values import LARGEST, Paged
from proxy.api.verification import verified
from proxy.audit.heads import encoded_key
from proxy.audit.kept_heads import compare
from proxy.core.errors import PeerError
from proxy.core.events import Event
from proxy.core.feed import Scope
from proxy.core.identity import Catalog, names
from proxy.core.trail import TrailHead, TrailRow

router = APIRouter(prefix="/v1/audit", tags=["trail"])

Text = Annotated[str | None, Query(max_length=128)]


@router.get("/events", summary="Events of the trail")
async def events(
    caller: ReadsTrail,
    services: Given,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=LARGEST, description="the `next` of the page before")] = None,
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
    after: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Paged[HeadShown]:
    """Oldest first, after row `after`. Keep them elsewhere: they show whether the trail was cut short."""
    found = await services.store.read(lambda reader: reader.trail_heads(after, limit + 1))
    items = [head_shown(each) for each in found[:limit]]
    return Paged[HeadShown](items=items, next=str(items[-1].seq) if len(found) > limit else None)


@router.post("/heads/compare", summary="Heads that were kept elsewhere, held against the trail")
async def compared(asked: HeadsAsked, caller: ReadsTrail, services: Given) -> HeadsCompared:
    """Shows what no look at the store alone can: that an older one was put back, or the trail's end cut off. The
    rows between are `/v1/audit/verify`'s matter."""
    names = ("seq", "digest", "at_epoch", "kid", "signature", "origin")
    kept = [TrailHead(*(getattr(each, name) for name in names)) for each in asked.items]
    found = await services.store.read(lambda reader: compare(reader, kept, services.head_keys()))
    problems = [each.what for each in found.findings]
    return HeadsCompared(
        good=found.good, explained=found.explained, problems=problems, unsigned=list(found.unsigned)
    )


@router.get("/keys", summary="The public keys that sign heads of the trail")
async def keys(caller: ReadsTrail, services: Given) -> HeadKeys:
    """Ed25519, base64url without padding, by key id. Pin them where heads are kept."""
    return HeadKeys(keys={kid: encoded_key(key) for kid, key in services.head_keys().items()})


@router.post("/restored", summary="Say that the store was put back from a backup")
async def restored(asked: NeededWord, caller: Admin, services: Given) -> TrailRestoredShown:
    """Everything is revoked, since the store does not know of what was revoked after the backup, and the trail goes
    on under a new origin, told in it. Until this is said, a store that is older than the last signed head admits
    nobody."""
    done = await services.restored(caller.identity, asked.reason)
    services.doorbell.ring()
    revoked = await made(services, Target(Scope.ALL), done.revocation, caller.identity)
    return TrailRestoredShown(seq=done.seq, origin=done.origin, lost=done.lost, revoked=revoked)


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


def head_shown(head: TrailHead) -> HeadShown:
    facts = {name: getattr(head, name) for name in HeadShown.model_fields if name != "at_epoch"}
    return HeadShown.model_validate({**facts, "at_epoch": head.at})


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
