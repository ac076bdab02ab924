"""Log in, log out, who am I.

A password costs an Argon2 hash, so tries are bounded before it: per source, per name, and in all. Refusals of one
source and name within 10 s become one event of the trail, as do those that were not even tried.
"""

import math
from dataclasses import replace
from typing import TypeVar

from fastapi import APIRouter, Response

from proxy.access.logins import Login
from proxy.access.sources import source_kind
from proxy.access.tally import Tally
from proxy.access.texts import shown
from proxy.api.callers import Given, Known, Source
from proxy.api.services import Services
from proxy.api.shapes.people import LoggedIn, LoginAsked, Me
from proxy.api.throttle import Throttle
from proxy.core.errors import Denied, PeerError
from proxy.core.events import LoginRefused, LoginsThrottled

Counted = TypeVar("Counted", LoginRefused, LoginsThrottled)

WINDOW = 10.0
MINUTE = 60.0
WAITING_MOST = 32


class Doorkeeper:
    """Lets people try: one for the life of the API, owned by the application."""

    def __init__(self, services: Services) -> None:
        self._services = services
        per_source, per_name = services.facts().failed_logins
        self._sources = Throttle(services.clock, burst=per_source, every=MINUTE / per_source)
        self._names = Throttle(services.clock, burst=per_name, every=MINUTE / per_name)
        self._refused: Tally[LoginRefused] = Tally(services.store, services.clock, WINDOW, repeated)
        self._throttled: Tally[LoginsThrottled] = Tally(services.store, services.clock, WINDOW, repeated)
        self._waiting = 0

    async def log_in(self, asked: LoginAsked, source: str) -> Login:
        """``Denied`` (unauthenticated) with one text for a wrong name, a wrong password and a locked person."""
        self._check_bounds(asked.user, source)
        self._waiting += 1
        try:
            login = await self._tried(asked, source)
        except Denied:
            await self._note(asked.user, source)
            raise wrong() from None
        finally:
            self._waiting -= 1
        self._names.forget(self._person(asked.user))
        self._services.metrics.count("tidegate_logins_total", result="allowed")
        return login

    async def _tried(self, asked: LoginAsked, source: str) -> Login:
        person = self._services.catalog().named(asked.user)
        right = await self._services.passwords.verify(asked.user, asked.password.get_secret_value())
        if person is None or not right:
            raise wrong()
        return await self._services.logins.open(asked.user, source, person.id)

    def _check_bounds(self, name: str, source: str) -> None:
        wait = max(self._sources.wait_for(source_kind(source)), self._names.wait_for(self._person(name)))
        if wait > 0 or self._waiting >= WAITING_MOST:
            self._services.metrics.count("tidegate_logins_total", result="throttled")
            event = LoginsThrottled(actor="anonymous", name=shown(name), source=source, times=1)
            self._throttled.count(source_kind(source), event)
            raise PeerError("too many log-ins are being tried", hint="wait a minute and try again", code="too_many")

    def _person(self, name: str) -> str:
        """Return what tries for ``name`` are counted by: the person's id, so that a new name is no new set of
        tries."""
        return self._services.catalog().id_of(name)

    async def _note(self, name: str, source: str) -> None:
        """Count the refusal, and put it into the trail: the first at once, the rest of its window together."""
        self._sources.spend(source_kind(source))
        self._names.spend(self._person(name))
        self._services.metrics.count("tidegate_logins_total", result="refused")
        event = LoginRefused(actor="anonymous", name=shown(name), source=source, times=1)
        await self._refused.note((source, name), event)

    async def flush(self, now: float = math.inf) -> None:
        """Write what was counted of windows that closed by ``now`` (monotonic seconds)."""
        await self._refused.flush(now)
        await self._throttled.flush(now)


def repeated(last: Counted, times: int) -> Counted:
    return replace(last, times=times)


def wrong() -> Denied:
    """One answer for every reason."""
    hint = "check both; if they are right, ask an administrator"
    return Denied("the name or the password is wrong", hint=hint, code="unauthenticated")


def routes(doorkeeper: Doorkeeper) -> APIRouter:
    """The routes of this file."""
    router = APIRouter(prefix="/v1", tags=["log-in"])

    @router.post("/login", summary="Log in with name and password")
    async def log_in(asked: LoginAsked, source: Source) -> LoggedIn:
        """The token is good on this API until ``expires`` or log-out; it opens no session on any target."""
        login = await doorkeeper.log_in(asked, source)
        return LoggedIn(token=login.token, user=login.identity.name, expires=login.expires)

    @router.post("/logout", summary="Log out", status_code=204)
    async def log_out(caller: Known, services: Given, source: Source) -> Response:
        """The token is refused from now on, on every node."""
        await services.logins.close(caller, source)
        return Response(status_code=204)

    @router.get("/me", summary="Who am I")
    async def me(caller: Known, services: Given) -> Me:
        return Me(
            name=caller.identity.name,
            id=caller.identity.id,
            display=caller.identity.display,
            groups=sorted(caller.identity.groups),
            roles=sorted(caller.identity.roles),
            login_expires=caller.expires,
            time=services.clock.now(),
        )

    return router
