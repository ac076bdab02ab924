"""What a later version stored is shown as it is, by every list and page that has it: no answer is a 500."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog

from proxy.core.access import Approval, Considered, Outcome
from proxy.core.feed import Effect, FeedItem, FeedKind, Scope
from proxy.core.ports import Lock
from proxy.core.sessions import CutReceipt, SessionRecord, Totals
from proxy.core.states import EndReason, RequestStatus, SessionStatus
from proxy.core.trail import TrailRow
from tests.api.world import ApiWorld

LATER = {"later": [1, {"deep": None}]}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


async def shown(world: ApiWorld, path: str, by: str = "carol") -> Any:
    answer = await world.call(by, "GET", path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def paused(record: SessionRecord) -> SessionRecord:
    return replace(
        record,
        status=SessionStatus("paused"),
        end_reason=EndReason("quota"),
        ended=record.started + 1,
        totals=Totals(1, 2, 3, 4, newer=LATER),
        receipt=CutReceipt(record.started, record.started, newer=LATER),
    )


async def test_a_session_and_its_lists(world: ApiWorld) -> None:
    record = paused(await world.session(await world.granted()))
    await world.store.commit(lambda writer: writer.put_session(record))
    for found in (
        await shown(world, f"/v1/sessions/{record.id}"),
        (await shown(world, "/v1/sessions"))["items"][0],
    ):
        assert (found["status"], found["end_reason"]) == ("paused", "quota")
        assert found["totals"] == {"bytes_in": 1, "bytes_out": 2, "statements": 3, "failed": 4}
    assert (await shown(world, "/v1/sessions?live=true"))["items"] == []


async def test_a_request_and_its_lists(world: ApiWorld) -> None:
    made = await world.pending()
    decision = replace(
        made.decision, outcome=Outcome("perhaps"), newer=LATER, trace=(Considered("r", True, "w", LATER),)
    )
    later = replace(
        made,
        status=RequestStatus("second_stage"),
        decision=decision,
        approvals=(Approval("bob", True, made.created, newer=LATER),),
    )
    await world.store.commit(lambda writer: writer.put_request(later))
    for found in (
        await shown(world, f"/v1/requests/{made.id}"),
        (await shown(world, "/v1/requests"))["items"][0],
    ):
        assert (found["status"], found["decision"]["outcome"]) == ("second_stage", "perhaps")
        assert [each["by"] for each in found["approvals"]] == ["bob"]


async def test_a_lock_and_an_event(world: ApiWorld) -> None:
    await world.store.commit(lambda writer: writer.put_lock(Lock(Scope("team"), "red", "dave", "", 1.0)))
    assert [each["scope"] for each in (await shown(world, "/v1/locks"))["items"]] == ["team"]
    row = world.store.state.trail[-1]
    assert isinstance(row, TrailRow)
    world.store.state.trail.append(replace(row, seq=row.seq + 1, kind="trail_witnessed", body=LATER))
    assert (await shown(world, "/v1/audit/events?kind=trail_witnessed"))["items"][0]["body"] == LATER


@pytest.mark.parametrize(
    ("scope", "key", "touched"),
    [
        ("team", "red", True),
        ("all", "", True),
        ("node", "node-1", True),
        ("node", "node-2", False),
        ("identity", "alice", True),
        ("identity", "eve", False),
        ("token", "jti", False),
    ],
)
async def test_how_far_an_end_has_got_that_a_later_version_ordered(
    world: ApiWorld, scope: str, key: str, touched: bool
) -> None:
    record = await world.session(await world.granted())
    state = world.store.state
    at = world.clock.now() + 1
    state.published += 1
    ends = Effect.ENDS
    state.feed.append(FeedItem(state.published, at, FeedKind("paused"), Scope(scope), key, "dave", effect=ends))
    found = await shown(world, f"/v1/revocations/{state.published}", by="dave")
    assert (found["scope"], [each["session"] for each in found["live"]]) == (scope, [record.id] * touched)
    informs = replace(state.feed[-1], seq=state.published + 1, effect=Effect.INFORMS)
    state.feed.append(informs)
    assert (await world.call("dave", "GET", f"/v1/revocations/{informs.seq}")).status_code == 404
