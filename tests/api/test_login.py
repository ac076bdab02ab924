"""Logging in: one answer for every no, bounded tries, and a trail that nobody can flood."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.api.throttle import Throttle
from proxy.core.feed import Scope
from proxy.core.ports import Lock
from tests.api.world import PASSWORD, ApiWorld
from tests.fakes.clock import FakeClock


async def tried(world: ApiWorld, user: str, password: str, source: str = "10.1.2.3") -> int:
    answer = await world.call("anonymous", "POST", "/v1/login", {"user": user, "password": password}, source)
    return answer.status_code


async def test_wrong_name_wrong_password_and_locked_get_one_answer(world: ApiWorld) -> None:
    await world.store.commit(lambda writer: writer.put_lock(Lock(Scope.IDENTITY, "eve", "dave", "x", 1.0)))
    answers = []
    for user, password in (("nobody", PASSWORD), ("alice", "wrong"), ("eve", PASSWORD)):
        answer = await world.call("anonymous", "POST", "/v1/login", {"user": user, "password": password})
        document = answer.json()
        document.pop("reference")
        answers.append((answer.status_code, document))
    assert answers[0][0] == 401
    assert answers[0] == answers[1] == answers[2]


async def test_a_login_is_in_the_trail(world: ApiWorld) -> None:
    assert await tried(world, "alice", PASSWORD) == 200
    assert await tried(world, "alice", "wrong") == 401
    told = [(row.kind, row.actor, row.body) for row in world.store.state.trail]
    assert told == [
        ("logged_in", "alice", {"source": "10.1.2.3"}),
        ("login_refused", "anonymous", {"name": "alice", "source": "10.1.2.3", "times": 1}),
    ]


async def test_many_refusals_become_two_events(world: ApiWorld) -> None:
    async with world.api.router.lifespan_context(world.api):
        for _ in range(5):
            assert await tried(world, "alice", "wrong") == 401
    refusals = [row.body["times"] for row in world.store.state.trail if row.kind == "login_refused"]
    assert refusals == [1, 4]


async def test_too_many_tries_at_one_name_wait_wherever_they_come_from(world: ApiWorld) -> None:
    for index in range(10):
        assert await tried(world, "alice", "wrong", f"10.0.0.{index}") == 401
    hashed = world.passwords.asked
    assert await tried(world, "alice", PASSWORD, "10.0.0.99") == 429
    assert world.passwords.asked == hashed
    assert await tried(world, "bob", PASSWORD, "10.0.0.99") == 200
    world.clock.advance(7)
    assert await tried(world, "alice", PASSWORD, "10.0.0.99") == 200


async def test_too_many_tries_from_one_source_wait_whatever_the_name(world: ApiWorld) -> None:
    for index in range(20):
        assert await tried(world, f"name-{index}", "wrong") == 401
    assert await tried(world, "bob", PASSWORD) == 429
    assert await tried(world, "bob", PASSWORD, "10.9.9.9") == 200


async def test_log_ins_that_were_not_tried_are_one_event(world: ApiWorld) -> None:
    async with world.api.router.lifespan_context(world.api):
        for _ in range(20):
            await tried(world, "alice", "wrong")
    throttled = [row.body for row in world.store.state.trail if row.kind == "logins_throttled"]
    assert throttled == [{"name": "alice", "source": "10.1.2.3", "times": 10}]


async def test_429_says_when(world: ApiWorld) -> None:
    for _ in range(10):
        await tried(world, "alice", "wrong")
    answer = await world.call("anonymous", "POST", "/v1/login", {"user": "alice", "password": PASSWORD})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert world.metrics.counts[("tidegate_logins_total", "throttled")] == 1


async def test_only_so_many_wait_for_a_hash_at_once(world: ApiWorld) -> None:
    held, release = asyncio.Event(), asyncio.Event()
    waiting = 0

    async def slow(name: str, password: str) -> bool:
        nonlocal waiting
        waiting += 1
        if waiting == 32:
            held.set()
        await release.wait()
        return True

    world.passwords.verify = slow  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as tasks:
        for index in range(32):
            tasks.create_task(tried(world, f"n{index}", PASSWORD, f"10.0.1.{index}"))
        await held.wait()
        late = await tried(world, "alice", PASSWORD)
        release.set()
    assert late == 429
    assert await tried(world, "alice", PASSWORD) == 200


async def test_logging_out_ends_this_login_and_no_other(world: ApiWorld) -> None:
    first, second = await world.bearer("alice"), await world.bearer("alice")
    async with world.client() as client:
        assert (await client.post("/v1/logout", headers=first)).status_code == 204
        assert (await client.get("/v1/me", headers=first)).status_code == 401
        assert (await client.get("/v1/me", headers=second)).status_code == 200


async def test_a_lock_and_a_removal_end_a_login_at_once(world: ApiWorld) -> None:
    alice, eve = await world.bearer("alice"), await world.bearer("eve")
    await world.store.commit(lambda writer: writer.put_lock(Lock(Scope.IDENTITY, "eve", "dave", "x", 1.0)))
    world.reload(without="alice")
    async with world.client() as client:
        assert (await client.get("/v1/me", headers=alice)).status_code == 401
        assert (await client.get("/v1/me", headers=eve)).status_code == 401


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 20)), max_size=60))
def test_no_more_than_the_burst_and_one_every_so_often_gets_through(tries: list[tuple[str, float]]) -> None:
    clock = FakeClock()
    throttle = Throttle(clock, burst=3, every=5.0)
    start, passed = clock.monotonic(), dict.fromkeys("abc", 0)
    for key, pause in tries:
        clock.advance(pause)
        if throttle.wait_for(key) == 0:
            throttle.spend(key)
            passed[key] += 1
    assert all(count <= 3 + (clock.monotonic() - start) / 5.0 + 1e-6 for count in passed.values())


def test_the_wait_is_how_long_it_takes() -> None:
    clock = FakeClock()
    throttle = Throttle(clock, burst=1, every=5.0)
    throttle.spend("a")
    wait = throttle.wait_for("a")
    assert wait == pytest.approx(5.0)
    clock.advance(wait + 0.001)
    assert throttle.wait_for("a") == 0


def test_memory_is_bounded() -> None:
    throttle = Throttle(FakeClock(), burst=1, every=5.0, keys=10)
    for index in range(1000):
        throttle.spend(str(index))
    assert len(throttle) == 10
    assert throttle.wait_for("999") > 0
