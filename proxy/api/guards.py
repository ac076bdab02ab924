"""What stands before the routes, as plain ASGI: bounds on a request's body, and headers on every answer.

Plain ASGI and not ``BaseHTTPMiddleware``: that one runs each call in a task of its own and breaks streaming and
cancellation. Knows HTTP, not Tidegate's routes.
"""

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.api.problems import answer, problem

MAX_BODY = 64 * 1024
READ_DEADLINE = 10.0

# Answers hold tokens and names: nobody on the way may keep or frame them.
HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


class BodyGuard:
    """Reads the whole body before the application starts: at most ``limit`` bytes, within ``deadline`` seconds.

    So a slow or endless sender costs one bounded buffer and holds no transaction. Bodies here are small JSON;
    answers stream as they like.
    """

    def __init__(self, app: ASGIApp, *, limit: int = MAX_BODY, deadline: float = READ_DEADLINE) -> None:
        self._app = app
        self._limit = limit
        self._deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._deadline):
                body = await self._read(scope, receive)
        except TimeoutError:
            late = problem(408, "the request's body did not arrive in time", code="late")
            await answer(late, {"connection": "close"})(scope, receive, send)
            return
        except ValueError:
            large = problem(413, f"a request's body is at most {self._limit} bytes", code="too_large")
            await answer(large, {"connection": "close"})(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body; None when the client went away; ``ValueError`` when it is too large."""
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limit:
            raise ValueError
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._limit:
                raise ValueError
            if not message.get("more_body", False):
                return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body once, and then what comes after it (the client's going away)."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again


class AnswerHeaders:
    """Puts the security headers on every answer, and one line about it in the log (never the query string)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told: MutableMapping[str, Any] = {}

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                told["status"] = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, headed)
        finally:
            log = structlog.get_logger("tidegate.api")
            log.debug("answered", method=scope["method"], path=scope["path"], status=told.get("status"))
