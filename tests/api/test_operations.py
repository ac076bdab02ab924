"""Health, readiness, figures, keys, nodes, reload and the trail over HTTP."""

from dataclasses import replace
from typing import Any

import pytest

from proxy.access.revocations import Target
from proxy.core.events import SessionEnded, SessionStarted
from proxy.core.feed import FeedKind, Scope
from proxy.core.sessions import Totals
from proxy.core.trail import TrailHead
from tests.api.world import Ahead, ApiWorld
from tests.audit.trails import head


async def why(world: ApiWorld) -> tuple[int, list[str]]:
    answer = await world.call("anonymous", "GET", "/readyz")
    assert answer.json()["ready"] is (answer.status_code == 200)
    return answer.status_code, answer.json()["reasons"]


async def test_ready_with_a_live_node(world: ApiWorld) -> None:
    await world.node()
    assert await why(world) == (200, [])
    told = (await world.call("anonymous", "GET", "/readyz")).json()
    assert (told["nodes"], told["digest"]) == (1, world.catalog.digest)


async def test_not_ready_without_one(world: ApiWorld) -> None:
    assert await why(world) == (503, ["no node that serves sessions is alive"])
    await world.node()
    world.clock.advance(11)
    assert (await why(world))[0] == 503


async def test_not_ready_without_the_store(world: ApiWorld) -> None:
    world.store.lost = True
    assert await why(world) == (503, ["the store cannot be read"])
    assert (await world.call("anonymous", "GET", "/healthz")).text == "ok\n"


async def test_not_ready_when_configurations_differ(world: ApiWorld) -> None:
    await world.node("node-1")
    await world.node("node-2", digest="other")
    assert await why(world) == (503, ["the nodes run different configurations"])
    world.clock.advance(60)
    await world.node("node-1")
    assert (await why(world))[0] == 200


async def test_not_ready_when_a_node_lags(world: ApiWorld) -> None:
    await world.node()
    await world.store.commit(lambda writer: writer.publish(FeedKind.REVOKED, Scope.ALL, ""))
    assert (await why(world))[0] == 200
    world.clock.advance(2.5)
    assert await why(world) == (503, ["a node is more than 2 s behind the feed"])
    await world.node()
    assert (await why(world))[0] == 200


async def test_not_ready_when_clocks_differ(world: ApiWorld) -> None:
    await world.node()
    world.api.state.services = replace(world.services, clock=Ahead(world, 6))
    status, reasons = await why(world)
    assert status == 503
    assert "clocks" in reasons[0]


@pytest.mark.parametrize(
    ("source", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("10.1.2.3", {}, 401),
        ("127.0.0.1", {"x-forwarded-for": "1.2.3.4"}, 401),
        ("127.0.0.1", {"forwarded": "for=1.2.3.4"}, 401),
    ],
)
async def test_figures_are_for_this_machine(
    world: ApiWorld, source: str, headers: dict[str, str], status: int
) -> None:
    answer = await world.call("anonymous", "GET", "/metrics", source=source, **headers)
    assert answer.status_code == status
    if status == 200:
        assert answer.text == "tidegate_sessions_live 0\n"
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_the_keys_verify_tokens(world: ApiWorld) -> None:
    answer = await world.call("anonymous", "GET", "/.well-known/jwks.json")
    (key,) = answer.json()["keys"]
    assert (key["kty"], key["crv"], key["kid"]) == ("OKP", "Ed25519", "k1")
    assert "d" not in key
    assert "max-age" in answer.headers["cache-control"]


async def test_nodes(world: ApiWorld) -> None:
    await world.store.commit(lambda writer: writer.publish(FeedKind.KEYS, Scope.ALL, ""))
    await world.node("node-1", feed_seen=0)
    await world.node("node-2", heartbeat=1.0)
    found = {each["id"]: each for each in (await world.call("carol", "GET", "/v1/nodes")).json()["items"]}
    assert (found["node-1"]["fresh"], found["node-1"]["feed_behind"]) == (True, 1)
    assert (found["node-2"]["fresh"], found["node-2"]["feed_behind"]) == (False, 0)
    headers = await world.bearer("carol")
    world.api.state.services = replace(world.services, clock=Ahead(world, 60))
    async with world.client() as client:
        again = (await client.get("/v1/nodes", headers=headers)).json()["items"]
    assert {each["id"]: each["fresh"] for each in again} == {"node-1": True, "node-2": False}


