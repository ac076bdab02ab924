"""Errors as problem documents: whose fault becomes which status, and what is never told."""

import io
import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from typing import get_args

import pytest
import structlog
from fastapi import FastAPI
from pydantic_core.core_schema import ErrorType

from proxy.adapters import logs
from proxy.api.mistakes import mistake
from proxy.api.problems import from_error, install, problem, status_of
from proxy.core.errors import Denied, Ended, NotFound, PeerError, TidegateError, Unavailable, Unreachable
from tests.api.world import PASSWORD, ApiWorld


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, at every level."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(json=True, stream=stream, level="debug")
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("x"), 404),
        (PeerError("x"), 422),
        (PeerError("x", code="conflict"), 409),
        (PeerError("x", code="too_many"), 429),
        (Denied("x"), 403),
        (Denied("x", code="unauthenticated"), 401),
        (Denied("x", code="grant_revoked"), 403),
        (Unavailable("x"), 503),
        (Unreachable("x"), 502),
        (Ended("x", code="idle"), 409),
        (TidegateError("x"), 500),
    ],
)
def test_the_type_says_the_status(error: TidegateError, status: int) -> None:
    assert status_of(error) == status


def test_detail_goes_to_the_log_only_under_the_same_reference(log: io.StringIO) -> None:
    told = from_error(Unavailable("the store cannot be reached", detail="postgresql://u:hunter2@db", hint="wait"))
    assert told == {
        "type": "urn:tidegate:unavailable",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "the store cannot be reached",
        "hint": "wait",
        "code": "unavailable",
        "reference": told["reference"],
    }
    (line,) = (json.loads(each) for each in log.getvalue().splitlines())
    assert line["reference"] == told["reference"]
    assert "db" in line["why"]
    assert "hunter2" not in log.getvalue()


def test_references_differ() -> None:
    assert problem(404, "x")["reference"] != problem(404, "x")["reference"]
    assert problem(404, "x")["type"] == "about:blank"


async def test_wrong_input_names_the_fields_and_never_their_values(world: ApiWorld) -> None:
    body = {"resource": "shop", "duration": "hunter2", "surprise": "hunter2"}
    answer = await world.call("alice", "POST", "/v1/requests", body)
    assert answer.status_code == 422
    paths = {each["path"] for each in answer.json()["fields"]}
    assert paths == {"body.account", "body.duration", "body.surprise"}
    assert "hunter2" not in answer.text


LONG = "x" * 2001


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("POST", "/v1/requests", {"duration": "100000h"}, "`duration`: should be more than 0s and at most 366d"),
        ("POST", "/v1/requests", {"duration": 0}, "`duration`: should be more than 0s and at most 366d"),
        ("POST", "/v1/requests", {"duration": "9" * 400 + "h"}, '`duration`: should be a duration, such as "10m"'),
        ("POST", "/v1/requests", {"duration": 10**400}, '`duration`: should be a duration, such as "10m"'),
        ("POST", "/v1/requests", {"reason": LONG}, "`reason`: is too long: at most 2000 characters"),
        ("POST", "/v1/requests", {"reason": 7}, "`reason`: should be text"),
        ("POST", "/v1/requests", {"resource": ""}, "`resource`: should not be empty"),
        ("POST", "/v1/requests", {"colour": "red"}, "`colour`: is not known here"),
        ("POST", "/v1/requests", {"resource": None, "account": None, "reason": None, "x": 1}, "; and 1 more"),
        ("POST", "/v1/requests", [1], "the request: should be an object"),
        ("POST", "/v1/requests", None, "the request: is missing"),
        ("POST", "/v1/revocations", {"scope": "moon"}, "`scope`: should be one of 'grant', 'identity',"),
        ("POST", "/v1/revocations", {"scope": "all", "key": "x"}, "the request: scope all takes no key"),
        ("POST", "/v1/revocations", {"scope": "all", "dry_run": "maybe"}, "`dry_run`: should be true or false"),
        ("GET", "/v1/requests?limit=0", None, "`limit`: should be at least 1"),
        ("GET", "/v1/requests?limit=501", None, "`limit`: should be at most 500"),
        ("GET", "/v1/requests?limit=many", None, "`limit`: should be a whole number"),
        ("GET", f"/v1/requests?before={'x' * 129}", None, "`before`: is too long: at most 128 characters"),
        ("GET", "/v1/requests?status=odd", None, "`status`: is none of pending, approved"),
        ("GET", "/v1/revocations/none", None, "`seq`: should be a whole number"),
    ],
)
async def test_a_mistake_is_told_in_plain_words_with_its_bound(
    world: ApiWorld, method: str, path: str, body: object, said: str
) -> None:
    whole = {"resource": "shop", "account": "readonly", "duration": "1h", "reason": "a look"}
    sent = {**whole, **body} if isinstance(body, dict) and path == "/v1/requests" else body
    told = (await world.call("dave", method, path, sent)).json()
    assert told["status"] == 422
    assert said in told["detail"]
    assert "Input" not in told["detail"]
    assert LONG not in json.dumps(told)


