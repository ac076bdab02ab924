"""Where a store can live: in memory, in a SQLite file, in a PostgreSQL database of its own.

``home`` runs a test once on each; ``sql_home`` on the two that are real. A ``Home`` opens any number of stores on
the same data, as processes would, each with a node name and a doorbell of its own.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.adapters.feed import open_feed
from proxy.adapters.store.opening import open_store
from proxy.core.ports import Doorbell, Feed, Store
from tests.fakes.clock import FakeClock
from tests.fakes.store import MemoryFeed, MemoryStore
from tests.peers.postgres import Cluster

Opener = Callable[..., AbstractAsyncContextManager[Store]]


@dataclass
class Home:
    """``execute`` runs SQL beside the program, as a person with the database's password would; ``lose`` takes the
    database away; ``disturb`` breaks what connections there are (nothing on SQLite, which has none)."""

    kind: str
    url: str
    clock: FakeClock
    memory: MemoryStore | None = None
    execute: Callable[[str], list[tuple[Any, ...]]] = lambda sql: []
    lose: Callable[[], None] = lambda: None
    disturb: Callable[[], None] = lambda: None

    def open(self, node: str = "node-1", bell: Doorbell | None = None) -> AbstractAsyncContextManager[Store]:
        return self.memory or open_store(self.url, node=node, clock=self.clock, bell=bell)

    def feed(self, bell: Path | None = None) -> AbstractAsyncContextManager[Feed]:
        return MemoryFeed(self.memory) if self.memory else open_feed(self.url, bell=bell)


def memory_home(clock: FakeClock) -> Iterator[Home]:
    yield Home("memory", "", clock, MemoryStore(clock))


def sqlite_home(clock: FakeClock, folder: Path) -> Iterator[Home]:
    path = folder / "store.db"

    def execute(sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return connection.execute(sql).fetchall()

    yield Home("sqlite", f"sqlite:///{path}", clock, execute=execute, lose=path.unlink)


def postgresql_home(clock: FakeClock, cluster: Cluster) -> Iterator[Home]:
    with cluster.fresh_database(template="template0") as name:

        def execute(sql: str) -> list[tuple[Any, ...]]:
            return cluster.execute(sql, user="owner", database=name)

        def disturb() -> None:
            query = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
            cluster.execute(query, database="postgres")

        def lose() -> None:
            cluster.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', database="postgres")
            disturb()

        # Without TLS: its parting words to a server that is gone may outlast a test's loop, and leave a socket.
        yield Home(
            "postgresql",
            cluster.uri("owner", name, sslmode="disable"),
            clock,
            execute=execute,
            lose=lose,
            disturb=disturb,
        )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[Home]:
    yield from _home(request, clock)


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_home(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[Home]:
    yield from _home(request, clock)


@pytest.fixture
def home_of_postgresql(clock: FakeClock, postgres15: Cluster) -> Iterator[Home]:
    yield from postgresql_home(clock, postgres15)


def _home(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[Home]:
    if request.param == "memory":
        yield from memory_home(clock)
    elif request.param == "sqlite":
        yield from sqlite_home(clock, request.getfixturevalue("tmp_path"))
    else:
        yield from postgresql_home(clock, request.getfixturevalue("postgres15"))
