"""Sessions and their recordings over HTTP: what runs now, what ran, and who looked."""

from dataclasses import replace

import pytest

from proxy.api.services import Noted
from proxy.core.sessions import OWN_PIDS, ServedBy
from proxy.core.states import EndReason, SessionStatus
from tests.api.world import ApiWorld
from tests.fakes.things import SERVED


def views(world: ApiWorld) -> list[tuple[str, str, str]]:
    rows = (row for row in world.store.state.trail if row.kind == "recording_viewed")
    return [(row.actor, row.body["session"], row.body["view"]) for row in rows]


async def test_live_sessions_come_with_what_they_run(world: ApiWorld) -> None:
    grant = await world.granted("alice")
    await world.session(grant, "session-1")
    await world.session(grant, "session-2", status=SessionStatus.ENDED, ended=1.0, end_reason=EndReason.IDLE)
    live = (await world.call("carol", "GET", "/v1/sessions?live=1")).json()["items"]
    assert [(each["id"], each["running"]["text"]) for each in live] == [("session-1", "select secret from orders")]
    every = (await world.call("carol", "GET", "/v1/sessions")).json()["items"]
    assert [(each["id"], each["running"]) for each in every] == [("session-2", None), ("session-1", None)]
    assert every[0]["end_reason"] == "idle"
    ended = (await world.call("carol", "GET", "/v1/sessions?live=0")).json()["items"]
    assert [each["id"] for each in ended] == ["session-2"]
    one = (await world.call("alice", "GET", "/v1/sessions/session-1")).json()
    assert one["running"]["seq"] == 2


async def test_statements_page_and_the_look_is_in_the_trail_once(world: ApiWorld) -> None:
    await world.session(await world.granted("alice"))
    path = "/v1/sessions/session-1/statements"
    first = (await world.call("carol", "GET", path + "?limit=1")).json()
    assert [each["text"] for each in first["items"]] == ["select 1"]
    assert first["next"] == 1
    second = (await world.call("carol", "GET", path + "?limit=1&after=1")).json()
    assert [each["seq"] for each in second["items"]] == [2]
    assert second["next"] is None
    await world.call("alice", "GET", path)
    await world.call("carol", "GET", "/v1/sessions/session-1/recording")
    assert views(world) == [
        ("carol", "session-1", "statements"),
        ("alice", "session-1", "statements"),
        ("carol", "session-1", "recording"),
    ]
    world.clock.advance(301)
    await world.call("carol", "GET", path)
    assert len(views(world)) == 4


async def test_nobody_looks_unseen(world: ApiWorld) -> None:
    await world.session(await world.granted("alice"))
    headers = await world.bearer("carol")
    commit = world.store.commit

    async def failing(unit: object) -> object:
        from proxy.core.errors import Unavailable

        raise Unavailable("the store cannot be written")

    world.store.commit = failing  # type: ignore[method-assign, assignment]
    async with world.client() as client:
        for view in ("statements", "output", "recording"):
            answer = await client.get(f"/v1/sessions/session-1/{view}", headers=headers)
            assert answer.status_code == 503
    world.store.commit = commit  # type: ignore[method-assign]


async def test_the_raw_recording_streams(world: ApiWorld) -> None:
    await world.session(await world.granted("alice"))
    answer = await world.call("alice", "GET", "/v1/sessions/session-1/recording")
    assert answer.content == b"raw" * 100_000
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="session-1.tidegate"'


async def test_a_recording_on_another_machine_is_said_to_be_there(world: ApiWorld) -> None:
    await world.session(await world.granted("alice"), node="node-7")
    del world.recordings.held["session-1"]
    for view in ("statements", "output", "recording"):
        answer = await world.call("alice", "GET", f"/v1/sessions/session-1/{view}")
        assert answer.status_code == 404
        assert "node-7" in answer.json()["hint"]
    assert (await world.call("alice", "GET", "/v1/sessions/session-1")).json()["running"] is None


async def test_who_is_behind_a_process_of_the_target_is_found_by_its_pid(world: ApiWorld) -> None:
    grant = await world.granted("alice")
    await world.session(grant, "session-1", **SERVED)
    await world.session(grant, "session-2", served_by=ServedBy(OWN_PIDS + 7))
    (found,) = (await world.call("carol", "GET", "/v1/sessions?pid=4194304&live=1")).json()["items"]
    assert (found["id"], found["target_pid"]) == ("session-1", 4_194_304)
    assert found["backend_start"] == "2027-01-15T08:00:00.123Z"
    hidden = (await world.call("carol", "GET", "/v1/sessions/session-2")).json()
    assert (hidden["target_pid"], hidden["backend_start"]) == (None, None)  # a pid of ours is nobody's there
    assert (await world.call("carol", "GET", f"/v1/sessions?pid={OWN_PIDS + 7}")).status_code == 422
    assert (await world.call("carol", "GET", "/v1/sessions?pid=1")).json()["items"] == []
    for nobody in ("eve", "bob"):
        assert (await world.call(nobody, "GET", "/v1/sessions?pid=4194304")).json()["items"] == []


async def test_notes_page(world: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.api.recordings.NOTES_MOST", 2)
    session = await world.session(await world.granted("alice"))
    world.recordings.noted = [Noted(float(n), "warning", {"n": n}) for n in range(5)]
    found: list[int] = []
    path: str | None = f"/v1/sessions/{session.id}/notes"
    while path:
        page = (await world.call("carol", "GET", path)).json()
        found += [each["data"]["n"] for each in page["items"]]
        assert page["more"] is (page["next"] is not None)
        path = f"/v1/sessions/{session.id}/notes?after={page['next']}" if page["more"] else None
    assert found == [0, 1, 2, 3, 4]


async def test_a_recording_whose_time_was_up_is_said_to_be_deleted(world: ApiWorld) -> None:
    ended = {"status": SessionStatus.ENDED, "ended": world.clock.now(), "end_reason": EndReason.IDLE}
    session = await world.session(await world.granted("alice"), **ended)
    world.recordings.held.clear()
    path = f"/v1/sessions/{session.id}/statements"
    assert "ask the API there" in (await world.call("carol", "GET", path)).json()["hint"]
    world.facts = replace(world.facts, keep=3600.0)
    assert "ask the API there" in (await world.call("carol", "GET", path)).json()["hint"]
    world.clock.advance(3600)
    answer = await world.call("carol", "GET", path)
    assert answer.status_code == 404
    assert answer.json()["detail"] == "the recording was deleted: recordings are kept for 1h"
