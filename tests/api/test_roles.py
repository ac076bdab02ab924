"""Every route, called by everybody: who gets what. One line a route."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.access.world import KEY
from tests.api.world import PASSWORD, ApiWorld, api_world

CALLERS = ("anonymous", "alice", "eve", "bob", "carol", "dave")


@dataclass(frozen=True)
class Line:
    """A call, and the status each of ``CALLERS`` gets. ``{grant}`` … stand for alice's own."""

    method: str
    path: str
    statuses: tuple[int, ...]
    body: Mapping[str, Any] | None = field(default=None)
    key: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.key}"


ASK = {"resource": "shop", "account": "readonly", "duration": "30m", "reason": "ticket"}
CERTIFY = {"public_key": KEY}
WHY = {"reason": "because"}
HEAD = {"seq": 1, "digest": "ab", "at_epoch": 1.5, "kid": "head-1", "signature": "c2ln"}

#                                                       anonymous alice eve  bob  carol dave
LINES = [
    Line("GET", "/healthz", (200, 200, 200, 200, 200, 200)),
    Line("GET", "/readyz", (200, 200, 200, 200, 200, 200)),
    Line("GET", "/.well-known/jwks.json", (200, 200, 200, 200, 200, 200)),
    Line("GET", "/openapi.json", (200, 200, 200, 200, 200, 200)),
    Line("GET", "/metrics", (401, 403, 403, 403, 200, 200)),
    Line("POST", "/v1/login", (200, 200, 200, 200, 200, 200), {"user": "alice", "password": PASSWORD}),
    Line("POST", "/v1/logout", (401, 204, 204, 204, 204, 204)),
    Line("GET", "/v1/me", (401, 200, 200, 200, 200, 200)),
    Line("GET", "/v1/resources", (401, 200, 200, 200, 200, 200)),
    Line("GET", "/v1/resources/shop", (401, 200, 200, 404, 404, 200)),
    Line("GET", "/v1/resources/vault", (401, 404, 404, 404, 404, 404)),
    Line("POST", "/v1/requests", (401, 201, 201, 404, 404, 201), ASK),
    Line("GET", "/v1/requests", (401, 200, 200, 200, 200, 200)),
    Line("GET", "/v1/requests/{request}", (401, 200, 404, 200, 200, 200)),
    Line("GET", "/v1/requests/nothing", (401, 404, 404, 404, 404, 404)),
    Line("POST", "/v1/requests/{request}/approve", (401, 403, 404, 200, 403, 403), {}),
    Line("POST", "/v1/requests/{request}/deny", (401, 403, 404, 200, 403, 200), WHY),
    Line("POST", "/v1/requests/{request}/withdraw", (401, 200, 404, 404, 404, 404)),
    Line("GET", "/v1/grants", (401, 200, 200, 200, 200, 200)),
    Line("GET", "/v1/grants/{grant}", (401, 200, 404, 404, 200, 200)),
    Line("POST", "/v1/grants/{grant}/token", (401, 201, 404, 404, 404, 404)),
    Line("POST", "/v1/grants/{grant}/extend", (401, 201, 404, 404, 409, 409), {"duration": 60, "reason": "x"}),
    Line("POST", "/v1/grants/{grant}/revoke", (401, 200, 404, 404, 403, 200), WHY),
    Line(
        "POST",
        "/v1/revocations",
        (401, 200, 404, 404, 403, 200),
        {"scope": "grant", "key": "{grant}", **WHY},
        "grant",
    ),
    Line(
        "POST",
        "/v1/revocations",
        (401, 200, 403, 403, 403, 200),
        {"scope": "identity", "key": "alice", **WHY},
        "user",
    ),
    Line(
        "POST",
        "/v1/revocations",
        (401, 403, 403, 403, 403, 200),
        {"scope": "resource", "key": "shop", **WHY},
        "resource",
    ),
    Line("POST", "/v1/revocations", (401, 403, 403, 403, 403, 200), {"scope": "all", **WHY}, "all"),
    Line("GET", "/v1/audit/keys", (401, 403, 403, 403, 200, 200)),
    Line("POST", "/v1/audit/restored", (401, 403, 403, 403, 403, 200), WHY),
    Line("POST", "/v1/audit/heads/compare", (401, 403, 403, 403, 200, 200), {"items": [HEAD]}),
    Line("POST", "/v1/nodes/drain", (401, 403, 403, 403, 403, 200), {"node": "node-1"}),
    Line("POST", "/v1/revocations", (401, 403, 403, 403, 403, 200), {"scope": "all", "dry_run": True}, "dry run"),
    Line("GET", "/v1/revocations/1", (401, 404, 404, 404, 404, 404), None, "none yet"),
    Line("GET", "/v1/locks", (401, 200, 200, 200, 200, 200)),
    Line("POST", "/v1/locks", (401, 403, 403, 403, 403, 201), {"scope": "identity", "key": "eve", **WHY}),
    Line("DELETE", "/v1/locks?scope=identity&key=zed", (401, 403, 403, 403, 403, 204)),
    Line("GET", "/v1/sessions", (401, 200, 200, 200, 200, 200)),
    Line("GET", "/v1/sessions/{session}", (401, 200, 404, 404, 200, 200)),
    Line("GET", "/v1/sessions/{session}/statements", (401, 200, 404, 404, 200, 200)),
    Line("GET", "/v1/sessions/{session}/notes", (401, 200, 404, 404, 200, 200)),
    Line("GET", "/v1/sessions/{session}/output", (401, 200, 404, 404, 200, 200)),
    Line("GET", "/v1/sessions/{session}/recording", (401, 200, 404, 404, 200, 200)),
    Line("POST", "/v1/sessions/{session}/cut", (401, 200, 404, 404, 403, 200), WHY),
    Line("POST", "/v1/ssh/certificates", (401, 409, 404, 404, 404, 404), {"grant": "{grant}", **CERTIFY}),
    Line(
        "POST",
        "/v1/ssh/certificates",
        (401, 409, 404, 404, 404, 404),
        {"resource": "shop", **CERTIFY},
        "by resource",
    ),
    Line("GET", "/v1/ssh/authorities", (401, 200, 200, 200, 200, 200)),
    Line("GET", "/v1/nodes", (401, 403, 403, 403, 200, 200)),
    Line("GET", "/v1/audit/events", (401, 403, 403, 403, 200, 200)),
    Line("GET", "/v1/audit/heads", (401, 403, 403, 403, 200, 200)),
    Line("GET", "/v1/audit/verify", (401, 403, 403, 403, 200, 200)),
    Line("POST", "/v1/config/reload", (401, 403, 403, 403, 403, 200)),
    Line("POST", "/v1/keys/rotate", (401, 403, 403, 403, 403, 200)),
    Line("POST", "/v1/keys/targets", (401, 403, 403, 403, 403, 200)),
]


