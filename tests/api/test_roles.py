"""Every route, called by everybody: who gets what. One line a route."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from proxy.core.sessions import Totals
from proxy.core.states import SessionStatus
from tests.access.world import KEY, OFFICE
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
    Line("GET", "/v1/requests/{request}/use", (401, 200, 404, 200, 200, 200)),
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
    Line("POST", "/v1/revocations", (401, 403, 403, 403, 200, 200), {"scope": "all", "dry_run": True}, "dry run"),
    Line(
        "POST",
        "/v1/revocations",
        (401, 200, 404, 404, 200, 200),
        {"scope": "grant", "key": "{grant}", "dry_run": True},
        "dry run of a grant",
    ),
    Line("GET", "/v1/revocations/1", (401, 404, 404, 404, 404, 404), None, "none yet"),
    Line("GET", "/v1/locks", (401, 200, 200, 200, 200, 200)),
    Line("POST", "/v1/locks", (401, 403, 403, 403, 403, 201), {"scope": "identity", "key": "eve", **WHY}),
    Line("DELETE", "/v1/locks?scope=identity&key=zed", (401, 403, 403, 403, 403, 204)),
    Line("GET", "/v1/sessions", (401, 200, 200, 200, 200, 200)),
    Line("GET", "/v1/sessions/{session}", (401, 200, 404, 404, 200, 200)),
    Line("GET", "/v1/sessions/{session}/statements", (401, 200, 404, 404, 200, 403)),
    Line("GET", "/v1/sessions/{session}/notes", (401, 200, 404, 404, 200, 403)),
    Line("GET", "/v1/sessions/{session}/output", (401, 200, 404, 404, 200, 403)),
    Line("GET", "/v1/sessions/{session}/recording", (401, 200, 404, 404, 200, 403)),
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


# -- texts: what a session ran is in no answer but where the right over it is held

SECRET = "select secret from orders"
RUNS_NOW = {
    "/v1/sessions?live=1",
    "/v1/sessions/{session}",
    "/v1/sessions/{session}/cut",
    "/v1/grants/{grant}/revoke",
    "/v1/revocations",
    "/v1/locks",
    "/v1/audit/restored",
}
"""Where the text that runs now is shown to who holds the right over what is live."""
WHAT_IT_DID = {"/v1/sessions/{session}/statements"}


def may_read(caller: str, path: str, *, admins_read: bool = False) -> bool:
    """Whether ``caller`` may find the text of alice's session in the answer of ``path``."""
    readers = {"alice", "carol", "dave"} if path in RUNS_NOW or admins_read else {"alice", "carol"}
    return path in RUNS_NOW | WHAT_IT_DID and caller in readers


TEXTS = [
    *LINES,
    Line("GET", "/v1/sessions?live=1", (401, 200, 200, 200, 200, 200)),
    Line("GET", "/v1/sessions?identity=alice", (401, 200, 200, 200, 200, 200)),
    Line("GET", "/v1/audit/events?limit=1000", (401, 403, 403, 403, 200, 200)),
    Line("POST", "/v1/locks", (401, 403, 403, 403, 403, 201), {"scope": "identity", "key": "alice", **WHY}, "her"),
]


@pytest.mark.parametrize("line", TEXTS, ids=str)
@pytest.mark.parametrize(
    ("caller", "admins_read"),
    [("anonymous", False), ("eve", False), ("bob", False), ("dave", False), ("dave", True)],
)
async def test_no_answer_has_a_text_without_the_right(line: Line, caller: str, admins_read: bool) -> None:
    world = api_world()
    world.catalog = replace(world.catalog, admins_read=admins_read)
    ids = await world.lived()
    body = {name: filled(each, ids) if isinstance(each, str) else each for name, each in (line.body or {}).items()}
    answer = await world.call(caller, line.method, filled(line.path, ids), body if line.body is not None else None)
    if SECRET in answer.text:
        assert may_read(caller, line.path, admins_read=admins_read), answer.text


@pytest.mark.parametrize("path", sorted(WHAT_IT_DID | {"/v1/sessions/{session}", "/v1/sessions?live=1"}))
@pytest.mark.parametrize("caller", CALLERS[1:])
async def test_who_has_the_right_finds_the_text(path: str, caller: str) -> None:
    world = api_world()
    ids = await world.lived()
    answer = await world.call(caller, "GET", filled(path, ids))
    assert (SECRET in answer.text) is may_read(caller, path), answer.text


@pytest.mark.parametrize("view", ["statements", "notes", "output", "recording"])
async def test_admins_read_what_was_done_where_the_configuration_says_so(world: ApiWorld, view: str) -> None:
    ids = await world.lived()
    path = f"/v1/sessions/{ids['session']}/{view}"
    refused = await world.call("dave", "GET", path)
    assert (refused.status_code, "only auditors" in refused.json()["detail"]) == (403, True)
    assert "admins_read = true" in refused.json()["hint"]
    assert "recording_viewed" not in world.kinds()
    world.catalog = replace(world.catalog, admins_read=True)
    assert (await world.call("dave", "GET", path)).status_code == 200
    assert world.store.state.trail[-1].kind == "recording_viewed"


async def test_an_admin_reads_what_their_own_session_did(world: ApiWorld) -> None:
    grant = await world.granted("dave")
    await world.session(grant, "session-7")
    assert (await world.call("dave", "GET", "/v1/sessions/session-7/statements")).status_code == 200


async def test_who_ends_what_they_approved_is_told_no_text(world: ApiWorld) -> None:
    request = await world.pending("alice")
    made = (await world.call("bob", "POST", f"/v1/requests/{request.id}/approve", {"reason": "fine"})).json()
    grant = made["grant"]["id"]
    await world.session(world.store.state.grants[grant], "session-8")
    asked = {"scope": "grant", "key": grant, "dry_run": True}
    for by, text in (("bob", None), ("dave", SECRET), ("alice", SECRET)):
        (seen,) = (await world.call(by, "POST", "/v1/revocations", asked)).json()["sessions"]
        assert (seen["id"], seen["statement"]) == ("session-8", text), by
    (ended,) = (await world.call("bob", "POST", f"/v1/grants/{grant}/revoke", WHY)).json()["sessions"]
    assert ended["statement"] is None


async def test_what_came_of_a_request_is_numbers(world: ApiWorld) -> None:
    request = await world.pending("alice")
    made = (await world.call("bob", "POST", f"/v1/requests/{request.id}/approve", {"reason": "fine"})).json()
    assert (await world.call("bob", "GET", f"/v1/requests/{request.id}/use")).json()["sessions"] == 0
    grant = world.store.state.grants[made["grant"]["id"]]
    over = {"status": SessionStatus.ENDED, "ended": world.clock.now() + 60, "totals": Totals(10, 20, 3, 1)}
    await world.session(grant, "session-1", **over)
    await world.session(grant, "session-2")
    world.clock.advance(30)
    answer = await world.call("bob", "GET", f"/v1/requests/{request.id}/use")
    assert answer.json() == {
        "grant": grant.id,
        "sessions": 2,
        "live": 1,
        "statements": 3,
        "failed": 1,
        "bytes_in": 10,
        "bytes_out": 20,
        "seconds": 90.0,
        "first": "2027-01-15T08:00:00.000Z",
        "last": "2027-01-15T08:00:00.000Z",
    }
    extension = await world.grants.extend(grant.id, world.who("alice"), 60, "a little more", OFFICE)
    assert (await world.call("bob", "GET", f"/v1/requests/{extension.id}/use")).json()["sessions"] == 2
