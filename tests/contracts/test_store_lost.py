"""A database that is away, in the way, or not ours: always ``Unavailable``, soon, and well again afterwards."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from proxy.adapters.store import migrate
from proxy.adapters.store.opening import open_store
from proxy.adapters.store.sqlite import SqliteDatabase
from proxy.adapters.store.store import SqlStore
from proxy.core.errors import PeerError, Unavailable
from proxy.core.events import LoggedIn
from proxy.core.ports import Page, Viewer, Writer
from tests.contracts.conftest import Home
from tests.fakes.clock import FakeClock
from tests.fakes.things import T0, a_decision, a_grant, a_request, an_event

NEWER = "9999"


def log_in(writer: Writer) -> int:
    return writer.append(an_event(LoggedIn))


async def test_a_lost_database_is_unavailable(sql_home: Home) -> None:
    async with sql_home.open() as store:
        await store.commit(log_in)
        sql_home.lose()
        for attempt in (store.commit(log_in), store.read(lambda r: r.trail_head()), store.commit(log_in)):
            with pytest.raises(Unavailable) as refused:
                await attempt
            assert refused.value.code == "store_lost"
            assert refused.value.public == "the store cannot be reached"


async def test_a_group_that_loses_its_database_is_told_to_all(sql_home: Home) -> None:
    async with sql_home.open() as store:
        await store.commit(log_in)
        sql_home.lose()
        results = await asyncio.gather(*(store.commit(log_in) for _ in range(5)), return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable] * 5


async def test_the_store_is_well_again_after_its_connections_broke(sql_home: Home) -> None:
    async with sql_home.open() as store:
        for expected in range(1, 4):
            sql_home.disturb()
            async with asyncio.timeout(20):
                while True:
                    with suppress(Unavailable):
                        assert await store.commit(log_in) == expected
                        break
        sql_home.disturb()
        assert (await store.read(lambda r: r.trail_head()))[0] == 3


async def test_tls_is_a_word_of_the_url(home_of_postgresql: Home) -> None:
    home_of_postgresql.url = home_of_postgresql.url.replace("sslmode=disable", "sslmode=require")
    async with home_of_postgresql.open() as store, home_of_postgresql.feed() as feed:
        await store.commit(log_in)
        assert await feed.after(0) == []
        ((count,),) = home_of_postgresql.execute(
            "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE ssl AND datname = current_database() AND application_name LIKE 'tidegate %'"
        )
    assert count == 2


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:1/none", "sqlite:////nonexistent/folder/store.db"])
async def test_a_database_that_is_not_there_cannot_be_opened(url: str) -> None:
    with pytest.raises(Unavailable):
        async with open_store(url, node="n", clock=FakeClock()):
            pass


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "store.db"])
def test_only_two_kinds_of_urls_are_stores(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        open_store(url, node="n", clock=FakeClock())


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear database, " * 500)
    with pytest.raises(Unavailable):
        async with open_store(f"sqlite:///{path}", node="n", clock=FakeClock()):
            pass
    assert path.read_text().startswith("Dear database, Dear")


async def test_the_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'store.db'}", node="n", clock=FakeClock()) as store:
        await store.commit(log_in)
        modes = {entry.name: entry.stat().st_mode & 0o777 for entry in os.scandir(tmp_path)}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


async def test_a_lock_held_elsewhere_is_waited_for_without_holding_up_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SqlStore(SqliteDatabase(path, FakeClock()), node="n") as store:
        await store.commit(log_in)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(store.commit(log_in))
                for _ in range(50):
                    await asyncio.sleep(0)
                    assert (await store.read(lambda r: r.trail_head()))[0] == 1, "reading goes on meanwhile"
                assert not waiting.done()
                other.execute("COMMIT")
        assert waiting.result() == 2


async def test_a_lock_that_is_never_given_back_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SqlStore(SqliteDatabase(path, FakeClock(), patience=0.05), node="n") as store:
        await store.commit(log_in)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable):
                await store.commit(log_in)
            other.execute("ROLLBACK")
        assert await store.commit(log_in) == 2


async def test_a_database_error_in_one_unit_leaves_the_others(sql_home: Home) -> None:
    """A value the database refuses is the unit's own failure, not the end of its group."""

    def broken(writer: Writer) -> None:
        writer.put_grant(a_grant("grant-broken", account=None))

    async with sql_home.open() as store:
        results = await asyncio.gather(
            store.commit(log_in), store.commit(broken), store.commit(log_in), return_exceptions=True
        )
        assert [type(result) for result in results] == [int, Unavailable, int]
        with pytest.raises(Unavailable):
            await store.commit(broken)
        assert await store.read(lambda r: (r.grants(Page()), r.trail_head()[0])) == ([], 2)


def once_spoiled(times: int, sqlstate: str) -> Callable[[Writer], int]:
    """A unit whose first ``times`` runs end in an error of the server."""
    runs = iter(range(times))

    def unit(writer: Writer) -> int:
        seq = writer.append(an_event(LoggedIn))
        if next(runs, None) is not None:
            connection: Any = writer._connection  # type: ignore[attr-defined]
            connection.exec_driver_sql(f"DO $$ BEGIN RAISE SQLSTATE '{sqlstate}'; END $$")
        return seq

    return unit


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
async def test_a_group_that_met_a_deadlock_is_run_again(home_of_postgresql: Home, sqlstate: str) -> None:
    async with home_of_postgresql.open() as store:
        assert await store.commit(once_spoiled(2, sqlstate)) == 1
        units = (log_in, once_spoiled(1, sqlstate), log_in)
        assert await asyncio.gather(*(store.commit(unit) for unit in units)) == [2, 3, 4]
        with pytest.raises(Unavailable):
            await store.commit(once_spoiled(3, sqlstate))
        assert await store.commit(log_in) == 5


