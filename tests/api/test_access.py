"""Requests, grants and tokens over HTTP: what the answers hold, and how lists page."""

from typing import Any

import pytest

from tests.api.world import HOUR, ApiWorld


async def got(world: ApiWorld, name: str, path: str) -> Any:
    answer = await world.call(name, "GET", path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_automatic_request_comes_with_its_grant(world: ApiWorld) -> None:
    body = {"resource": "shop", "account": "readonly", "duration": "30m", "reason": "ticket 7"}
    made = (await world.call("alice", "POST", "/v1/requests", body)).json()
    assert made["request"]["status"] == "approved"
    assert made["request"]["duration"] == 1800
    assert made["grant"]["status"] == "active"
    assert made["grant"]["remaining"] == 1800
    assert made["grant"]["databases"] == ["shop"]
    assert made["grant"]["starts"] == "2027-01-15T08:00:00.000Z"
    assert world.metrics.counts[("tidegate_requests_total", "allow")] == 1


async def test_a_request_that_is_denied_says_why(world: ApiWorld) -> None:
    body = {"resource": "shop", "account": "readonly", "duration": "2h", "reason": "ticket 7"}
    answer = await world.call("alice", "POST", "/v1/requests", body)
    assert answer.status_code == 201
    request = answer.json()["request"]
    assert request["status"] == "denied"
    assert "1h" in request["decision"]["reason"]
    assert answer.json()["grant"] is None


async def test_the_whole_trace_is_for_auditors_and_admins_and_ones_own_for_who_asked(world: ApiWorld) -> None:
    """Rules that are not about somebody say who may what: nobody else's business."""
    request = await world.pending("alice")
    rules = {
        name: [each["rule"] for each in (await got(world, name, f"/v1/requests/{request.id}"))["decision"]["trace"]]
        for name in ("alice", "bob", "carol", "dave")
    }
    everything = [each.name for each in world.catalog.rules]
    assert rules == {"alice": ["one-yes"], "bob": [], "carol": everything, "dave": everything}


async def test_a_rule_that_covers_and_wants_more_is_in_ones_own_trace(world: ApiWorld) -> None:
    body = {"resource": "shop", "account": "readonly", "duration": "2h", "reason": "ticket 7"}
    request = (await world.call("alice", "POST", "/v1/requests", body)).json()["request"]
    (only,) = request["decision"]["trace"]
    assert (only["rule"], only["matched"]) == ("auto", False)
    assert "at most 1h" in only["why"]


async def test_an_approval_gives_the_grant(world: ApiWorld) -> None:
    request = await world.pending("alice")
    made = (await world.call("bob", "POST", f"/v1/requests/{request.id}/approve", {"reason": "fine"})).json()
    assert made["request"]["approvals"][0] == {
        "by": "bob",
        "by_id": "bob",
        "approved": True,
        "at": "2027-01-15T08:00:00.000Z",
        "reason": "fine",
    }
    assert made["grant"]["identity"] == "alice"
    assert (await world.call("bob", "POST", f"/v1/requests/{request.id}/deny", {"reason": "x"})).status_code == 409


async def test_a_token_says_how_to_use_it(world: ApiWorld) -> None:
    grant = await world.granted("alice")
    made = (await world.call("alice", "POST", f"/v1/grants/{grant.id}/token")).json()
    assert world.tokens.verify(made["token"]).grant == grant.id
    assert (made["resource"], made["account"], made["databases"]) == ("shop", "readonly", ["shop"])
    assert made["connect"] == {"protocol": "postgres", "host": "", "port": 6432}
    assert made["expires_in"] == 600


async def test_a_token_for_a_grant_that_is_over_is_denied_in_words(world: ApiWorld) -> None:
    grant = await world.granted("alice", duration=60)
    world.clock.advance(61)
    answer = await world.call("alice", "POST", f"/v1/grants/{grant.id}/token")
    assert answer.status_code == 403
    assert answer.json()["code"] == "grant_expired"
    assert answer.json()["hint"]


async def test_resources_show_what_one_could_get(world: ApiWorld) -> None:
    found = (await got(world, "alice", "/v1/resources"))["items"]
    assert [each["name"] for each in found] == ["box", "shop"]
    accounts = {each["name"]: each["offers"][0] for each in found[1]["accounts"]}
    assert sorted(accounts) == ["owner", "pinned", "readonly", "super"]
    assert accounts["readonly"]["outcome"] == "allow"
    assert (accounts["owner"]["approvals"], accounts["owner"]["approvers"]) == (1, "approvers")
    assert found[0]["connect"] is None
    assert (await got(world, "bob", "/v1/resources"))["items"] == []


@pytest.mark.parametrize("kind", ["requests", "grants", "sessions"])
@pytest.mark.parametrize("caller", ["alice", "carol"])
async def test_pages_hold_everything_once(world: ApiWorld, kind: str, caller: str) -> None:
    for index in range(5):
        grant = await world.granted("alice", duration=HOUR)
        await world.session(grant, f"session-{index}")
        await world.session(await world.granted("eve"), f"session-{index}-eve")
    seen, before, pages = [], "", 0
    while True:
        page = await got(world, caller, f"/v1/{kind}?limit=2&before={before}")
        assert len(page["items"]) <= 2
        seen += [each["id"] for each in page["items"]]
        pages += 1
        before = page["next"]
        if before is None:
            break
    count = 5 if caller == "alice" else 10
    assert len(seen) == len(set(seen)) == count
    assert seen == sorted(seen, reverse=True)
    assert pages == (count + 1) // 2


@pytest.mark.parametrize("limit", ["0", "501", "x"])
async def test_a_page_has_its_limits(world: ApiWorld, limit: str) -> None:
    answer = await world.call("alice", "GET", f"/v1/grants?limit={limit}")
    assert answer.status_code == 422


async def test_filters(world: ApiWorld) -> None:
    grant, other = await world.granted("alice"), await world.granted("eve")
    await world.session(grant, "session-a")
    await world.session(other, "session-e")
    assert [each["id"] for each in (await got(world, "carol", "/v1/grants?identity=eve"))["items"]] == [other.id]
    assert (await got(world, "alice", "/v1/grants?identity=eve"))["items"] == []
    assert [each["id"] for each in (await got(world, "dave", "/v1/grants?mine=1"))["items"]] == []
    assert [each["id"] for each in (await got(world, "carol", "/v1/sessions?identity=alice"))["items"]] == [
        "session-a"
    ]
    assert (await got(world, "alice", "/v1/sessions?identity=eve"))["items"] == []
    assert [each["id"] for each in (await got(world, "alice", "/v1/sessions?grant=" + other.id))["items"]] == []
    world.clock.advance(HOUR + 1)
    assert (await got(world, "alice", "/v1/grants?active=1"))["items"] == []
    assert (await got(world, "alice", "/v1/grants"))["items"][0]["status"] == "expired"
    assert (await got(world, "carol", "/v1/requests?status=pending"))["items"] == []
    assert (await world.call("carol", "GET", "/v1/requests?status=odd")).status_code == 422
