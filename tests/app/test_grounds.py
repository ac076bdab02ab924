"""Every ground on which a worker admits nobody is made true: whoever refuses on it does, and readiness says so."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog

from proxy.api.readiness import look, reasons
from proxy.api.services import Facts
from proxy.app.api import own_grounds
from proxy.app.worker import grounds_of
from proxy.core.errors import Unavailable
from proxy.core.events import LoggedIn
from proxy.core.grounds import GATE, NO_KEY, WORDS, Ground, told
from proxy.recording.recorder import FileRecordings
from proxy.sessions import holdings
from proxy.sessions.grounds import Grounds
from proxy.sessions.presence import SKEW, Presence
from proxy.sessions.trail_guard import EVERY, TrailGuard
from tests.access.world import world as access_world
from tests.api.world import api_world
from tests.audit.trails import PUBLIC, sign
from tests.fakes.clock import FakeClock
from tests.fakes.heads import FakeHeadMemory
from tests.fakes.store import MemoryFeed, MemoryStore
from tests.sessions.test_holdings import Figure
from tests.sessions.test_kernel import SETTINGS, World, a_world

NODE = "tide-1-0"


@dataclass
class Bench:
    """The parts of a worker, and a clock of its machine that is apart from the store's."""

    world: World
    clock: FakeClock
    memory: FakeHeadMemory
    guard: TrailGuard
    presence: Presence
    recordings: FileRecordings
    grounds: Grounds
    patching: pytest.MonkeyPatch

    @property
    def store(self) -> MemoryStore:
        return self.world.store

    async def told(self) -> list[str]:
        """What readiness says, once the node has given two signs of life: what it learns with the first (the
        store's clock, a twin), it says with the second."""
        self.pass_(EVERY)
        for _ in range(2):
            await self.guard.beat()
            await self.presence.beat()
        found = await self.store.read(look)
        return reasons(found, "digest", Facts(machine="tide-1"), found.store_now)

    def pass_(self, seconds: float) -> None:
        """Time passes, here and at the store."""
        self.clock.advance(seconds)
        if self.world.clock is not self.clock:
            self.world.clock.advance(seconds)


@contextlib.asynccontextmanager
async def a_bench(folder: Path) -> AsyncIterator[Bench]:
    with pytest.MonkeyPatch.context() as patching:
        async with a_world(SETTINGS) as world:
            clock, memory = FakeClock(world.clock.now()), FakeHeadMemory()
            watch = world.services.watch
            log = structlog.get_logger()
            guard = TrailGuard(world.store, memory, PUBLIC, clock, log)
            presence = Presence(
                world.store, clock, watch, NODE, clock.now(), lambda: "digest", log, lambda: grounds.all()
            )
            recordings = FileRecordings(folder, clock, min_free=1)
            recordings.start()
            grounds = grounds_of(watch, presence, guard, recordings, world.kernel)
            await guard.look()
            await presence.arrive("0")
            try:
                yield Bench(world, clock, memory, guard, presence, recordings, grounds, patching)
            finally:
                recordings.stop()


async def not_fresh(bench: Bench) -> None:
    """The feed hangs for longer than the lease; the store still takes signs of life."""

    async def hangs(_: MemoryFeed, seq: int) -> None:
        await asyncio.Event().wait()

    bench.patching.setattr(MemoryFeed, "after", hangs)
    await bench.store.commit(lambda writer: writer.append(LoggedIn("alice", "")))  # who waits for one looks again
    for _ in range(3):
        await asyncio.sleep(0)
    bench.pass_(3600)


async def clock_differs(bench: Bench) -> None:
    bench.clock.jump(SKEW + 1)


async def twin(bench: Bench) -> None:
    state = bench.store.state
    state.nodes[NODE] = replace(state.nodes[NODE], started=1.0)


async def store_older(bench: Bench) -> None:
    """Signed, and put back to before."""
    from proxy.audit.signing import Signing

    signing = Signing(sign, PUBLIC, bench.memory)
    older = bench.store.state.copy()
    await bench.store.commit(lambda writer: writer.append(LoggedIn("alice", "")))
    signed = await bench.store.commit(signing.unit)
    assert signed.head is not None
    signing.keep(signed.head)
    bench.store.state = older


async def disk_is_full(bench: Bench) -> None:
    bench.patching.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))


async def memory_is_short(bench: Bench) -> None:
    bench.patching.setattr(holdings, "REFUSING", 0.0)
    bench.world.services.holdings.survey([Figure(1 << 40, 1 << 40, held=1 << 40)])


async def closed(bench: Bench) -> None:
    bench.world.kernel.drain(3600)


MAKERS: Mapping[Ground, Callable[[Bench], object]] = {
    Ground.NOT_FRESH: not_fresh,
    Ground.CLOCK_DIFFERS: clock_differs,
    Ground.TWIN: twin,
    Ground.STORE_OLDER: store_older,
    Ground.RECORDER: disk_is_full,
    Ground.MEMORY: memory_is_short,
    Ground.CLOSED: closed,
}


def test_each_ground_is_made_true_here() -> None:
    assert set(MAKERS) == set(Ground) == set(WORDS)