async def test_any_other_error_of_the_server_is_not_tried_again(home_of_postgresql: Home) -> None:
    async with home_of_postgresql.open() as store:
        with pytest.raises(Unavailable):
            await store.commit(once_spoiled(1, "22012"))


async def test_errors_of_units_keep_their_type(sql_home: Home) -> None:
    def unit(writer: Writer) -> None:
        raise PeerError("not now", code="conflict", hint="later")

    async with sql_home.open() as store:
        with pytest.raises(PeerError) as alone:
            await store.commit(unit)
        with pytest.raises(PeerError):
            await store.read(unit)  # type: ignore[arg-type]
    assert (alone.value.code, alone.value.hint) == ("conflict", "later")


def later_steps(home: Home, steps: dict[str, bool]) -> None:
    """Make the schema a later program's: by these steps, additive or not, the last of which is the newest."""
    for revision, additive in steps.items():
        home.execute(
            f"INSERT INTO schema_steps (revision, additive) VALUES ('{revision}', {str(additive).upper()})"
        )
    home.execute(f"UPDATE alembic_version SET version_num = '{list(steps)[-1] if steps else NEWER}'")


@pytest.mark.parametrize("steps", [{}, {NEWER: False}, {"9998": False, NEWER: True}, {"9998": True, NEWER: False}])
async def test_a_later_program_s_store_is_refused(sql_home: Home, steps: dict[str, bool]) -> None:
    async with sql_home.open() as store:
        await store.commit(log_in)
    later_steps(sql_home, steps)
    with pytest.raises(Unavailable, match="later version") as refused:
        async with sql_home.open():
            pass
    assert refused.value.code == "store_newer"
    assert NEWER in refused.value.detail


async def test_a_later_program_s_store_is_served_where_it_has_only_more(sql_home: Home) -> None:
    async with sql_home.open() as store:
        await store.commit(log_in)
    later_steps(sql_home, {"9998": True, NEWER: True})
    sql_home.execute("ALTER TABLE grants ADD COLUMN later TEXT NOT NULL DEFAULT ''")
    async with sql_home.open() as store:
        assert await store.commit(log_in) == 2
        await store.commit(lambda writer: writer.put_grant(a_grant()))
        sql_home.execute("UPDATE grants SET later = 'kept'")
        await store.commit(lambda writer: writer.put_grant(a_grant(revoked=T0)))
        assert (await store.read(lambda reader: reader.grant("grant-000001"))).revoked == T0  # type: ignore[union-attr]
    assert sql_home.execute("SELECT later FROM grants") == [("kept",)]
    assert sql_home.execute("SELECT version_num FROM alembic_version") == [(NEWER,)]


async def test_every_step_says_whether_a_program_that_does_not_know_it_may_overlook_it(sql_home: Home) -> None:
    async with sql_home.open():
        pass
    steps = dict(sql_home.execute("SELECT revision, additive FROM schema_steps"))
    assert (bool(steps["0001"]), bool(steps["0005"])) == (False, True)


async def test_several_may_open_a_new_store_at_once(sql_home: Home) -> None:
    async def use(name: str) -> int:
        async with sql_home.open(name) as store:
            return await store.commit(log_in)

    assert sorted(await asyncio.gather(*(use(f"node-{n}") for n in range(4)))) == [1, 2, 3, 4]
    assert sql_home.execute("SELECT count(*) FROM alembic_version") == [(1,)]


def test_what_lists_are_read_by_is_filled_from_what_was_there(tmp_path: Path) -> None:
    import sqlalchemy as sa
    from alembic import command

    from proxy.adapters.store import rows
    from proxy.adapters.store.reader import SqlReader

    engine = sa.create_engine(f"sqlite:///{tmp_path / 'old.db'}")
    made = [a_request(), a_request("request-2", decision=a_decision(approvers=""), approvals=())]
    with engine.connect() as connection:
        command.upgrade(migrate._config(connection), "0001")
        for each in made:
            later = {"approvers", "sealed", "mac", "identity_name"}
            values = {name: value for name, value in rows.request_values(each).items() if name not in later}
            connection.execute(sa.insert(sa.table("requests", *map(sa.column, values))).values(values))
        migrate.migrate(connection)
        reader = SqlReader(connection, lambda: T0)
        assert reader.requests(Page(), viewer=Viewer("bob", frozenset())) == made[:1]
        assert reader.requests(Page(), viewer=Viewer("carol", frozenset())) == []
        assert reader.requests(Page(), viewer=Viewer("carol", frozenset({"approvers"}))) == made[:1]
    engine.dispose()


async def test_the_steps_make_the_tables_that_the_program_knows(tmp_path: Path) -> None:
    import sqlalchemy as sa
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from proxy.adapters.store.tables import METADATA

    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        migrate.migrate(connection)
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), METADATA) == []
    engine.dispose()
