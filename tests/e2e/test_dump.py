"""pg_dump, pg_restore and pgbench of each version: what goes through the gateway and around it is the same."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.gateway import Gateway
from tests.peers.postgres import VERSIONS
from tests.peers.psql import run, stock

SCHEMA = (Path(__file__).parent / "every_type.sql").read_text()
# What the wheel's servers are built without.
MORE = r"""create extension hstore schema every;
create table every.stores as select every.hstore(array['a', i::text, 'k "q"', E'v \\ =>', 'n', null]) h
from generate_series(1, 50) i;
create table every.trees as select '<a b="c">1</a>'::xml x, xml '<?xml version="1.0"?><b/>' y"""


class Tools:
    """The programs of a version, through its gateway and around it. Those of the wheel have no TLS."""

    def __init__(self, gateway: Gateway, source: str) -> None:
        self.gateway, self.source = gateway, source
        self.target = gateway.cluster

    async def dsn(self, database: str) -> str:
        make = self.gateway.dsn if self.target.tls else self.gateway.plain_dsn
        return await asyncio.to_thread(make, "postgres", dbname=database)

    def around(self, database: str) -> str:
        return self.target.uri("postgres", database, sslmode="prefer")

    async def run(self, program: str, *arguments: str) -> None:
        ran = await run(self.target.program(program), *arguments, within=50)
        assert (ran.code, ran.err) == (0, "")

    async def text(self, dsn: str, into: Path, *options: str) -> bytes:
        """The whole database as SQL."""
        await self.run("pg_dump", *options, "-f", str(into), "-d", dsn)
        # Two runs never share the random key of newer pg_dumps' \restrict lines.
        lines = (await asyncio.to_thread(into.read_bytes)).splitlines(True)
        return b"".join(line for line in lines if not line.startswith((b"\\restrict", b"\\unrestrict")))


@pytest.fixture(scope="module", params=VERSIONS)
def tools(request: pytest.FixtureRequest) -> Iterator[Tools]:
    """Each version in turn, with a database that has every common type."""
    gateway: Gateway = request.getfixturevalue(f"gateway{request.param}")
    execute = gateway.cluster.execute
    with gateway.cluster.fresh_database("template0") as name:
        execute(SCHEMA, database=name)
        if execute("select 1 from pg_available_extensions where name = 'hstore'"):
            execute(MORE, database=name)
        yield Tools(gateway, name)


async def test_dumps_and_restores_are_the_same_through_and_around(tools: Tools, tmp_path: Path) -> None:
    """Large objects too, which both programs read and write by function calls."""
    around = await tools.text(tools.around(tools.source), tmp_path / "around", "-b")
    assert len(around) > 4_000_000
    assert b"lo_open('4711'" in around
    through = await tools.text(await tools.dsn(tools.source), tmp_path / "through", "-b")
    assert through == around
    archive = str(tmp_path / "archive")
    await tools.run("pg_dump", "-Fc", "-b", "-f", archive, "-d", await tools.dsn(tools.source))
    with tools.target.fresh_database("template0") as fresh:
        await tools.run("pg_restore", "--exit-on-error", "-d", await tools.dsn(fresh), archive)
        assert await tools.text(tools.around(fresh), tmp_path / "restored") == around


async def test_a_dump_as_text_is_restored_by_psql(tools: Tools, tmp_path: Path) -> None:
    around = await tools.text(tools.around(tools.source), tmp_path / "around")
    with tools.target.fresh_database("template0") as fresh:
        quietly = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null")
        await tools.run("psql", *quietly, "-f", str(tmp_path / "around"), "-d", await tools.dsn(fresh))
        assert await tools.text(tools.around(fresh), tmp_path / "restored") == around


async def test_jobs_share_a_snapshot_through_the_gateway(gateway15: Gateway, tmp_path: Path) -> None:
    """The directory format: several sessions at a time, dumping and restoring."""
    tools = Tools(gateway15, "shop")
    archive = str(tmp_path / "archive")
    await tools.run("pg_dump", "-Fd", "-j", "2", "-f", archive, "-d", await tools.dsn(tools.source))
    with tools.target.fresh_database("template0") as fresh:
        await tools.run("pg_restore", "--exit-on-error", "-j", "2", "-d", await tools.dsn(fresh), archive)
        looks = (
            f"select count(*), md5(string_agg(t::text, '|' order by t::text)) from {name} t" for name in TABLES
        )
        for look in looks:
            assert tools.target.execute(look, database=fresh) == tools.target.execute(look)


TABLES = ("customers", "orders", "order_items")


async def test_pgbench_in_every_protocol(tools: Tools) -> None:
    """Debian's over TLS everywhere, and the version's own where that is another."""
    target = tools.target
    with target.fresh_database("template0") as fresh:
        secure = await asyncio.to_thread(tools.gateway.dsn, "postgres", dbname=fresh)
        await pgbench(stock("pgbench"), secure, "-i", "-q")
        for protocol in ("simple", "extended", "prepared"):
            ran = await pgbench(stock("pgbench"), secure, *RUN, protocol)
            assert "number of transactions actually processed: 80/80" in ran
        if not target.tls:
            ran = await pgbench(target.program("pgbench"), await tools.dsn(fresh), *RUN, "prepared")
            assert "number of transactions actually processed: 80/80" in ran
        look = "select count(*), (select sum(abalance) from pgbench_accounts) = sum(delta) from pgbench_history"
        assert target.execute(look, database=fresh) == [(240 if target.tls else 320, True)]


RUN = ("-n", "-c", "4", "-t", "20", "-M")


async def pgbench(program: Path, dsn: str, *arguments: str) -> Any:
    ran = await run(program, *arguments, dsn, within=50)
    assert ran.code == 0, ran.err
    return ran.out
