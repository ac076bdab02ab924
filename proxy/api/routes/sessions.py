"""Sessions: look, cut, read what they did. Who reads a recording is written into the trail before it is read."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from proxy.access.people import must_read, no_such, sees_running, sees_session
from proxy.access.revocations import Target
from proxy.access.rights import Right, may
from proxy.api.callers import Given, Known
from proxy.api.receipts import made
from proxy.api.recordings import Views, notes, output, raw, running, statements
from proxy.api.routes.requests import Before, Limit
from proxy.api.services import Services
from proxy.api.shapes.access import NeededWord, RevocationMade
from proxy.api.shapes.sessions import NotesShown, OutputShown, SessionShown, StatementsShown
from proxy.api.shapes.values import LARGEST, Paged
from proxy.core.feed import Scope
from proxy.core.identity import Identity
from proxy.core.ports import Page
from proxy.core.sessions import OWN_PIDS, SessionRecord

Text = Annotated[str | None, Query(max_length=128)]


async def seen(services: Services, id: str, identity: Identity) -> SessionRecord:
    """The session, if this person may see it; else ``NotFound``."""
    found = await services.store.read(lambda reader: reader.session(id))
    if found is None or not sees_session(identity, found):
        raise no_such("session")
    return found


async def read(services: Services, views: Views, id: str, identity: Identity, view: str) -> SessionRecord:
    """The session, if this person may read what it did, once the trail has that they look. ``NotFound`` for one
    they do not see, ``Denied`` for one they see and may not read."""
    found = await seen(services, id, identity)
    must_read(services.catalog(), identity, found)
    await views.note(services, identity, id, view)
    return found


async def shown(services: Services, session: SessionRecord, identity: Identity) -> SessionShown:
    """The session as this person may see it, with what it runs now where they may read that."""
    runs = await running(services, session) if sees_running(identity, session) else None
    return SessionShown.of(session, services.catalog(), runs)


def routes(views: Views) -> APIRouter:
    """The routes of this file."""
    router = APIRouter(prefix="/v1/sessions", tags=["sessions"])

    @router.get("", summary="Sessions the caller may see")
    async def listed(
        caller: Known,
        services: Given,
        limit: Limit = 50,
        before: Before = "",
        live: Annotated[bool | None, Query(description="only live ones, or only ended ones")] = None,
        identity: Text = None,
        resource: Text = None,
        grant: Text = None,
        node: Text = None,
        pid: Annotated[
            int | None, Query(ge=1, lt=OWN_PIDS, description="only those that this process serves")
        ] = None,
    ) -> Paged[SessionShown]:
        """One's own; auditors and admins see all. Newest first. `identity` is a name or an id. With `live=1` each
        comes with the statement it runs, where this machine holds the recording. `pid` is a process of a target, as
        its `pg_stat_activity` has it; several targets may have one of that number, and one has it again and
        again."""
        catalog, person = services.catalog(), caller.identity
        own = None if may(person, Right.LIVE) and may(person, Right.TRAIL) else person.id
        of = catalog.id_of(identity) if identity else None
        if own and of not in (None, own):
            return Paged[SessionShown](items=[])
        found = await services.store.read(
            lambda reader: reader.sessions(
                Page(limit + 1, before),
                live=live,
                identity=own or of,
                resource=resource,
                grant=grant,
                node=node,
                pid=pid,
            )
        )
        items = [
            await shown(services, each, person) if live else SessionShown.of(each, catalog)
            for each in found[:limit]
        ]
        return Paged[SessionShown](items=items, next=items[-1].id if len(found) > limit else None)

    @router.get("/{id}", summary="One session")
    async def one(id: str, caller: Known, services: Given) -> SessionShown:
        return await shown(services, await seen(services, id, caller.identity), caller.identity)

    @router.post("/{id}/cut", summary="End a live session, leaving its grant")
    async def cut(id: str, asked: NeededWord, caller: Known, services: Given) -> RevocationMade:
        """Admins any session, others their own."""
        ordered = await services.revocations.cut(id, caller.identity, asked.reason)
        services.doorbell.ring()
        return await made(services, Target(Scope.SESSION, id), ordered, caller.identity)

    @router.get("/{id}/statements", summary="What a session ran")
    async def ran(
        id: str,
        caller: Known,
        services: Given,
        after: Annotated[int, Query(ge=0, le=LARGEST, description="statements after this `seq`")] = 0,
        limit: Limit = 100,
    ) -> StatementsShown:
        """Joined records, oldest first; of live sessions too. For auditors and one's own. The viewing is written
        into the trail."""
        found = await read(services, views, id, caller.identity, "statements")
        return await statements(services, found, after, limit)

    @router.get("/{id}/notes", summary="What else was noted of a session")
    async def noted(
        id: str,
        caller: Known,
        services: Given,
        after: Annotated[int, Query(ge=0, le=LARGEST, description="the `next` of the page before")] = 0,
    ) -> NotesShown:
        """Warnings, cancels, denials, the last words. For auditors and one's own. The viewing is written into the
        trail."""
        found = await read(services, views, id, caller.identity, "statements")
        return await notes(services, found, after)

    @router.get("/{id}/output", summary="What a session's terminals showed")
    async def kept(
        id: str,
        caller: Known,
        services: Given,
        after: Annotated[int, Query(ge=0, le=LARGEST, description="records after this `number`")] = 0,
        limit: Annotated[int, Query(ge=1, le=5000, description="how many items at most")] = 1000,
        statement: Annotated[int, Query(ge=0, le=LARGEST, description="only of this one; 0: of all")] = 0,
    ) -> OutputShown:
        """The bytes that were kept, with the sizes of terminals, oldest first; of live sessions too. What a
        terminal showed always is; other bytes are where the policy says so. They are what a target sent: never show
        them raw in a terminal. For auditors and one's own. The viewing is written into the trail."""
        found = await read(services, views, id, caller.identity, "output")
        return await output(services, found, after, limit, statement)

    @router.get(
        "/{id}/recording",
        summary="The raw recording",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/octet-stream": {}}}},
    )
    async def recording(id: str, caller: Known, services: Given) -> StreamingResponse:
        """The container as it is on disk, with its chain. For auditors and one's own. The viewing is written into
        the trail."""
        found = await read(services, views, id, caller.identity, "recording")
        return await raw(services, found)

    return router
