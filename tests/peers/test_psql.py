"""The helpers around stock clients."""

import pytest

from tests.peers.postgres import Cluster
from tests.peers.psql import psql, run, stock, talk


async def test_psql_runs_and_reports(postgres15: Cluster) -> None:
    done = await psql(postgres15.uri(sslmode="require"), "SELECT count(*) FROM customers")
    assert done == (0, "200\n", "")
    failed = await psql(postgres15.uri(), "SELECT nothing")
    assert failed.code == 1
    assert 'column "nothing" does not exist' in failed.err


async def test_every_version_brings_its_clients(postgres: Cluster) -> None:
    for name in ("psql", "pgbench", "pg_dump", "pg_restore"):
        ran = await run(postgres.program(name), "--version")
        assert f"(PostgreSQL) {postgres.version}." in ran.out


async def test_a_psql_one_talks_to(postgres15: Cluster) -> None:
    async with talk(postgres15.uri()) as session:
        assert await session.ask("SELECT 6 * 7;") == "42\n"
        session.say("SELECT pg_backend_pid() AS pid \\gset\nSELECT pg_sleep(61);")
        pid = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(61)%'"
        while not (rows := postgres15.execute(pid)):
            pass
        postgres15.execute(f"SELECT pg_terminate_backend({rows[0][0]})")
        assert "terminating connection due to administrator command" in await session.hear("administrator command")
        assert (await session.end()).code == 2


async def test_what_psql_does_not_say_is_reported(postgres15: Cluster) -> None:
    async with talk(postgres15.uri()) as session:
        with pytest.raises(AssertionError, match="did not say 'tide'"):
            await session.hear("tide", within=0.05)
    assert session.process.returncode == -9


async def test_a_program_that_does_not_end_is_killed(postgres15: Cluster) -> None:
    with pytest.raises(TimeoutError):
        await run(stock("psql"), "-c", "SELECT pg_sleep(60)", "-d", postgres15.uri(), within=0.3)
