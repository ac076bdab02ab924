"""Several stores on one database, as processes and nodes are: serialised, gap-free, not held up by a dead one."""

import asyncio
import fcntl
import os
import signal
import sys
from pathlib import Path

import pytest

from proxy.adapters.store.opening import open_store
from proxy.core.errors import PeerError
from proxy.core.events import LoggedIn
from proxy.core.feed import FeedKind, Scope
from proxy.core.ports import Page, Store, Writer
from proxy.core.states import REQUEST_TRANSITIONS, RequestStatus, step
from tests.contracts.conftest import Home
from tests.fakes.clock import FakeClock
from tests.fakes.things import a_grant, a_request, an_event

ROOT = Path(__file__).parents[2]


def log_in(writer: Writer) -> int:
    return writer.append(an_event(LoggedIn))


async def test_the_chain_holds_over_stores(sql_home: Home) -> None:
    async with sql_home.open("one") as one, sql_home.open("two") as two:

        async def many(store: Store) -> list[int]:
            return [await store.commit(log_in) for _ in range(30)]

        given = await asyncio.gather(*(many(store) for store in (one, two, one, two)))
        rows = await one.read(lambda r: r.trail_after(0))
        assert sorted(seq for each in given for seq in each) == [row.seq for row in rows] == list(range(1, 121))
        assert [row.previous for row in rows] == ["", *(row.digest for row in rows[:-1])]
        assert {row.node for row in rows} == {"one", "two"}
        assert await two.read(lambda r: r.trail_head()) == (120, rows[-1].digest)


async def test_two_stores_never_decide_on_the_same_state(sql_home: Home) -> None:
    """Both read "pending" and both approve: on READ COMMITTED without the head's lock both would succeed."""

    def approve(writer: Writer) -> None:
        request = writer.request("request-1")
        assert request is not None
        step(REQUEST_TRANSITIONS, request.status, RequestStatus.APPROVED)
        writer.put_request(a_request("request-1", status=RequestStatus.APPROVED))

    async with sql_home.open("one") as one, sql_home.open("two") as two:
        for _ in range(10):
            await one.commit(lambda w: w.put_request(a_request("request-1")))
            results = await asyncio.gather(one.commit(approve), two.commit(approve), return_exceptions=True)
            assert sorted(str(type(result)) for result in results) == sorted([str(type(None)), str(PeerError)])


async def test_a_reader_keeps_its_snapshot(sql_home: Home) -> None:
    """The gate's position and its facts must be of one moment."""
    async with sql_home.open("one") as one, sql_home.open("two") as two:

        async def revoke() -> None:
            for n in range(1, 40):
                await two.commit(
                    lambda w, n=n: (  # type: ignore[misc]
                        w.put_grant(a_grant("grant-1", revoked_reason=str(n))),
                        w.publish(FeedKind.REVOKED, Scope.GRANT, "grant-1"),
                    )
                )

        async with asyncio.TaskGroup() as tasks:
            revoking = tasks.create_task(revoke())
            while not revoking.done():
                position, grant = await one.read(lambda r: (r.feed_position(), r.grant("grant-1")))
                assert position == (int(grant.revoked_reason) if grant else 0)
                await asyncio.sleep(0)


async def test_a_killed_commit_leaves_nothing_and_holds_up_nobody(sql_home: Home) -> None:
    async with sql_home.open() as store:
        await store.commit(log_in)
        command = (sys.executable, "-m", "tests.contracts.victim", sql_home.url)
        victim = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
        try:
            assert await victim.wait() == -signal.SIGKILL
        finally:
            if victim.returncode is None:
                victim.kill()
                await victim.wait()
        assert await store.commit(log_in) == 2
        assert await store.read(lambda r: (r.grants(Page()), r.feed_position(), len(r.trail_after(0)))) == (
            [],
            0,
            2,
        )


async def test_what_waits_at_the_end_is_still_committed(sql_home: Home) -> None:
    async with sql_home.open() as store, asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(store.commit(log_in)) for _ in range(200)]
        await asyncio.sleep(0)
    assert [task.result() for task in waiting] == list(range(1, 201))


async def test_many_commits_share_few_transactions(tmp_path: Path) -> None:
    """Counted by the doorbell, which is rung once a transaction."""

    class Count:
        rung = 0

        def ring(self) -> None:
            self.rung += 1

    count = Count()
    async with open_store(f"sqlite:///{tmp_path / 'store.db'}", node="n", clock=FakeClock(), bell=count) as store:
        publish = [store.commit(lambda w: w.publish(FeedKind.KEYS, Scope.ALL, "")) for _ in range(128)]
        assert await asyncio.gather(*publish) == list(range(1, 129))
    assert 2 <= count.rung <= 3
    with pytest.raises(Exception, match="no changes"):
        await store.commit(log_in)


async def test_who_opens_a_file_waits_for_whoever_is_opening_it(tmp_path: Path) -> None:
    """A gateway's processes start at once: SQLite told some of them that the new file was locked, and the gateway
    ended. One in twelve starts of six processes did; so the mechanism is tested, not the luck."""

    async def started(name: str) -> tuple[int, str]:
        async with open_store(f"sqlite:///{tmp_path}/new.db", node=name, clock=FakeClock()) as store:
            return await store.read(lambda reader: reader.trail_head())

    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(started(f"node-{each}")) for each in range(4)]
        done, _ = await asyncio.wait(waiting, timeout=0.2)
        os.close(folder)
        assert not done
    assert [each.result() for each in waiting] == [(0, "")] * 4
