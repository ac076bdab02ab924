"""What stands before the routes: bounds on bodies, headers on answers."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from proxy.api.guards import HEADERS, AnswerHeaders, BodyGuard
from tests.api.world import ApiWorld


class Echo:
    """An application that says how much it read."""

    def __init__(self) -> None:
        self.called = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.called += 1
        message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(len(message["body"])).encode()})


async def driven(app: Any, messages: list[Message], **headers: str) -> tuple[int, bytes]:
    """(status, body) of one call whose body arrives as ``messages``; then nothing more comes."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return 0, b""
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:])


def piece(data: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


async def test_a_body_arrives_whole() -> None:
    assert await driven(BodyGuard(Echo()), [piece(b"abc", True), piece(b"de")]) == (200, b"5")


async def test_a_body_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    echo = Echo()
    assert (await driven(BodyGuard(echo, limit=4), [piece(b"abcd")]))[0] == 200
    assert (await driven(BodyGuard(echo, limit=4), [piece(b"abc", True), piece(b"de", True)]))[0] == 413
    assert echo.called == 1


@pytest.mark.parametrize("length", ["5", "99999999999", "-1", "x"])
async def test_a_length_that_is_too_much_is_refused_before_a_byte_is_read(length: str) -> None:
    echo = Echo()
    status, _ = await driven(BodyGuard(echo, limit=4), [], content_length=length)
    assert status == 413
    assert echo.called == 0


async def test_a_slow_sender_is_sent_away() -> None:
    echo = Echo()
    status, body = await driven(BodyGuard(echo, deadline=0.01), [piece(b"a", True)])
    assert status == 408
    assert b"in time" in body
    assert echo.called == 0


async def test_a_client_that_goes_away_costs_nothing() -> None:
    echo = Echo()
    assert await driven(BodyGuard(echo), [piece(b"a", True), {"type": "http.disconnect"}]) == (0, b"")
    assert echo.called == 0


@pytest.mark.parametrize("path", ["/healthz", "/v1/me", "/nowhere"])
async def test_every_answer_has_the_headers(world: ApiWorld, path: str) -> None:
    answer = await world.call("anonymous", "GET", path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value


async def test_other_scopes_pass() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def never() -> Message:
        raise AssertionError

    async def nothing(message: Message) -> None:
        raise AssertionError

    await AnswerHeaders(BodyGuard(app))({"type": "lifespan"}, never, nothing)
    assert seen == ["lifespan"]


async def test_a_large_body_is_a_problem_document(world: ApiWorld) -> None:
    answer = await world.call("anonymous", "POST", "/v1/login", {"user": "a", "password": "x" * 70_000})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