def test_no_mistake_is_told_in_the_validators_own_words() -> None:
    """Whatever the API's shapes may come to use."""
    kinds = get_args(ErrorType)
    assert len(kinds) > 50
    for kind in kinds:
        told = mistake(
            {"loc": ("body", "x"), "type": kind, "msg": "Input should be", "ctx": defaultdict(lambda: "7")}
        )
        assert told["problem"][:3] in ("is ", "sho") or told["problem"] == "7", kind
        assert "Input" not in told["problem"]


async def test_a_wrong_login_body_does_not_echo_the_password(world: ApiWorld) -> None:
    answer = await world.call("anonymous", "POST", "/v1/login", {"user": 7, "password": PASSWORD, "x": PASSWORD})
    assert answer.status_code == 422
    assert PASSWORD not in answer.text


async def test_broken_json_and_unknown_paths_are_problems(world: ApiWorld) -> None:
    async with world.client() as client:
        broken = await client.post("/v1/login", content=b"{", headers={"content-type": "application/json"})
        nowhere = await client.get("/v2/nothing")
        wrong_method = await client.delete("/v1/me")
    assert [broken.status_code, nowhere.status_code, wrong_method.status_code] == [422, 404, 405]
    for answer in (broken, nowhere, wrong_method):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["reference"]


async def test_a_mistake_of_ours_tells_only_a_reference(log: io.StringIO) -> None:
    import httpx

    api = FastAPI()
    install(api)

    @api.get("/broken")
    async def broken() -> None:
        raise RuntimeError("secret place /etc/x")

    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        answer = await client.get("/broken")
    assert answer.status_code == 500
    assert "/etc/x" not in answer.text
    assert answer.json()["reference"] in log.getvalue()
    assert "/etc/x" in log.getvalue()


async def test_no_store_is_503(world: ApiWorld) -> None:
    headers = await world.bearer("alice")
    world.store.lost = True
    async with world.client() as client:
        answer = await client.get("/v1/grants", headers=headers)
    assert answer.status_code == 503


async def test_a_401_names_the_scheme(world: ApiWorld) -> None:
    answer = await world.call("anonymous", "GET", "/v1/me")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_no_token_and_no_password_is_ever_logged(world: ApiWorld, log: io.StringIO) -> None:
    ids = await world.lived()
    async with world.client() as client:
        logged_in = await client.post("/v1/login", json={"user": "alice", "password": PASSWORD})
        await client.post("/v1/login", json={"user": "alice", "password": PASSWORD + "x"})
        headers = {"Authorization": f"Bearer {logged_in.json()['token']}"}
        token = await client.post(f"/v1/grants/{ids['grant']}/token", headers=headers)
        await client.get(
            f"/v1/me?access_token={token.json()['token']}", headers={"Authorization": "Bearer eyJx.y.z"}
        )
        await client.get("/v1/me", headers={"Authorization": f"Bearer {token.json()['token']}"})
    assert log.getvalue()
    for secret in (PASSWORD, "eyJ", logged_in.json()["token"], token.json()["token"]):
        assert secret not in log.getvalue()
    for row in world.store.state.trail:
        assert "eyJ" not in json.dumps(row.body)
