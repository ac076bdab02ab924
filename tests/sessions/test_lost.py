"""Sessions of nodes that never come back, and nodes that were only thought to be gone."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from proxy.access.drains import drain
from proxy.core.errors import Unavailable
from proxy.core.feed import FeedItem, Scope
from proxy.core.ports import Node, Page
from proxy.core.sessions import SessionRecord
from proxy.core.states import EndReason, SessionStatus
from proxy.core.vocabulary import HEARD
from proxy.sessions.lost import SILENT_LEASES, Lost
from proxy.sessions.presence import LISTENED, SKEW, Presence
from proxy.sessions.registry import Registry
from proxy.sessions.watch import Watch
from tests.fakes.clock import FakeClock
from tests.fakes.store import MemoryStore
from tests.fakes.things import ENDED, a_session

LEASE = 10.0
SILENCE = SILENT_LEASES * LEASE


class Silent:
    def error(self, *_: object, **__: object) -> None: ...


class NoFeed:
    async def wait(self) -> None: ...

    async def after(self, seq: int) -> list[FeedItem]:
        return []


def a_node(id: str, heartbeat: float) -> Node:
    return Node(id, "host", heartbeat, heartbeat, 0, "digest")


class Cluster:
    """A store with nodes and sessions; ``lost()`` is one worker's look, as ``node-1``."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.known: set[str] = set()

    def lost(self, node: str = "node-1") -> Lost:
        return Lost(self.store, self.clock, node, LEASE, lambda: self.known, lambda key: f"digest of {key}")

    async def put(self, *things: Node | SessionRecord) -> None:
        def unit(writer: Any) -> None:
            for each in things:
                writer.put_node(each) if isinstance(each, Node) else writer.put_session(each)

        await self.store.commit(unit)

    async def session(self, id: str = "session-000001") -> SessionRecord:
        found = await self.store.read(lambda reader: reader.session(id))
        assert found is not None
        return found

    def told(self) -> list[dict[str, Any]]:
        return [dict(row.body) for row in self.store.state.trail if row.kind == "session_ended"]

    def an_old_session(self, **changes: Any) -> SessionRecord:
        return a_session(**{"started": self.clock.now(), **changes})


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.mark.parametrize("row", [True, False], ids=["silent", "absent"])
async def test_a_session_of_a_node_that_is_gone_is_ended_with_its_event(cluster: Cluster, row: bool) -> None:
    await cluster.put(cluster.an_old_session(node="gone-0"))
    if row:
        await cluster.put(a_node("gone-0", cluster.clock.now()))
    cluster.clock.advance(SILENCE + 1)
    await cluster.put(a_node("node-1", cluster.clock.now()))
    await cluster.lost().look()
    record = await cluster.session()
    assert (record.status, record.end_reason) == (SessionStatus.ENDED, EndReason.NODE_LOST)
    assert record.recording_digest == f"digest of {record.recording}"
    (event,) = cluster.told()
    assert (event["session"], event["end_reason"]) == (record.id, "node_lost")
    assert set(cluster.store.state.nodes) == {"node-1"}


async def test_several_workers_may_find_the_same_at_once(cluster: Cluster) -> None:
    await cluster.put(cluster.an_old_session(node="gone-0"), a_node("gone-0", cluster.clock.now()))
    cluster.clock.advance(SILENCE + 1)
    await cluster.put(a_node("node-1", cluster.clock.now()), a_node("node-2", cluster.clock.now()))
    await asyncio.gather(cluster.lost("node-1").look(), cluster.lost("node-2").look())
    assert len(cluster.told()) == 1


async def test_who_is_there_is_left_alone(cluster: Cluster) -> None:
    cluster.known = {"session-000002"}
    await cluster.put(
        cluster.an_old_session(node="node-2"), cluster.an_old_session(id="session-000002", node="node-1")
    )
    cluster.clock.advance(SILENCE + 1)
    await cluster.put(
        a_node("node-2", cluster.clock.now() - LEASE),
        a_session("session-000003", node="just-come", started=cluster.clock.now()),
    )
    await cluster.lost().look()
    assert not cluster.told()
    assert set(cluster.store.state.nodes) == {"node-2"}