async def test_a_worker_that_admits_is_ready(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        assert await bench.told() == []
        assert bench.grounds.first() is None


@pytest.mark.parametrize("ground", Ground)
async def test_readiness_says_so_and_who_refuses_does(tmp_path: Path, ground: Ground) -> None:
    async with a_bench(tmp_path) as bench:
        await MAKERS[ground](bench)  # type: ignore[misc]
        assert told(NODE, ground) in await bench.told()
        if ground in GATE:
            assert bench.grounds.first() is ground
            await refused_by_the_gate(bench)
        elif ground is Ground.RECORDER:
            with pytest.raises(Unavailable) as error:
                bench.recordings.open("sess-1", {})
            assert error.value.code == "recorder_failed"
        elif ground is Ground.MEMORY:
            with pytest.raises(Unavailable) as error:
                bench.world.services.holdings.check()
            assert error.value.code == ground
        else:
            assert bench.world.kernel.closed()


async def refused_by_the_gate(bench: Bench) -> None:
    """As the worker gives the ground to its gate."""
    from tests.access.test_gate import admit, plain

    a = access_world()
    text, asked = await plain(a)
    await admit(a, text, asked)
    a.ground = bench.grounds.first()
    with pytest.raises(Unavailable):
        await admit(a, text, asked)


async def test_a_worker_admits_again_when_the_store_goes_on_under_a_new_origin(tmp_path: Path) -> None:
    from proxy.audit.signing import Signing
    from proxy.core.ports import Writer

    async with a_bench(tmp_path) as bench:
        await store_older(bench)
        assert any(WORDS[Ground.STORE_OLDER] in each for each in await bench.told())
        signing = Signing(sign, PUBLIC, bench.memory)

        def restore(writer: Writer) -> None:
            signing.restore(writer, ("dave", "dave"), "the disk broke")
            signing.seal(writer)

        await bench.store.commit(restore)  # by another host: nothing is remembered here
        bench.guard.look_soon()
        await bench.guard.beat()
        assert bench.grounds.first() is None


async def test_a_ground_is_told_at_once_and_so_is_its_end(tmp_path: Path) -> None:
    """Not with the next sign of life that is due."""
    async with a_bench(tmp_path) as bench:
        await bench.presence.keep()
        with pytest.MonkeyPatch.context() as patching:
            patching.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))
            bench.pass_(1.0)
            await bench.presence.keep()
            assert bench.store.state.nodes[NODE].refuses == (Ground.RECORDER,)
        bench.pass_(1.0)
        await bench.presence.keep()
        assert bench.store.state.nodes[NODE].refuses == ()


async def test_a_memory_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        await store_older(bench)
        await bench.told()

        def broken() -> None:
            raise Unavailable("the keys cannot be used")

        bench.patching.setattr(bench.memory, "newest", broken)
        bench.guard.look_soon()
        with pytest.raises(Unavailable):
            await bench.guard.beat()
        assert bench.guard.holds()


async def test_nobody_is_admitted_before_the_store_was_looked_at() -> None:
    guard = TrailGuard(MemoryStore(), FakeHeadMemory(), PUBLIC, FakeClock(), structlog.get_logger())
    assert guard.holds()
    await guard.look()
    assert not guard.holds()


def test_a_ground_of_a_newer_node_is_shown_as_it_is() -> None:
    assert told("tide-2-0", "too_hot") == "tide-2-0 admits nobody: too_hot"


async def test_nodes_elsewhere_make_this_machine_unready_only_where_none_is_here(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        await bench.presence.beat()
        found = await bench.store.read(look)
        here = found.nodes[0]
        there = replace(here, id="tide-2-0", host="tide-2", refuses=("twin",))

        def why(machine: str, *nodes: object) -> list[str]:
            facts = Facts(machine=machine)
            return reasons(replace(found, nodes=nodes), "digest", facts, found.store_now)  # type: ignore[arg-type]

        assert why("tide-1", here, there) == []
        assert why("tide-3", here, there) == []
        assert why("tide-3", there) == [told("tide-2-0", "twin")]
        assert why("tide-2", here, there) == [told("tide-2-0", "twin")]


# -- the API's own


@pytest.mark.parametrize(
    ("key", "wrong", "why"),
    [
        (True, "", []),
        (False, "", [NO_KEY]),
        (True, "row 4 is not what was signed", [WORDS[Ground.STORE_OLDER]]),
    ],
)
async def test_an_api_that_gives_nobody_a_token_is_not_ready(key: bool, wrong: str, why: list[str]) -> None:
    def current() -> None:
        if not key:
            raise Unavailable("tokens cannot be signed now")

    foundation = SimpleNamespace(keys=SimpleNamespace(current=current))
    assert own_grounds(foundation, SimpleNamespace(wrong=wrong)) == why  # type: ignore[arg-type]
    world = api_world()
    world.own_grounds = why
    await world.node()
    answer = await world.call("anonymous", "GET", "/readyz")
    assert answer.status_code == (503 if why else 200), answer.text
    assert answer.json()["reasons"] == why