def filled(text: str, ids: Mapping[str, str]) -> str:
    for name, value in ids.items():
        text = text.replace(f"{{{name}}}", value)
    return text


@pytest.mark.parametrize("line", LINES, ids=str)
@pytest.mark.parametrize("caller", CALLERS)
async def test_who_gets_what(line: Line, caller: str) -> None:
    world = api_world()
    ids = await world.lived()
    if line.method == "DELETE":
        await world.call("dave", "POST", "/v1/locks", {"scope": "identity", "key": "zed", "reason": "x"})
    body = {name: filled(each, ids) if isinstance(each, str) else each for name, each in (line.body or {}).items()}
    answer = await world.call(caller, line.method, filled(line.path, ids), body if line.body is not None else None)
    assert answer.status_code == line.statuses[CALLERS.index(caller)], answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["detail"]
        assert problem["reference"]


def test_every_route_is_in_the_table(world: ApiWorld) -> None:
    ids = {"{grant}": "{id}", "{request}": "{id}", "{session}": "{id}", "/shop": "/{name}", "/nothing": "/{id}"}
    told = set()
    for line in LINES:
        path = line.path.partition("?")[0].replace("/revocations/1", "/revocations/{seq}")
        for name, parameter in ids.items():
            path = path.replace(name, parameter)
        told.add((line.method, path))
    paths = world.api.openapi()["paths"]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert len(routes) > 30
    assert routes - told == set()


async def test_unknown_and_forbidden_get_the_same_answer(world: ApiWorld) -> None:
    ids = await world.lived()
    for kind in ("grant", "request", "session"):
        forbidden = (await world.call("eve", "GET", f"/v1/{kind}s/{ids[kind]}")).json()
        unknown = (await world.call("eve", "GET", f"/v1/{kind}s/{kind}-999999")).json()
        assert forbidden.pop("reference") != unknown.pop("reference")
        assert forbidden == unknown


@pytest.mark.parametrize("caller", ["alice", "carol"])
async def test_a_grants_token_opens_nothing_here(world: ApiWorld, caller: str) -> None:
    ids = await world.lived()
    token = (await world.call("alice", "POST", f"/v1/grants/{ids['grant']}/token")).json()["token"]
    answer = await world.call("anonymous", "GET", "/v1/me", Authorization=f"Bearer {token}")
    assert answer.status_code == 401