async def test_a_row_of_this_node_that_it_knows_nothing_of_is_ended(cluster: Cluster) -> None:
    """A start that was kept after all, or an end that was too many to remember."""
    await cluster.put(cluster.an_old_session(node="node-1"))
    cluster.clock.advance(SILENCE + 1)
    await cluster.put(a_node("node-1", cluster.clock.now()))
    await cluster.lost().look()
    assert [each["end_reason"] for each in cluster.told()] == ["node_lost"]


async def test_what_ended_meanwhile_keeps_its_own_end(cluster: Cluster) -> None:
    await cluster.put(cluster.an_old_session(node="gone-0"))
    cluster.clock.advance(SILENCE + 1)
    live = await cluster.session()
    await cluster.put(a_session(**ENDED))
    await cluster.lost().bury([live], "its node is gone")
    assert (await cluster.session()).end_reason is EndReason.GRANT_REVOKED
    assert not cluster.told()


async def test_a_node_that_is_back_by_then_keeps_its_sessions(cluster: Cluster) -> None:
    await cluster.put(cluster.an_old_session(node="late-0"))
    live = await cluster.session()
    await cluster.put(a_node("late-0", cluster.clock.now()))
    await cluster.lost().bury([live], "its node is gone")
    assert (await cluster.session()).status is SessionStatus.LIVE


async def test_a_thousand_are_found_a_few_at_a_time(cluster: Cluster) -> None:
    await cluster.put(*(cluster.an_old_session(id=f"session-{number:06}", node="gone-0") for number in range(120)))
    cluster.clock.advance(SILENCE + 1)
    lost = cluster.lost()
    for _ in range(3):
        await lost.look()
    assert len(cluster.told()) == 120
    assert not await cluster.store.read(lambda reader: reader.sessions(Page(), live=True))


# -- this node's own word


class Kept:
    id = "s1"

    def __init__(self) -> None:
        self.reasons: list[EndReason] = []

    def end(self, reason: EndReason, detail: str = "", requested: float | None = None) -> None:
        self.reasons.append(reason)

    def extend(self, item: FeedItem) -> None: ...


def presence(cluster: Cluster, clock: FakeClock | None = None) -> tuple[Presence, Kept]:
    clock = clock or cluster.clock
    watch = Watch(NoFeed(), Registry(), clock, LEASE, 0)
    kept = Kept()
    watch.registry.file(kept, Scope.GRANT, "g1")
    digest: Callable[[], str] = lambda: "digest"  # noqa: E731
    return Presence(cluster.store, clock, watch, "node-1", clock.now(), digest, Silent()), kept


async def test_a_node_that_was_taken_for_lost_cuts_what_it_still_has(cluster: Cluster) -> None:
    here, session = presence(cluster)
    await here.arrive("0")
    await here.beat()
    assert not session.reasons
    cluster.clock.advance(SILENCE + 1)
    await cluster.lost("node-2").look()
    assert not cluster.store.state.nodes
    await here.beat()
    assert session.reasons == [EndReason.STORE_LOST]
    assert set(cluster.store.state.nodes) == {"node-1"}
    await here.beat()
    assert len(session.reasons) == 1


async def test_a_node_hears_that_it_is_to_drain_and_forgets_it_with_its_life(cluster: Cluster) -> None:
    here, _ = presence(cluster)
    await here.arrive("0")
    assert here.drains_in is None
    await drain(cluster.store, "dave", "", 600.0)
    assert here.drains_in is None
    await here.beat()
    assert here.drains_in == 600.0
    cluster.clock.advance(100)
    await here.beat()
    assert here.drains_in == 500.0
    await drain(cluster.store, "dave", "node-1", 1.0)
    await here.beat()
    assert here.drains_in == 1.0
    cluster.store.state.nodes.clear()  # taken for lost: its listeners are closed all the same
    await here.beat()
    assert cluster.store.state.nodes["node-1"].drains > 0
    cluster.clock.advance(1)
    again, _ = presence(cluster)
    await again.arrive("0")
    assert (again.drains_in, cluster.store.state.nodes["node-1"].drains) == (None, 0.0)


@pytest.mark.parametrize("seconds", [SKEW + 1, -SKEW - 1])
async def test_a_node_whose_clock_is_wrong_admits_nobody(cluster: Cluster, seconds: float) -> None:
    clock = FakeClock()
    here, _ = presence(cluster, clock)
    await here.arrive("0")
    assert here.synchronous and here.alone
    clock.jump(seconds)
    await here.beat()
    assert not (here.synchronous and here.alone)
    clock.jump(-seconds)
    await here.beat()
    assert here.synchronous and here.alone


