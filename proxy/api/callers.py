"""Who calls: the dependencies of the routes. Every route names the one it needs, so its guard is in its signature.

``Known`` is anybody logged in; ``Admin`` and ``ReadsAll`` are refused (403) without the role. What a caller may see
of one thing is ``access.people``'s to say, and there the answer is 404 for unknown and forbidden alike.
"""

from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from proxy.access.logins import Caller
from proxy.access.people import must_be_admin, sees_all
from proxy.api.services import Services
from proxy.core.errors import Denied

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


async def admin(caller: Known) -> Caller:
    must_be_admin(caller.identity)
    return caller


async def reads_all(caller: Known) -> Caller:
    if not sees_all(caller.identity):
        raise Denied("only auditors and administrators may read that")
    return caller


async def scraper(request: Request, services: Given, shown: Bearer) -> None:
    """Loopback, or a caller who reads all. What a proxy on this machine passes on is not loopback's own."""
    passed_on = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip", "via"))
    if passed_on or not is_loopback(source_of(request)):
        await reads_all(await known(services, shown))


Admin = Annotated[Caller, Depends(admin)]
ReadsAll = Annotated[Caller, Depends(reads_all)]
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
