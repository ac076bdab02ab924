"""Which process of the target serves a session: its client is told the target's own pid, and so do the store, the
trail and the people who look for it. A cancel finds its session among all that have the pid."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from proxy.core.sessions import OWN_PIDS
from proxy.protocols.postgres import messages
from tests.e2e.test_drivers import cancelled
from tests.peers.gateway import Gateway, gateway
from tests.peers.hostile_target import HostileTarget, hostile_target
from tests.peers.pgbouncer import pgbouncer
from tests.peers.postgres import SUPERUSER, Cluster, PeerMissing
from tests.peers.proof import asking, backend_of, session_of, until
from tests.peers.wire import Wire, log_in

LONG = "select pg_sleep(30)"


def test_the_client_is_told_the_targets_own_pid(every_gateway: Gateway) -> None:
    with psycopg.connect(every_gateway.dsn(), autocommit=True) as connection:
        pid = connection.info.backend_pid
        assert pid == backend_of(connection)
        session = session_of(connection)
        (shown,) = every_gateway.sessions(pid=str(pid), live="1")
        assert (shown["id"], shown["target_pid"]) == (session, pid)
        ((started,),) = every_gateway.cluster.execute(
            f"select extract(epoch from backend_start)::float8 from pg_stat_activity where pid = {pid}"
        )
        assert abs(datetime.fromisoformat(shown["backend_start"]).timestamp() - started) < 0.001
    events = every_gateway.call("GET", "/v1/audit/events?kind=session_started&limit=200", user="carol")["items"]
    (row,) = [each for each in events if each["body"]["session"] == session]
    assert (row["body"]["target_pid"], row["body"]["backend_start"]) == (pid, pytest.approx(started, abs=2e-6))


@pytest.mark.parametrize("version", [messages.PROTOCOL_3_0, messages.PROTOCOL_3_2])
def test_in_every_protocol(every_gateway: Gateway, version: int) -> None:
    wire = Wire(every_gateway, direct=True)
    with closing(wire.sock):
        wire.start(version)
        pid, key = log_in(wire)
        assert len(key) == (4 if version == messages.PROTOCOL_3_0 else 32)
        wire.say(messages.query("select pg_backend_pid()"))
        assert wire.until(b"Z")[1][1].endswith(str(pid).encode())


@asynccontextmanager
async def connected(gate: Gateway, account: str = "readonly") -> AsyncIterator[Any]:
    token = await asyncio.to_thread(gate.token, account)
    connection = await asyncpg.connect(
        host="127.0.0.1", port=gate.plain_port, user=account, password=token, database="shop", ssl=False
    )
    try:
        yield connection
    finally:
        connection.terminate()


async def test_a_client_knows_its_own_notification(every_gateway: Gateway) -> None:
    heard: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
    async with connected(every_gateway) as one, connected(every_gateway) as other:
        await one.add_listener("news", lambda _, pid, __, text: heard.put_nowait((pid, text)))
        for sender in (one, other):
            await sender.execute("notify news, 'hello'")
            pid, _ = await asyncio.wait_for(heard.get(), 10)
            assert pid == sender.get_server_pid() == await sender.fetchval("select pg_backend_pid()")


async def test_a_client_ends_its_own_backend_and_no_other(every_gateway: Gateway) -> None:
    async with connected(every_gateway, "postgres") as one, connected(every_gateway, "postgres") as other:
        ended = asyncio.Event()
        other.add_termination_listener(lambda _: ended.set())
        assert await one.fetchval("select pg_terminate_backend($1)", other.get_server_pid())
        await asyncio.wait_for(ended.wait(), 10)
        assert await one.fetchval("select 1") == 1


async def test_a_client_sees_its_own_locks_and_ends_what_blocks_it(every_gateway: Gateway) -> None:
    async with connected(every_gateway, "postgres") as one, connected(every_gateway, "postgres") as other:
        await one.execute("begin; select pg_advisory_xact_lock(4242)")
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            tasks.create_task(other.fetchval("select pg_advisory_xact_lock(4242)"))
            blocked: list[int] = []
            while not blocked:
                blocked = await one.fetchval("select pg_blocking_pids($1)", other.get_server_pid())
            assert blocked == [one.get_server_pid()]
            await one.execute("commit")


# -- who has the same pid, and who has none ------------------------------------------------------------------------


class Poured:
    """A gateway with two hostile targets that give everybody one pid, and a pooler."""

    def __init__(self, gate: Gateway, first: HostileTarget, second: HostileTarget) -> None:
        self.gate = gate
        self.targets = {"first": first, "second": second}

    def enter(self, resource: str) -> tuple[Wire, int, bytes]:
        wire = Wire(self.gate, direct=True)
        wire.start(user="namesake")
        return wire, *log_in(wire, self.gate.token("namesake", resource=resource))


@pytest.fixture(scope="module")
def poured(postgres15: Cluster) -> Iterator[Poured]:
    with ExitStack() as stack:
        first, second = (stack.enter_context(hostile_target()) for _ in range(2))
        try:
            pooler = stack.enter_context(pgbouncer(postgres15))
        except PeerMissing as missing:
            pytest.skip(str(missing))
        plain = 'tls_mode = "disable"'
        made = [
            resource("first", first.port, "namesake", plain),
            resource("second", second.port, "namesake", plain),
            resource("pooled", pooler.port, SUPERUSER, f'tls_mode = "verify-ca"\ntls_ca = "{pooler.ca}"'),
        ]
        policy = (
            '[[policies]]\nname = "poured"\nwho = ["group:engineers"]\nresources = ["first", "second", "pooled"]\n'
            'accounts = ["*"]\nmax_duration = "1h"\napproval = "automatic"\n'
        )
        gate = stack.enter_context(gateway(postgres15, extra="".join(made) + policy))
        yield Poured(gate, first, second)


def resource(name: str, port: int, account: str, tls: str) -> str:
    password = Path("secrets") / (SUPERUSER if account == SUPERUSER else "readonly")
    return (
        f'[[resources]]\nname = "{name}"\nprotocol = "postgres"\naddress = "127.0.0.1:{port}"\n{tls}\n'
        f'[[resources.accounts]]\nname = "{account}"\npassword = "file:{password}"\n'
    )


def cancel(gate: Gateway, pid: int, key: bytes) -> None:
    """Ask and wait for the end, as libpq does."""
    wire = Wire(gate)
    with closing(wire.sock):
        wire.say(messages.cancel_request(pid, key))
        assert wire.hear(1) == b""


def test_two_targets_that_give_one_pid_are_told_apart_by_the_key(poured: Poured) -> None:
    (first, pid, one), (second, same, two) = poured.enter("first"), poured.enter("second")
    with closing(first.sock), closing(second.sock):
        assert pid == same == 4711
        assert one != two
        assert {each["resource"] for each in poured.gate.sessions(pid="4711", live="1")} == {"first", "second"}
        for wire in (first, second):
            wire.say(messages.query(LONG))
        of_first, of_second = (each.given[-1] for each in poured.targets.values())
        cancel(poured.gate, pid, two)
        assert of_second in poured.targets["second"].shown
        assert of_first not in poured.targets["first"].shown
        cancel(poured.gate, pid, one)
        assert of_first in poured.targets["first"].shown
        assert poured.targets["second"].shown.count(of_second) == 1


def test_a_key_is_worth_nothing_to_the_next_session_of_its_pid(poured: Poured) -> None:
    first, pid, old = poured.enter("first")
    first.close()
    again, same, _ = poured.enter("first")
    with closing(again.sock):
        assert same == pid
        given = poured.targets["first"].given[-1]
        again.say(messages.query(LONG))
        cancel(poured.gate, pid, old)
        assert given not in poured.targets["first"].shown


def test_behind_a_pooler_the_pid_is_the_gateways_and_cancels_all_the_same(poured: Poured) -> None:
    gate = poured.gate
    dsn = gate.dsn(SUPERUSER, token=gate.token(SUPERUSER, resource="pooled"))
    with psycopg.connect(dsn, autocommit=True) as connection:
        pid = connection.info.backend_pid
        assert pid >= OWN_PIDS
        session = session_of(connection)
        shown = gate.call("GET", f"/v1/sessions/{session}", user="carol")
        assert (shown["target_pid"], shown["backend_start"]) == (None, None)
        with asking(connection, LONG) as came:
            until(lambda: bool(gate.cluster.execute(f"select 1 from pg_stat_activity where query = '{LONG}'")))
            connection.cancel()
        assert isinstance(came[0], psycopg.errors.QueryCanceled)
        assert connection.execute("select 1").fetchone() == (1,)


def test_where_the_target_is_asked_in_vain_the_pid_is_the_gateways(every_gateway: Gateway) -> None:
    """A time limit that the client sets itself may hit our question; it gets in all the same, and can cancel."""
    options = "-c statement_timeout=30s -c default_transaction_read_only=on -c search_path=pg_temp"
    with psycopg.connect(every_gateway.dsn(options=options), autocommit=True) as connection:
        assert connection.info.backend_pid == backend_of(connection)
        cancelled(every_gateway, connection, connection.cancel)