async def test_a_node_that_starts_with_a_wrong_clock_admits_nobody(cluster: Cluster) -> None:
    clock = FakeClock()
    here, _ = presence(cluster, clock)
    clock.jump(SKEW + 1)
    await here.arrive("0")
    assert not (here.synchronous and here.alone)


@pytest.fixture
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.sessions.presence.LISTENED", 0.1)


async def test_a_sign_of_life_is_given_every_two_seconds_and_again_where_it_failed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = presence(cluster)
    await here.arrive("1")
    beats: list[float] = []
    fails = [False]

    async def beat() -> None:
        beats.append(cluster.clock.monotonic())
        if fails[0]:
            raise Unavailable("the store is away")

    monkeypatch.setattr(here, "beat", beat)
    for _ in range(6):
        await here.keep()
        cluster.clock.advance(1)
    assert len(beats) == 3
    here._watch.position += 1
    cluster.clock.advance(-1)
    await here.keep()
    assert len(beats) == 4, "others wait to hear how far the feed was read"
    beats.clear()
    cluster.clock.advance(5)
    fails[0] = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            await here.keep()
        cluster.clock.advance(1)
    assert len(beats) == 3


async def test_a_name_that_somebody_beats_under_is_not_taken(cluster: Cluster, in_no_time: None) -> None:
    there, _ = presence(cluster)
    await there.arrive("0")
    cluster.clock.advance(1)
    here, _ = presence(cluster)
    async with asyncio.TaskGroup() as tasks:
        claimed = tasks.create_task(refused(here))
        await asyncio.sleep(0.02)
        cluster.clock.advance(1)
        await there.beat()
    assert "another gateway runs as node-1" in claimed.result()


async def refused(here: Presence) -> str:
    with pytest.raises(Unavailable) as error:
        await here.claim(0.0)
    return str(error.value)


async def test_a_name_is_free_where_nobody_beats_or_it_was_our_own(cluster: Cluster, in_no_time: None) -> None:
    here, _ = presence(cluster)
    await here.claim(0.0)
    await cluster.put(a_node("node-1", cluster.clock.now()))
    await here.claim(0.0)  # dead: it was heard of once


async def test_our_own_life_before_is_not_listened_for(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.sessions.presence.LISTENED", 3600.0)
    here, _ = presence(cluster)
    now = cluster.clock.now()
    await cluster.put(a_node("node-1", now))
    async with asyncio.timeout(5):
        await here.claim(now)


async def test_who_has_not_been_heard_of_for_long_is_not_listened_for(cluster: Cluster) -> None:
    here, _ = presence(cluster)
    await cluster.put(a_node("node-1", cluster.clock.now()))
    cluster.clock.advance(HEARD)
    async with asyncio.timeout(LISTENED / 2):
        await here.claim(0.0)


async def test_two_of_one_name_admit_nobody_until_one_has_gone(cluster: Cluster) -> None:
    here, _ = presence(cluster)
    await here.arrive("0")
    cluster.clock.advance(1)
    there, _ = presence(cluster)
    await there.arrive("0")
    await here.beat()
    await there.beat()
    assert not (here.synchronous and here.alone)
    assert not there.alone
    await here.beat()
    cluster.clock.advance(LISTENED)
    await here.beat()
    assert here.synchronous and here.alone


async def test_what_a_twin_has_ended_is_cut_and_the_rest_goes_on(cluster: Cluster) -> None:
    here, session = presence(cluster)
    await here.arrive("0")
    await cluster.put(cluster.an_old_session(id="s1", node="node-1"))
    cluster.clock.advance(1)
    there, _ = presence(cluster)
    await there.arrive("0")
    await here.beat()
    assert not session.reasons
    await cluster.put(replace(await cluster.session("s1"), **ENDED))
    await there.beat()
    await here.beat()
    assert session.reasons == [EndReason.STORE_LOST]


async def test_who_leaves_is_gone(cluster: Cluster) -> None:
    here, _ = presence(cluster)
    await here.arrive("0")
    await here.leave()
    assert not cluster.store.state.nodes
    assert [row.kind for row in cluster.store.state.trail] == ["gateway_started", "gateway_stopped"]
