"""Revocations over HTTP: what would end, what ended, how fast, and who has not confirmed."""

from dataclasses import replace
from typing import Any

import pytest

from proxy.core.errors import Denied
from proxy.core.sessions import CutReceipt, SessionRecord
from proxy.core.states import EndReason, SessionStatus
from tests.access.world import wish
from tests.api.world import HOUR, Ahead, ApiWorld


async def revoked(world: ApiWorld, **body: Any) -> dict[str, Any]:
    answer = await world.call("dave", "POST", "/v1/revocations", {"reason": "laptop stolen", **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def progress(world: ApiWorld, seq: int, by: str = "dave") -> dict[str, Any]:
    answer = await world.call(by, "GET", f"/v1/revocations/{seq}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def ended(world: ApiWorld, session: SessionRecord, milliseconds: float = 11.0) -> None:
    """The node has cut it."""
    now = world.clock.now()
    receipt = CutReceipt(now, now + 0.001, now + milliseconds / 1000, now + 0.02, "pg_stat_activity")
    record = replace(
        session,
        status=SessionStatus.ENDED,
        ended=now + milliseconds / 1000,
        end_reason=EndReason.GRANT_REVOKED,
        receipt=receipt,
    )
    await world.store.commit(lambda writer: writer.put_session(record))


@pytest.mark.parametrize(
    ("body", "grants", "sessions"),
    [
        ({"scope": "grant", "key": "{alice}"}, ["alice"], ["session-a"]),
        ({"scope": "identity", "key": "eve"}, ["eve"], ["session-e"]),
        ({"scope": "resource", "key": "shop"}, ["eve", "alice"], ["session-e", "session-a"]),
        ({"scope": "all"}, ["eve", "alice"], ["session-e", "session-a"]),
    ],
)
async def test_a_dry_run_says_what_would_end_and_does_nothing(
    world: ApiWorld, body: dict[str, str], grants: list[str], sessions: list[str]
) -> None:
    alice, eve = await world.granted("alice"), await world.granted("eve")
    await world.session(alice, "session-a")
    await world.session(eve, "session-e")
    await world.node()
    before = world.store.commits
    wanted = {name: value.replace("{alice}", alice.id) for name, value in body.items()}
    rung = world.doorbell.rung
    told = await revoked(world, dry_run=True, **wanted)
    assert [each["identity"] for each in told["grants"]] == grants
    assert [each["id"] for each in told["sessions"]] == sessions
    assert told["sessions"][0]["statement"] == "select secret from orders"
    assert (told["dry_run"], told["seq"], told["nodes"]) == (True, None, ["node-1"])
    assert world.doorbell.rung == rung
    # the log-in of the caller is all that was written
    assert world.store.commits == before + 1
    done = await revoked(world, **wanted)
    assert [each["identity"] for each in done["grants"]] == grants
    assert {each["status"] for each in done["grants"]} == {"revoked"}
    assert [each["id"] for each in done["sessions"]] == sessions
    assert world.doorbell.rung == rung + 1


async def test_receipts_come_in_and_nodes_confirm(world: ApiWorld) -> None:
    grant = await world.granted("alice")
    first, second = await world.session(grant, "session-a"), await world.session(grant, "session-b")
    await world.session(await world.granted("eve"), "session-e")
    await world.node("node-1", feed_seen=0)
    await world.node("node-2", feed_seen=0)
    await world.node("node-dead", feed_seen=0, heartbeat=world.clock.now() - 60)
    seq = (await revoked(world, scope="identity", key="alice"))["seq"]
    told = await progress(world, seq)
    assert not told["done"]
    assert {each["session"] for each in told["live"]} == {"session-a", "session-b"}
    assert told["unconfirmed"] == ["node-2", "node-1"] or sorted(told["unconfirmed"]) == ["node-1", "node-2"]
    await ended(world, first, 11.0)
    await world.node("node-1")
    told = await progress(world, seq)
    assert [each["session"] for each in told["live"]] == ["session-b"]
    assert [(each["session"], each["milliseconds"]) for each in told["ended"]] == [("session-a", 11.0)]
    assert told["ended"][0]["end_reason"] == "grant_revoked"
    assert told["ended"][0]["verified"] == "pg_stat_activity"
    assert told["unconfirmed"] == ["node-2"]
    await ended(world, second, 3.0)
    await world.node("node-2")
    told = await progress(world, seq)
    assert told["done"]
    assert told["by"] == "dave"
    assert told["reason"] == "laptop stolen"


async def test_freshness_and_grants_are_judged_by_the_clock_of_the_store(world: ApiWorld) -> None:
    """Else, on a machine whose clock is off, nobody would be waited for."""
    grant = await world.granted("alice")
    await world.node("node-1", feed_seen=0)
    for seconds in (-HOUR, HOUR - 1, 2 * HOUR):
        world.api.state.services = replace(world.services, clock=Ahead(world, seconds))
        would = await revoked(world, scope="identity", key="eve", dry_run=True)
        assert would["nodes"] == ["node-1"]
        seq = (await revoked(world, scope="identity", key="eve"))["seq"]
        told = await progress(world, seq)
        assert (told["unconfirmed"], told["done"]) == (["node-1"], False)
        shown = [(await world.call("alice", "GET", f"/v1/grants/{grant.id}")).json()]
        shown += (await world.call("alice", "GET", "/v1/grants")).json()["items"]
        assert [(each["status"], each["remaining"]) for each in shown] == [("active", HOUR)] * 2
    would = await revoked(world, scope="identity", key="alice", dry_run=True)
    assert [each["status"] for each in would["grants"]] == ["active"]


async def test_one_token_is_refused_and_its_grant_stays(world: ApiWorld) -> None:
    grant = await world.granted("alice")
    text, claims = await world.grants.token(grant.id, world.who("alice"))
    body = {"scope": "token", "key": claims.jti, "reason": "pasted into a chat"}
    assert (await world.call("alice", "POST", "/v1/revocations", body)).status_code == 403
    assert (await revoked(world, dry_run=True, scope="token", key=claims.jti))["seq"] is None
    assert (await world.gate.admit(text, wish(), world.registered.append)).jti == claims.jti
    assert (await revoked(world, scope="token", key=claims.jti))["grants"] == []
    with pytest.raises(Denied):
        await world.gate.admit(text, wish(), world.registered.append)
    assert (await world.gate.admit(await world.token(grant), wish(), world.registered.append)).grant == grant


async def test_sessions_of_before_and_after_are_not_its_own(world: ApiWorld) -> None:
    grant = await world.granted("alice")
    old = await world.session(grant, "session-old")
    await ended(world, old)
    world.clock.advance(60)
    seq = (await revoked(world, scope="identity", key="alice"))["seq"]
    world.clock.advance(60)
    await world.session(await world.granted("alice"), "session-new")
    told = await progress(world, seq)
    assert told["ended"] == told["live"] == []
    assert told["done"]


async def test_progress_is_for_who_ordered_it_and_who_reads_all(world: ApiWorld) -> None:
    grant = await world.granted("alice")
    answer = await world.call("alice", "POST", f"/v1/grants/{grant.id}/revoke", {"reason": "done"})
    seq = answer.json()["seq"]
    assert (await progress(world, seq, "alice"))["scope"] == "grant"
    assert (await progress(world, seq, "carol"))["by"] == "alice"
    assert (await world.call("eve", "GET", f"/v1/revocations/{seq}")).status_code == 404
    assert (await world.call("dave", "GET", f"/v1/revocations/{seq + 1}")).status_code == 404


async def test_an_extension_is_no_revocation(world: ApiWorld) -> None:
    grant = await world.granted("alice", duration=60)
    body = {"duration": 600, "reason": "more"}
    rung = world.doorbell.rung
    answer = await world.call("alice", "POST", f"/v1/grants/{grant.id}/extend", body)
    assert answer.status_code == 201
    assert answer.json()["request"]["extends"] == grant.id
    assert world.doorbell.rung == rung + 1
    seq = world.store.state.published
    assert (await world.call("dave", "GET", f"/v1/revocations/{seq}")).status_code == 404


async def test_a_cut_names_its_session(world: ApiWorld) -> None:
    session = await world.session(await world.granted("alice"))
    answer = await world.call("dave", "POST", f"/v1/sessions/{session.id}/cut", {"reason": "too long"})
    told = answer.json()
    assert told["grants"] == []
    assert [each["id"] for each in told["sessions"]] == [session.id]
    assert (await progress(world, told["seq"]))["live"][0]["session"] == session.id
    assert world.doorbell.rung == 1
    await ended(world, session)
    assert (await progress(world, told["seq"]))["ended"][0]["session"] == session.id
    again = await world.call("dave", "POST", f"/v1/sessions/{session.id}/cut", {"reason": "x"})
    assert again.status_code == 409


async def test_a_lock_is_listed_cuts_and_goes(world: ApiWorld) -> None:
    await world.session(await world.granted("alice"))
    body = {"scope": "identity", "key": "alice", "reason": "left"}
    made = await world.call("dave", "POST", "/v1/locks", body)
    assert made.status_code == 201
    assert len(made.json()["sessions"]) == 1
    assert world.doorbell.rung == 1
    (lock,) = (await world.call("carol", "GET", "/v1/locks")).json()["items"]
    assert (lock["key"], lock["by"], lock["reason"]) == ("alice", "dave", "left")
    assert (await world.call("eve", "GET", "/v1/locks")).json()["items"] == []
    assert (await world.call("dave", "DELETE", "/v1/locks?scope=identity&key=alice")).status_code == 204
    assert (await world.call("dave", "DELETE", "/v1/locks?scope=identity&key=alice")).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "all", "key": "x", "reason": "y"},
        {"scope": "grant", "reason": "y"},
        {"scope": "all"},
        {"scope": "all", "reason": "   "},
        {"scope": "planet", "key": "x", "reason": "y"},
        {"scope": "session", "key": "x", "reason": "y"},
    ],
)
async def test_what_is_no_revocation(world: ApiWorld, body: dict[str, str]) -> None:
    assert (await world.call("dave", "POST", "/v1/revocations", body)).status_code == 422


async def test_a_grant_that_is_over_is_a_conflict(world: ApiWorld) -> None:
    grant = await world.granted("alice")
    world.clock.advance(HOUR + 1)
    answer = await world.call("alice", "POST", f"/v1/grants/{grant.id}/revoke", {})
    assert answer.status_code == 409