async def test_nodes_are_drained_by_name_or_host(world: ApiWorld) -> None:
    for node, host in (("a-0", "a"), ("a-1", "a"), ("b-0", "b")):
        await world.node(node, host=host)

    async def drained(**asked: object) -> dict[str, str]:
        answer = await world.call("dave", "POST", "/v1/nodes/drain", asked)
        assert answer.status_code == 200, answer.text
        return {each["id"]: each["drains"] for each in answer.json()["items"]}

    assert set(await drained(node="a")) == {"a-0", "a-1"}
    first = await drained(node="b-0", duration="1h")
    assert (await drained(node="b-0", duration="2h"))["b-0"] > first["b-0"]
    told = [row for row in world.store.state.trail if row.kind == "drain_ordered"]
    assert sorted((row.actor, row.body["node"]) for row in told) == [
        ("dave", "a-0"), ("dave", "a-1"), ("dave", "b-0"), ("dave", "b-0"),
    ]  # fmt: skip
    assert (await world.call("dave", "POST", "/v1/nodes/drain", {"node": "c"})).status_code == 404
    several = await world.call("dave", "POST", "/v1/nodes/drain")
    assert (several.status_code, "a, b" in several.json()["hint"]) == (409, True)


async def test_an_only_host_needs_no_name_and_is_not_ready_then(world: ApiWorld) -> None:
    await world.node("a-0", host="a")
    await world.node("a-1", host="a")
    facts = replace(world.services.facts(), machine="a")
    world.api.state.services = replace(world.services, facts=lambda: facts)
    await world.call("dave", "POST", "/v1/nodes/drain", {"node": "a-1"})
    assert await why(world) == (200, [])
    answer = await world.call("dave", "POST", "/v1/nodes/drain")
    assert {each["id"] for each in answer.json()["items"]} == {"a-0", "a-1"}
    drained = ["no node that serves sessions is alive", "the nodes of this machine are being drained"]
    assert await why(world) == (503, drained)
    await world.node("b-0", host="b")
    assert await why(world) == (503, drained[1:])


async def test_reload_and_rotate_ring(world: ApiWorld) -> None:
    told = (await world.call("dave", "POST", "/v1/config/reload")).json()
    assert told == {
        "digest": "new",
        "changed": ["policies[0].accounts"],
        "restart": ["listeners"],
        "renewed": ["listeners[pg].tls.certificate"],
        "warnings": ["nobody is an auditor"],
    }
    for body, distrust in ((None, False), ({}, False), ({"distrust": True}, True)):
        assert (await world.call("dave", "POST", "/v1/keys/rotate", body)).json() == {"kid": "k2"}
        assert world.store.state.trail[-1].body["distrust"] is distrust
    assert world.doorbell.rung == 4


async def test_the_next_authority_of_targets_is_shown_and_then_signs(world: ApiWorld) -> None:
    before = (await world.call("alice", "GET", "/v1/ssh/authorities")).json()
    assert before["targets_next"] == ""
    assert (await world.call("dave", "POST", "/v1/keys/targets", {"switch": True})).status_code == 409
    made = (await world.call("dave", "POST", "/v1/keys/targets")).json()
    assert made["targets"] == before["targets"]
    assert made["targets_next"].startswith("ssh-ed25519 ")
    assert (await world.call("alice", "GET", "/v1/ssh/authorities")).json() == made
    after = (await world.call("dave", "POST", "/v1/keys/targets", {"switch": True})).json()
    assert after["targets"].split()[1] == made["targets_next"].split()[1]
    assert after["targets_next"] == ""
    assert world.doorbell.rung == 2


async def test_a_broken_configuration_is_told_and_rings_nobody(world: ApiWorld) -> None:
    world.reload_fails = True
    answer = await world.call("dave", "POST", "/v1/config/reload")
    assert answer.status_code == 422
    assert "store.url" in answer.json()["detail"]
    assert world.doorbell.rung == 0


