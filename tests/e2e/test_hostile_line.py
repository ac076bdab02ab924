"""A hostile line on either side of the gateway: what passes is right, and what does not pass ends the session,
soon, under its right name, and leaves nothing behind."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tests.peers.gateway import Gateway, gateway
from tests.peers.hostile_target import HostileTarget, hostile_target
from tests.peers.line import Apart, line_apart
from tests.peers.postgres import Cluster
from tests.peers.proof import accounted, asking, backend_of, connected, gone, heard_something, runs, until
from tests.peers.psql import PLAIN, environment, stock

pytestmark = pytest.mark.timeout(120)  # the first test pays for the gateways' start
TOLD = "your grant was revoked by dave: leaked laptop"
LONG = "select pg_sleep(30)"
LOOKS = "set client_connection_check_interval = '200ms'"
"""As README advises: a backend that looks at its connection while it works."""


@dataclass(frozen=True, slots=True)
class Between:
    """client - ``near`` - gateway - ``far`` - target; and resource ``mute``, whose target says nothing."""

    gate: Gateway
    near: Apart
    far: Apart
    mute: HostileTarget

    def mend(self) -> None:
        for each in (self.near, self.far):
            each.do(each.line.mend)

    @property
    def port(self) -> str:
        return str(self.near.port)


@pytest.fixture(scope="module")
def running(postgres15: Cluster) -> Iterator[Between]:
    with hostile_target() as mute, line_apart("127.0.0.1", postgres15.port) as far:
        extra = (
            f'[[resources]]\nname = "mute"\nprotocol = "postgres"\naddress = "127.0.0.1:{mute.port}"\n'
            'tls_mode = "disable"\n[[resources.accounts]]\nname = "silent"\npassword = "file:secrets/readonly"\n'
            '[[policies]]\nname = "mute"\nwho = ["group:engineers"]\nresources = ["mute"]\n'
            'accounts = ["silent"]\nmax_duration = "1h"\napproval = "automatic"\n'
        )
        with (
            gateway(postgres15, target_port=far.port, extra=extra) as gate,
            line_apart("127.0.0.1", gate.port, buffer=16_384) as near,
        ):
            revoked_once(gate)
            yield Between(gate, near, far, mute)


def revoked_once(gate: Gateway) -> None:
    """Each process has then opened what it keeps open: a test leaves not one descriptor more."""
    grant = gate.grant("postgres")
    with connected(gate, grant):
        gate.revoke(grant)
        accounted(gate, grant)
    gate.token("postgres")


@pytest.fixture
def between(running: Between) -> Iterator[Between]:
    """Afterwards no connection, no process and no descriptor is left of what the test did."""
    gate = running.gate
    until(lambda: running.near.line.live == 0 and running.far.line.live == 0)
    processes, before = gate.processes(), held(gate)
    yield running
    running.mend()
    until(lambda: running.near.line.live == 0 and running.far.line.live == 0)
    until(lambda: held(gate) <= before)
    assert gate.processes() == processes


def held(gate: Gateway) -> tuple[int, int]:
    """Sessions' journals and sockets of the whole tree."""
    return gate.descriptors("sess-"), gate.descriptors("socket:")


# -- what passes is right ----------------------------------------------------------------------------------------

FAULTS: dict[str, dict[str, float]] = {
    "a byte at a time": {"slice": 1},
    "late": {"delay": 0.002},
    "thin": {"slice": 700, "bandwidth": 300_000.0},
}
SCRIPT = """
select id, name from customers order by id limit 5;
select 1 as one \\; select 2 as two;
select 1/0;
begin; create temp table t (a int, b text) on commit drop;
copy t from stdin;
1\ta line
2\t\\N
\\.
copy t to stdout;
select count(*), count(b) from t;
rollback;
do $$ begin raise notice 'heard'; end $$;
select repeat('x', 3000);
"""


