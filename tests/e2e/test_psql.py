"""psql of each version with a token as its password: what works, what is refused in which words, what is recorded.

Debian's psql has TLS and is used with every server; the wheel's have none and use the listener that allows it.
"""

import asyncio
import signal
from pathlib import Path
from typing import Any

import jwt
import pytest

from proxy.adapters.clock import SystemClock
from proxy.adapters.keys import FileTokenKeys, KeyFolder
from tests.peers.gateway import Gateway
from tests.peers.psql import psql, run, stock, talk


def own(gateway: Gateway, account: str = "readonly", **words: str) -> tuple[str, Path]:
    """(connection string, program): the psql of the server's version, as it can reach the gateway."""
    make = gateway.dsn if gateway.cluster.tls else gateway.plain_dsn
    return make(account, **words), gateway.cluster.program("psql")


async def recorded(gateway: Gateway, grant: str) -> list[dict[str, Any]]:
    session = await asyncio.to_thread(gateway.ended, grant)
    return await asyncio.to_thread(gateway.statements, session["id"])


async def test_a_query_works_as_if_nothing_were_between(every_gateway: Gateway) -> None:
    ran = await psql(every_gateway.dsn(), "select count(*) from customers")
    assert (ran.code, ran.err) == (0, "")
    assert int(ran.out) > 0


COMMANDS = r"""
\d
\d+ customers
\d orders
\dt *.*
\dn+
\du
\l
\df pg_catalog.now
\dT+ int4
\dp
\dconfig work_mem
\sf pg_catalog.now
\x on
select * from customers order by id limit 2;
\x off
select 1 as a, 'b' as b \gdesc
select 'select ' || i from generate_series(1, 3) i \gexec
select 4711 as kept \gset
\echo :kept
\set ON_ERROR_ROLLBACK on
begin; select 1/0; select 2; commit;
create temp table copied (i int, s text);
\copy copied from stdin
1	one
2	\N
\.
\copy (select * from copied order by i) to stdout (format csv, header)
\copy copied from stdin (format csv)
bad,row,here
\.
\errverbose
copy copied to stdout;
\lo_import /nonexistent
\encoding LATIN1
select 'x';
"""


async def test_every_backslash_command_says_the_same_through_and_around(every_gateway: Gateway) -> None:
    """With the version's own psql: its commands ask the catalogue in its own words."""
    dsn, program = await asyncio.to_thread(own, every_gateway)
    around = every_gateway.cluster.uri(sslmode="disable")
    said = [
        await run(program, "-X", "-v", "VERBOSITY=verbose", "-d", each, text=COMMANDS) for each in (dsn, around)
    ]
    assert said[0] == said[1]
    assert "division by zero" in said[0].err and "copied" in said[0].err
    assert "1,one" in said[0].out and "4711" in said[0].out


async def test_every_statement_is_recorded_with_its_outcome(every_gateway: Gateway) -> None:
    grant = await asyncio.to_thread(every_gateway.grant)
    dsn, program = own(every_gateway, token=await asyncio.to_thread(every_gateway.token, grant=grant))
    ran = await psql(dsn, "select 1 as one; select 2; select 1/0; select 3", program=program)
    assert "division by zero" in ran.err
    found = await recorded(every_gateway, grant)
    assert [(each["text"], each["outcome"], each["rows"]) for each in found] == [
        ("select 1 as one", "done", 1),
        ("select 2", "done", 1),
        ("select 1/0", "failed", None),
        ("select 3", "skipped", None),
    ]
    assert found[2]["sqlstate"] == "22012"
    assert found[0]["tag"] == "SELECT 1"
    assert found[0]["protocol"] == "simple"


async def test_it_is_called_on_the_target_as_without_the_gateway(gateway15: Gateway) -> None:
    """Who it is, is found by its pid."""
    ran = await psql(gateway15.dsn(), "select current_setting('application_name'), current_user, pg_backend_pid()")
    name, user, pid = ran.out.strip().split("|")
    assert (name, user) == ("psql", "readonly")
    (session,) = await asyncio.to_thread(gateway15.sessions, pid=pid)
    assert (session["identity"], session["client"]) == ("alice", "psql")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"password": "nonsense"}, ["FATAL"]),
        ({"password": ""}, ["password"]),
        ({"dbname": "x" * 64}, ["FATAL"]),
        ({"replication": "database"}, ["replication"]),
    ],
)
async def test_a_refusal_says_what_to_do(gateway15: Gateway, changed: dict[str, str], words: list[str]) -> None:
    changed = {"account": "readonly", "token": gateway15.token(), **changed}
    ran = await psql(gateway15.dsn(**changed), "select 1")
    assert ran.code == 2
    for word in words:
        assert word.lower() in ran.err.lower(), ran.err