async def test_the_trail_reads_newest_first_and_filters(world: ApiWorld) -> None:
    grant = await world.granted("alice")
    await world.granted("eve")
    page = (await world.call("carol", "GET", "/v1/audit/events?limit=3")).json()
    seqs = [each["seq"] for each in page["items"]]
    assert seqs == sorted(seqs, reverse=True)
    more = (await world.call("carol", "GET", f"/v1/audit/events?limit=100&before={page['next']}")).json()
    assert more["items"][0]["seq"] == seqs[-1] - 1
    about = (await world.call("carol", "GET", f"/v1/audit/events?subject=grant:{grant.id}")).json()["items"]
    assert [each["kind"] for each in about] == ["grant_issued"]
    kinds = (await world.call("carol", "GET", "/v1/audit/events?kind=request_made&actor=eve")).json()["items"]
    assert [each["actor"] for each in kinds] == ["eve"]
    assert (await world.call("carol", "GET", "/v1/audit/events?subject=odd:x")).status_code == 422


async def test_a_reader_can_follow_the_chain(world: ApiWorld) -> None:
    from proxy.audit.chain import verify
    from proxy.core.trail import TrailRow

    await world.granted("alice")
    items = (await world.call("carol", "GET", "/v1/audit/events?limit=1000")).json()["items"]
    rows = [
        TrailRow(**{name: value for name, value in {**each, "at": each["at_epoch"]}.items() if name != "at_epoch"})
        for each in reversed(items)
    ]
    assert len(rows) > 2
    assert verify(rows) is None


async def test_verify_names_the_first_bad_row(world: ApiWorld) -> None:
    await world.granted("alice")
    await world.granted("eve")
    told = (await world.call("carol", "GET", "/v1/audit/verify")).json()
    assert (told["ok"], told["first_bad"]) == (True, None)
    assert told["rows"] == len(world.store.state.trail)
    world.store.state.trail[2] = replace(world.store.state.trail[2], actor="mallory")
    told = (await world.call("carol", "GET", "/v1/audit/verify")).json()
    assert (told["ok"], told["first_bad"]) == (False, 3)


async def verify(world: ApiWorld, headers: dict[str, str]) -> dict[str, Any]:
    async with world.client() as client:
        told: dict[str, Any] = (await client.get("/v1/audit/verify", headers=headers)).json()
    return told


async def test_a_trail_rewritten_to_its_end_or_cut_short_is_found_by_its_heads(world: ApiWorld) -> None:
    await world.granted("alice")
    headers = await world.bearer("carol")
    state = world.store.state
    last = state.trail[-1]
    state.heads[last.seq] = head(last)
    told = await verify(world, headers)
    assert (told["ok"], told["signed"], told["heads"]) == (True, last.seq, 1)
    state.heads[last.seq] = head(replace(last, digest="0" * 64))
    told = await verify(world, headers)
    assert (told["ok"], told["first_bad"]) == (False, last.seq)
    state.heads[last.seq] = head(last)
    del state.trail[-1]
    told = await verify(world, headers)
    assert (told["ok"], told["first_bad"]) == (False, last.seq)
    assert "a signed head says" in told["problem"]


async def test_a_head_that_somebody_else_signed_is_found(world: ApiWorld) -> None:
    await world.granted("alice")
    headers = await world.bearer("carol")
    last = world.store.state.trail[-1]
    world.store.state.heads[last.seq] = TrailHead(last.seq, last.digest, 1.0, "k1", "x")
    told = await verify(world, headers)
    assert (told["ok"], told["first_bad"], told["signed"]) == (False, last.seq, 0)
    assert "unknown key" in told["problem"]