def work(connection: psycopg.Connection[Any]) -> list[Any]:
    """A little of everything that psycopg can say."""
    found: list[Any] = []
    for binary in (False, True):
        cursor = connection.cursor(binary=binary)
        cursor.execute("select %s::int, %s::text, '\\x00ff'::bytea, null", [7, "seven"], prepare=binary)
        found.append((cursor.fetchall(), cursor.statusmessage))
    with connection.pipeline():
        cursors = [connection.execute("select %s::int", [number]) for number in range(5)]
    found.append([each.fetchall() for each in cursors])
    with connection.cursor() as cursor:
        cursor.execute("create temp table if not exists w (n int)")
        with cursor.copy("copy w from stdin") as into:
            for number in range(100):
                into.write_row([number])
        with cursor.copy("copy w to stdout (format binary)") as out:
            found.append(b"".join(bytes(each) for each in out))
    try:
        connection.execute("select * from nowhere")
    except psycopg.Error as error:
        found.append((error.sqlstate, str(error)))
    with connection.transaction(), connection.cursor("named") as named:
        named.itersize = 10
        named.execute("select n from w order by n limit 35")
        found.append(named.fetchall())
    return found


@pytest.mark.parametrize("side", ["near", "far"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_slow_or_shredded_line_changes_no_answer(between: Between, fault: str, side: str) -> None:
    gate = between.gate
    hostile: Apart = getattr(between, side)
    token = gate.token("postgres")
    for name, value in FAULTS[fault].items():
        for way in (hostile.line.up, hostile.line.down):
            setattr(way, name, value)
    through = gate.dsn("postgres", token=token, port=between.port)
    around = gate.cluster.uri("postgres", sslmode="prefer")
    found = []
    for target in (through, around):
        with closing(psycopg.connect(target, autocommit=True)) as connection:
            found.append((work(connection), psql(target)))
    assert found[0] == found[1]


def psql(target: str) -> tuple[int, str, str]:
    ran = subprocess.run(
        [stock("psql"), *PLAIN, "-d", target, "-f", "-"],
        input=SCRIPT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    return ran.returncode, ran.stdout, ran.stderr


# -- a line that ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "reason"), [("near", "client_closed"), ("far", "target_closed")], ids=["client", "target"]
)
def test_a_reset_in_the_middle_of_a_statement(between: Between, side: str, reason: str) -> None:
    """Where it is the target's own connection that is reset, the target does not know it: it is told to stop."""
    gate, hostile = between.gate, getattr(between, side)
    grant = gate.grant("postgres")
    with connected(gate, grant, port=between.port) as connection:
        backend = backend_of(connection)
        with asking(connection, LONG) as came:
            until(lambda: runs(gate, backend))
            hostile.do(hostile.line.reset)
        assert isinstance(came[0], psycopg.OperationalError)
        over_and_gone(gate, grant, reason, backend)


@pytest.mark.parametrize(
    ("side", "way", "reason"),
    [
        ("near", "up", "client_closed"),
        ("far", "up", "target_closed"),
        ("far", "down", "target_closed"),
    ],
)
def test_one_direction_ends_in_the_middle_of_a_statement(
    between: Between, side: str, way: str, reason: str
) -> None:
    """The client's bytes end and it still listens; the target's leg ends towards it, or from it."""
    gate, hostile = between.gate, getattr(between, side)
    grant = gate.grant("postgres")
    with connected(gate, grant, port=between.port) as connection:
        backend = backend_of(connection)
        getattr(hostile.line, way).half_close_after = 1
        with asking(connection, "select 1") as came:
            pass
        assert isinstance(came[0], psycopg.OperationalError)
        over_and_gone(gate, grant, reason, backend)


def over_and_gone(gate: Gateway, grant: str, reason: str, backend: int) -> None:
    session = gate.ended(grant, within=10)
    assert session["end_reason"] == reason
    until(lambda: gone(gate, backend))
    (event,) = gate.call(
        "GET", f"/v1/audit/events?kind=session_ended&subject=session:{session['id']}", user="carol"
    )["items"]
    assert event["body"]["end_reason"] == reason
    assert event["body"]["recording_digest"] == session["recording_digest"]
    assert {each["outcome"] for each in gate.statements(session["id"])} <= {
        "done",
        "unknown",
        "failed",
        "cancelled",
    }


# -- a cut while the line is frozen ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [LONG, "select 1"], ids=["in a statement", "idle"])
def test_a_cut_while_the_targets_connection_is_frozen(between: Between, text: str) -> None:
    """The client is told at once; a backend that hears nothing of it is terminated by the control account."""
    gate = between.gate
    grant = gate.grant("postgres")
    with connected(gate, grant, port=between.port) as connection:
        backend = backend_of(connection)
        with asking(connection, text) as came:
            if text is LONG:
                until(lambda: runs(gate, backend))
                between.far.do(between.far.line.freeze)
                gate.revoke(grant)
        if text is not LONG:
            between.far.do(between.far.line.freeze)
            gate.revoke(grant)
            heard_something(connection)
            with asking(connection, text) as came:
                pass
        told(came)
        session = accounted(gate, grant)
        assert session["receipt"]["verified"] == "pg_terminate_backend"
        assert gone(gate, backend)
        between.mend()


def test_a_cut_while_the_target_cannot_be_reached_at_all(between: Between) -> None:
    """Nobody can say then that the target has stopped, and the receipt does not."""
    gate, far = between.gate, between.far
    grant = gate.grant("postgres")
    with connected(gate, grant, port=between.port) as connection:
        backend = backend_of(connection)
        connection.execute(LOOKS)
        with asking(connection, LONG) as came:
            until(lambda: runs(gate, backend))
            far.do(far.line.up.freeze)
            far.do(far.line.down.freeze)
            gate.revoke(grant)
        told(came)
        session = gate.ended(grant, within=15)
        assert session["end_reason"] == "grant_revoked"
        assert (session["receipt"]["verified"], session["receipt"]["target_stopped"]) == ("", None)
        between.mend()
        until(lambda: gone(gate, backend))


@pytest.mark.parametrize("streaming", [False, True], ids=["idle", "in a long answer"])
def test_a_cut_while_the_client_is_frozen(between: Between, streaming: bool) -> None:
    gate, near = between.gate, between.near
    grant = gate.grant("postgres")
    with connected(gate, grant, port=between.port) as connection:
        backend = backend_of(connection)
        if streaming:
            endless = b"select repeat('x', 1000) from generate_series(1, 10000) a, generate_series(1, 10000) b"
            connection.pgconn.send_query(endless)
            connection.pgconn.flush()
            until(lambda: runs(gate, backend))
        near.do(near.line.freeze)
        gate.revoke(grant)
        accounted(gate, grant)
        assert gone(gate, backend)
        between.mend()


def told(came: list[Any]) -> None:
    assert isinstance(came[0], psycopg.Error)
    assert TOLD in str(came[0])
    assert came[0].sqlstate == "57P01"


# -- a cut during the log-in -------------------------------------------------------------------------------------


@pytest.mark.parametrize("held_by", ["a target that says nothing", "a frozen line"])
def test_a_log_in_that_its_target_holds_is_refused_with_the_reason(between: Between, held_by: str) -> None:
    gate, far = between.gate, between.far
    frozen = held_by == "a frozen line"
    resource, account = ("shop", "postgres") if frozen else ("mute", "silent")
    grant = gate.grant(account, resource=resource)
    dsn = gate.dsn(account, token=gate.token(grant=grant), port=between.port)
    came: list[str] = []

    def log_in() -> None:
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError as error:
            came.append(str(error))

    if frozen:
        far.do(far.line.up.freeze)
    before = far.line.accepted, between.mute.accepted
    thread = threading.Thread(target=log_in)
    thread.start()
    until(lambda: (far.line.accepted, between.mute.accepted) != before)
    assert not came
    gate.revoke(grant)
    thread.join(10)
    assert not thread.is_alive()
    assert f"FATAL:  terminating connection due to administrator command: {TOLD}" in came[0]
    between.mend()
    assert gate.sessions(grant=grant) == []
    ours = "select count(*) from pg_stat_activity where application_name like 'tidegate:%'"
    until(lambda: gate.cluster.execute(f"{ours} and usename = 'postgres'") == [(0,)])
