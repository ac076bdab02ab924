"""The API put together: routes, guards, problem documents, and the one task it owns.

``create_api`` is called by the composition root in the API's own process; the result is served by uvicorn.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from proxy.api import problems
from proxy.api.guards import AnswerHeaders, BodyGuard
from proxy.api.recordings import Views
from proxy.api.routes import audit, catalog, grants, login, operations, requests, revocations, sessions, ssh
from proxy.api.services import Services

DESCRIPTION = """
Temporary production access: ask for it, approve it, end it, and read what was done with it.

* **Log in** with `POST /v1/login`; send its token as `Authorization: Bearer …` with every other call.
* **Ask** with `POST /v1/requests`; policy answers at once: approved with a grant, denied with the reason, or
  pending until people approve.
* **Connect** with a token of `POST /v1/grants/{id}/token`: it lives minutes, and is the password of your client;
  for SSH also with a certificate of `POST /v1/ssh/certificates`.
* **End** anything with `POST /v1/revocations`; every live session under it is cut.

Instants are ISO 8601 in UTC; durations are seconds. Errors are RFC 9457 problem documents whose `detail` says
what happened and `hint` what to do next. Unknown and forbidden get the same 404. Lists are newest first; `next`
goes into `before` of the call for the next page.
"""

FLUSH_EVERY = 5.0
"""Seconds: what is written then waited for a window of ten."""


def create_api(services: Services) -> FastAPI:
    """The ASGI application. Its lifespan must run (uvicorn does it): it writes what is counted, not yet told."""
    doorkeeper, views = login.Doorkeeper(services), Views(services.clock)
    api = FastAPI(
        title="Tidegate",
        summary="A gateway for temporary production access",
        description=DESCRIPTION,
        version=services.facts().version or "0",
        lifespan=_lifespan(doorkeeper.flush, services.requests.flush, clock=services.clock.monotonic),
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"description": "A problem document (RFC 9457)", "content": {problems.MEDIA_TYPE: {}}}},
    )
    api.state.services = services
    problems.install(api)
    for router in (
        login.routes(doorkeeper),
        catalog.router,
        requests.router,
        grants.router,
        revocations.router,
        sessions.routes(views),
        ssh.router,
        audit.router,
        operations.router,
    ):
        api.include_router(router)
    api.add_middleware(BodyGuard)
    api.add_middleware(AnswerHeaders)
    return api


def _lifespan(
    *flushes: Callable[[float], Awaitable[None]], clock: Callable[[], float]
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """While the API runs, counts whose window has closed are written every few seconds; all when it stops."""

    async def flush(now: float) -> None:
        for each in flushes:
            await problems.logged(each(now))

    async def keep_flushing(stopped: asyncio.Event) -> None:
        while not stopped.is_set():
            try:
                async with asyncio.timeout(FLUSH_EVERY):
                    await stopped.wait()
            except TimeoutError:
                await flush(clock())
        await flush(float("inf"))

    @asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        stopped = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_flushing(stopped), name="write what was counted")
            try:
                yield
            finally:
                stopped.set()

    return lifespan