async def test_a_long_trail_is_verified_over_its_pages(world: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.api.verification.PAGE", 4)
    for _ in range(5):
        await world.granted("alice")
    headers = await world.bearer("carol")
    state = world.store.state
    for row in state.trail[::3]:
        state.heads[row.seq] = head(row)
    assert len(state.trail) > 12
    told = await verify(world, headers)
    assert (told["ok"], told["rows"], told["heads"]) == (True, len(state.trail), len(state.heads))
    state.trail[9] = replace(state.trail[9], actor="mallory")
    told = await verify(world, headers)
    assert (told["rows"], told["first_bad"]) == (9, 10)


async def test_what_was_ended_and_is_there_again_is_found(world: ApiWorld) -> None:
    grant = await world.granted("alice")
    _, claims = await world.grants.token(grant.id, world.who("alice"))
    dave = world.who("dave")
    for key in ("alice", "eve", "bob"):
        await world.revocations.lock(Scope.IDENTITY, key, dave, "looking into it")
    await world.revocations.unlock(Scope.IDENTITY, "alice", dave)
    await world.revocations.revoke(Target(Scope.TOKEN, claims.jti), dave, "pasted")
    await world.revocations.revoke(Target(Scope.GRANT, grant.id), dave, "laptop stolen")
    headers = await world.bearer("carol")
    assert (await verify(world, headers))["ok"]
    world.store.state.grants[grant.id] = grant
    world.store.state.tokens.clear()
    del world.store.state.locks[(Scope.IDENTITY, "eve")]
    told = await verify(world, headers)
    assert (told["ok"], len(told["problems"])) == (False, 3)
    locked, token, revoked = told["problems"]
    assert "identity eve was locked and not unlocked" in locked
    assert f"token {claims.jti} was revoked" in token
    assert f"grant {grant.id} was revoked, and its row was put back" in revoked
    assert told["first_bad"] == next(row.seq for row in world.store.state.trail if row.body.get("key") == "eve")
    await world.keeper.sign()
    world.clock.advance(367 * 86400)  # no token lives as long
    assert len((await verify(world, await world.bearer("carol")))["problems"]) == 2


async def test_recordings_are_held_against_the_trail(world: ApiWorld) -> None:
    grant = await world.granted("alice")
    ends = [("s1", "one"), ("s2", "two"), ("s3", "")]
    for session, digest in ends:
        names = ("alice", session, "n-0", grant.id, "alice", "shop", "readonly", "", "postgres", "", "", session)
        started = SessionStarted(*names, target_pid=None, backend_start=None)
        ended = SessionEnded("gateway", session, grant.id, "alice", "shop", "idle", "", Totals(), None, digest)
        await world.store.commit(lambda writer, both=(started, ended): [writer.append(each) for each in both])
    world.recordings.digests = {"s1": "one"}
    told = (await world.call("carol", "GET", "/v1/audit/verify")).json()
    assert (told["ok"], told["recordings"], told["unsealed"]) == (False, 1, 1)
    assert "the recording of session s2 is missing" in told["problem"]
    assert len(told["problems"]) == 1


async def test_heads(world: ApiWorld) -> None:
    for seq in (1, 2, 3):
        world.store.state.heads[seq] = TrailHead(seq, "d", 1.0, "k1", "s")
    page = (await world.call("carol", "GET", "/v1/audit/heads?limit=2")).json()
    assert [each["seq"] for each in page["items"]] == [1, 2]
    assert page["next"] == "2"
    assert page["items"][0]["at"] == "1970-01-01T00:00:01.000Z"


async def test_counts_left_when_the_store_is_away_are_written_at_the_end(world: ApiWorld) -> None:
    async with world.api.router.lifespan_context(world.api):
        for _ in range(3):
            await world.call("anonymous", "POST", "/v1/login", {"user": "a", "password": "b"})
    assert [row.body["times"] for row in world.store.state.trail] == [1, 2]


async def test_openapi_describes_every_call(world: ApiWorld) -> None:
    described = (await world.call("anonymous", "GET", "/openapi.json")).json()
    assert described["info"]["title"] == "Tidegate"
    for path, methods in described["paths"].items():
        for method, call in methods.items():
            assert call["summary"], (method, path)
    assert "login" in described["components"]["securitySchemes"]


async def test_no_number_is_taken_that_no_store_can_hold(world: ApiWorld) -> None:
    """SQLite and PostgreSQL have 64 bits: what is over that would be an accident of theirs, 500."""
    endless = []
    for path, calls in world.api.openapi()["paths"].items():
        for verb, call in calls.items():
            for each in call.get("parameters", ()):
                kinds = [each["schema"], *each["schema"].get("anyOf", ())]
                endless += [
                    (verb, path, each["name"])
                    for kind in kinds
                    if kind.get("type") == "integer"
                    and max(kind.get("maximum", 1 << 64), 0) > 1 << 62
                    and kind.get("exclusiveMaximum", 1 << 64) > 1 << 62
                ]
    assert not endless
    for path in ("/v1/audit/events?before=", "/v1/audit/heads?after="):
        answer = await world.call("carol", "GET", f"{path}{10**30}")
        assert answer.status_code == 422
