"""Who calls: the dependencies of the routes. Every route names the one it needs, so its guard is in its signature.

``Known`` is anybody logged in; ``Admin``, ``ReadsTrail`` and ``ReadsFigures`` are refused (403) without that right
of ``access.rights``. What a caller may see of one thing is ``access.people``'s to say, and there the answer is 404
for unknown and forbidden alike.
"""

from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from proxy.access.logins import Caller
from proxy.access.rights import Right, must
from proxy.api.services import Services

bearer = HTTPBearer(
    scheme_name="login",
    description="The token of POST /v1/login. A grant's token is not taken here.",
    auto_error=False,
)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


def services_of(request: Request) -> Services:
    """What the composition root gave."""
    services: Services = request.app.state.services
    return services


Given = Annotated[Services, Depends(services_of)]


async def known(services: Given, shown: Bearer) -> Caller:
    """Whoever is logged in."""
    return await services.logins.verify(shown.credentials if shown else "")


Known = Annotated[Caller, Depends(known)]


def holding(right: Right) -> Callable[[Caller], Awaitable[Caller]]:
    """Return the dependency that lets in who holds ``right``."""

    async def holder(caller: Known) -> Caller:
        must(caller.identity, right)
        return caller

    return holder


async def scraper(request: Request, services: Given, shown: Bearer) -> None:
    """Loopback, or a caller who reads figures. What a proxy on this machine passes on is not loopback's own."""
    passed_on = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip", "via"))
    if passed_on or not is_loopback(source_of(request)):
        must((await known(services, shown)).identity, Right.FIGURES)


Admin = Annotated[Caller, Depends(holding(Right.ADMINISTER))]
ReadsTrail = Annotated[Caller, Depends(holding(Right.TRAIL))]
ReadsFigures = Annotated[Caller, Depends(holding(Right.FIGURES))]
Scraper = Annotated[None, Depends(scraper)]


def source_of(request: Request) -> str:
    """The caller's IP address as text; "" where there is none."""
    return request.client.host if request.client else ""


def is_loopback(source: str) -> bool:
    try:
        return ip_address(source).is_loopback
    except ValueError:
        return False


Source = Annotated[str, Depends(source_of)]