async def test_psqls_of_all_versions_are_refused_in_words(every_gateway: Gateway) -> None:
    token = await asyncio.to_thread(every_gateway.token)
    for changed, words in (
        ({"account": "owner", "token": token}, ["is for account readonly", "DETAIL", "HINT"]),
        ({"token": token[:300]}, ["300 bytes", "DETAIL"]),
        ({"token": expired(every_gateway, token)}, ["expired", "tidegate token"]),
    ):
        dsn, program = own(every_gateway, **changed)
        ran = await psql(dsn, "select 1", program=program)
        assert ran.code == 2 and ran.out == ""
        assert not [word for word in words if word not in ran.err], ran.err
        assert token[:50] not in ran.err
    dsn = every_gateway.dsn(token=token, sslmode="disable")
    ran = await psql(dsn, "select 1", program=every_gateway.cluster.program("psql"))
    assert ran.code == 2
    assert "TLS" in ran.err and "sslmode" in ran.err


def expired(gateway: Gateway, token: str) -> str:
    """The token as it would be an hour after its end: what it says of times is an hour earlier, and signed."""
    said = jwt.decode(token, options={"verify_signature": False})
    folder = KeyFolder(gateway.folder / "state" / "keys")
    kid, key = FileTokenKeys(folder, SystemClock(), lambda: 600.0).current()
    times = {name: said[name] - 3600 for name in ("iat", "nbf", "exp")}
    typ = jwt.get_unverified_header(token)["typ"]
    return jwt.encode(said | times, key, "EdDSA", headers={"kid": kid, "typ": typ})  # type: ignore[arg-type]


async def test_a_database_the_target_does_not_have(gateway15: Gateway) -> None:
    ran = await psql(gateway15.dsn(dbname="nowhere"), "select 1")
    assert ran.code == 2
    assert 'database "nowhere" does not exist' in ran.err
    assert str(gateway15.cluster.port) not in ran.err


async def test_a_revoked_session_is_cut_with_the_reason_in_psql(every_gateway: Gateway) -> None:
    grant = await asyncio.to_thread(every_gateway.grant)
    dsn, program = own(every_gateway, token=await asyncio.to_thread(every_gateway.token, grant=grant))
    async with talk(dsn, program=program) as session:
        assert (await session.ask("select 40 + 2;")).strip() == "42"
        await asyncio.to_thread(every_gateway.revoke, grant, "leaked laptop")
        session.say("select 1;")
        ran = await session.end()
    assert "your grant was revoked by dave: leaked laptop" in ran.out
    assert ran.code == 2
    ended = await asyncio.to_thread(every_gateway.ended, grant)
    assert ended["end_reason"] == "grant_revoked"
    refused = await psql(dsn, "select 1", program=program)
    assert refused.code == 2 and "revoked" in refused.err
    other = await psql(await asyncio.to_thread(every_gateway.dsn), "select 1")
    assert other.code == 0


RUNNING = (
    "select count(*) from pg_stat_activity where query like '%{}%' and state = 'active' and pid <> pg_backend_pid()"
)


async def test_the_running_query_is_stopped_too(every_gateway: Gateway) -> None:
    grant = every_gateway.grant("postgres")
    marker = f"select pg_sleep(60) /* {grant} */"
    async with talk(every_gateway.dsn("postgres", token=every_gateway.token(grant=grant))) as session:
        session.say(f"{marker};")
        look = RUNNING.format(grant)
        await _until(every_gateway, look, 1)
        await asyncio.to_thread(every_gateway.revoke, grant)
        await _until(every_gateway, look, 0)
        ran = await session.end()
    assert "your grant was revoked" in ran.out
    ended = every_gateway.ended(grant)
    assert ended["receipt"]["verified"] == "pg_stat_activity"
    (statement,) = every_gateway.statements(ended["id"])
    assert statement["outcome"] in ("cancelled", "cut")


async def _until(gateway: Gateway, look: str, count: int) -> None:
    async with asyncio.timeout(10):
        while (await asyncio.to_thread(gateway.cluster.execute, look)) != [(count,)]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_ctrl_c_cancels_the_query(every_gateway: Gateway) -> None:
    """With each version's own psql, and Debian's: what they send before a cancel differs."""
    clients = {await asyncio.to_thread(own, every_gateway, "postgres")}
    clients.add((await asyncio.to_thread(every_gateway.dsn, "postgres"), stock("psql")))
    for number, (dsn, program) in enumerate(clients):
        async with talk(dsn, program=program) as session:
            mark = f"ctrl-c {every_gateway.port} {number}"
            session.say(f"select pg_sleep(60) /* {mark} */;")
            await _until(every_gateway, RUNNING.format(mark), 1)
            session.process.send_signal(signal.SIGINT)
            await session.hear("canceling statement due to user request", within=10)
            assert (await session.end()).code != 0  # it takes its script for interrupted
