"""Long work in a process of its own: done, failed, died, given up; and nothing is left behind."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.core.errors import Unavailable
from proxy.sessions import workshop
from proxy.sessions.workshop import LONG, Workshop
from tests.fakes import work


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[Workshop]:
    shop = Workshop()
    yield shop
    shop.close()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def pid_of(shop: Workshop, data: bytes = b"") -> int:
    pid = await shop.do(work.pid, data)
    assert isinstance(pid, int)
    return pid


async def test_work_is_done_elsewhere_by_one_process(shop: Workshop) -> None:
    data = os.urandom(5_000_000)
    assert await shop.do(work.reverses, data) == data[::-1]
    pids = {await pid_of(shop) for _ in range(3)}
    assert len(pids) == 1 and os.getpid() not in pids


async def test_short_work_never_waits_for_long_work(shop: Workshop, tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        long = tasks.create_task(shop.do(partial(work.until_there, str(tmp_path / "go")), b"x" * LONG))
        assert await shop.do(work.reverses, b"ab") == b"ba"
        assert not long.done()
        (tmp_path / "go").touch()
    assert long.result() == LONG


async def test_what_fails_fails_without_a_word_of_what_it_was_given(shop: Workshop) -> None:
    with pytest.raises(Unavailable) as caught:
        await shop.do(work.fails, b"hunter2")
    assert "hunter2" not in repr(caught.value) + caught.value.detail + caught.value.public
    assert await shop.do(work.reverses, b"ab") == b"ba"


async def test_when_the_process_dies_the_work_fails_and_the_next_is_done(shop: Workshop) -> None:
    for _ in range(2):
        with pytest.raises(Unavailable):
            await shop.do(work.dies, b"")
        assert await shop.do(work.reverses, b"ab") == b"ba"
    os.kill(await pid_of(shop), signal.SIGKILL)
    with pytest.raises(Unavailable):
        await shop.do(work.reverses, b"ab")


async def test_what_takes_too_long_is_given_up(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    await pid_of(shop)
    monkeypatch.setattr(workshop, "PATIENCE", 0.05)
    with pytest.raises(Unavailable):
        await shop.do(partial(work.until_there, "/nowhere/at/all"), b"")
    monkeypatch.setattr(workshop, "PATIENCE", 60.0)
    assert await shop.do(work.reverses, b"ab") == b"ba"


async def test_who_does_not_wait_any_more_leaves_no_answer_to_the_next(shop: Workshop) -> None:
    first = await pid_of(shop)
    async with asyncio.TaskGroup() as tasks:
        given_up = tasks.create_task(shop.do(partial(work.until_there, "/nowhere/at/all"), b""))
        await asyncio.sleep(0)
        given_up.cancel()
    assert given_up.cancelled()
    assert await shop.do(work.reverses, b"ab") == b"ba"
    assert gone(first)


async def test_no_process_is_left(shop: Workshop) -> None:
    pids = [await pid_of(shop), await pid_of(shop, b"x" * LONG)]
    assert len(set(pids)) == 2
    shop.close()
    assert all(gone(pid) for pid in pids)
