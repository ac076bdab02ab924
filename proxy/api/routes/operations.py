"""For operators and machines: health, figures, keys, nodes, reload."""

import asyncio

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from proxy.access.drains import drain
from proxy.api.callers import Admin, Given, ReadsFigures, Scraper
from proxy.api.readiness import NodesFacts, look, reasons
from proxy.api.routes.ssh import shown
from proxy.api.services import Services
from proxy.api.shapes.operations import (
    DRAIN,
    DrainAsked,
    KeyRotated,
    Ready,
    Reloaded,
    RotationAsked,
    TargetsRotationAsked,
)
from proxy.api.shapes.sessions import NodeShown
from proxy.api.shapes.ssh import AuthoritiesShown
from proxy.api.shapes.values import Paged
from proxy.core.errors import Unavailable

router = APIRouter(tags=["operations"])


@router.get("/healthz", summary="Whether this process is up", response_class=PlainTextResponse)
async def healthz() -> PlainTextResponse:
    return PlainTextResponse("ok\n")


@router.get("/readyz", summary="Whether the gateway can serve", responses={503: {"model": Ready}})
async def readyz(services: Given) -> Response:
    """The store can be read and is the one that was signed last, a node is alive and admits people, clocks and
    configurations agree, the feed is followed, and tokens can be signed. Otherwise 503 with the reasons, in general
    words: nobody logs in for this."""
    try:
        facts = await services.store.read(look)
    except Unavailable:
        facts = NodesFacts((), 0, 0.0, {})
        why = ["the store cannot be read"]
    else:
        why = reasons(facts, services.catalog().digest, services.facts(), services.clock.now())
    why += services.grounds()
    digest = services.catalog().digest
    ready = Ready(ready=not why, reasons=why, nodes=len(facts.nodes), feed_position=facts.position, digest=digest)
    return JSONResponse(ready.model_dump(mode="json"), 503 if why else 200)


@router.get("/metrics", summary="Figures for Prometheus", response_class=PlainTextResponse)
async def metrics(allowed: Scraper, services: Given) -> PlainTextResponse:
    """From this machine without more; from elsewhere with the log-in of an auditor or admin."""
    text = await asyncio.to_thread(services.metrics_text)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/.well-known/jwks.json", summary="The public keys of tokens (RFC 7517)")
async def jwks(services: Given) -> JSONResponse:
    return JSONResponse(services.tokens.jwks(), headers={"cache-control": "public, max-age=300"})


@router.get("/v1/nodes", summary="The workers that serve sessions")
async def nodes(caller: ReadsFigures, services: Given) -> Paged[NodeShown]:
    """One page."""
    return await _shown(services)


@router.post("/v1/nodes/drain", summary="Let nodes take nobody new, and cut nobody for a while")
async def drain_nodes(caller: Admin, services: Given, asked: DrainAsked | None = None) -> Paged[NodeShown]:
    """Within a second the node closes its listeners. Its sessions go on until they end, or until the time is over:
    then they are cut with `shutdown`. It serves again when its process is started again."""
    node, seconds = (asked.node, asked.duration) if asked else ("", DRAIN)
    drained = await drain(services.store, caller.identity.who, node, seconds)
    return await _shown(services, frozenset(each.id for each in drained))


async def _shown(services: Services, only: frozenset[str] | None = None) -> Paged[NodeShown]:
    facts = await services.store.read(look)
    oldest = facts.store_now - services.facts().lease
    items = [
        NodeShown(
            id=each.id,
            host=each.host,
            started=each.started,
            heartbeat=each.heartbeat,
            fresh=each.heartbeat >= oldest,
            feed_seen=each.feed_seen,
            feed_behind=max(0, facts.position - each.feed_seen),
            digest=each.digest,
            drains=each.drains or None,
        )
        for each in facts.nodes
        if only is None or each.id in only
    ]
    return Paged[NodeShown](items=items)


@router.post("/v1/config/reload", summary="Read the configuration again")
async def reload(caller: Admin, services: Given) -> Reloaded:
    """A file with a mistake changes nothing, and the answer (422) names every mistake."""
    done = await services.reload(caller.identity.who)
    services.doorbell.ring()
    return Reloaded(
        digest=done.digest,
        changed=list(done.changed),
        restart=list(done.restart),
        renewed=list(done.renewed),
        warnings=list(done.warnings),
    )


@router.post("/v1/keys/rotate", summary="Sign with a new key from now on")
async def rotate(caller: Admin, services: Given, asked: RotationAsked | None = None) -> KeyRotated:
    """Tokens and SSH certificates signed by the keys before verify until they have ended. With `distrust`, for a
    key that was stolen, they are refused at once, and everybody logs in again; sessions that are live go on: revoke
    what should end."""
    kid = await services.rotate_keys(caller.identity.who, asked is not None and asked.distrust)
    services.doorbell.ring()
    return KeyRotated(kid=kid)


@router.post("/v1/keys/targets", summary="Make the next authority that SSH targets believe, or sign with it")
async def rotate_targets(
    caller: Admin, services: Given, asked: TargetsRotationAsked | None = None
) -> AuthoritiesShown:
    """In two steps, since only the targets' admins can have them believe it: first have one made, put `targets` and
    `targets_next` into every target's TrustedUserCAKeys, then `switch`; after that the old line can go."""
    await services.rotate_targets(caller.identity.who, asked is not None and asked.switch)
    services.doorbell.ring()
    return shown(services)
