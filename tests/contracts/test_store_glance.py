"""A glance at a store: its locks are read, and nothing is made or migrated."""

import asyncio
from pathlib import Path

import pytest

from proxy.adapters.store.glance import locks_in
from proxy.core.errors import Unavailable
from proxy.core.feed import Scope
from proxy.core.ports import Lock
from tests.contracts.conftest import Home


async def test_the_locks_are_read(sql_home: Home) -> None:
    lock = Lock(Scope.IDENTITY, "u1", "dave", "lunch", 1.5, name="alice", by_name="dave")
    with pytest.raises(Unavailable):
        await locks_in(sql_home.url)
    async with sql_home.open() as store:
        await store.commit(lambda writer: writer.put_lock(lock))
        assert await locks_in(sql_home.url) == [lock]
    assert await locks_in(sql_home.url) == [lock]


def test_nothing_is_made_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(locks_in(f"sqlite:///{tmp_path / 'none.db'}"))
    assert list(tmp_path.iterdir()) == []


async def test_a_store_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await locks_in("postgresql://nobody@127.0.0.1:1/none")
