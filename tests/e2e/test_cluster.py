"""More than one worker: two behind one port, and two gateways on one PostgreSQL store, which gets lost."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from proxy.protocols.postgres import messages
from tests.peers.gateway import Gateway, Refused, gateway
from tests.peers.line import Apart, line_apart
from tests.peers.postgres import Cluster
from tests.peers.proof import (
    accounted,
    asking,
    backend_of,
    connected,
    gone,
    heard_something,
    runs,
    session_of,
    until,
)
from tests.peers.wire import Wire, log_in

pytestmark = pytest.mark.timeout(120)  # the first test pays for the gateways' start
GUESSES = 5
LONG = "select pg_sleep(30)"

# -- two workers behind one port ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair_of_workers(postgres15: Cluster) -> Iterator[Gateway]:
    with gateway(postgres15, head="workers = 2", settings={"cancel_guesses_per_minute": str(GUESSES)}) as running:
        yield running


@contextmanager
def one_on_each(gate: Gateway, grant: str) -> Iterator[list[psycopg.Connection[Any]]]:
    """A connection to each of both workers: the kernel chooses, so we ask until both were chosen."""
    with ExitStack() as stack:
        found: dict[str, psycopg.Connection[Any]] = {}
        for _ in range(64):
            connection = stack.enter_context(connected(gate, grant))
            found.setdefault(node_of(gate, session_of(connection)), connection)
            if len(found) == 2:
                yield list(found.values())
                return
        raise AssertionError(f"all went to {found}")


def node_of(gate: Gateway, session: str) -> str:
    return str(gate.call("GET", f"/v1/sessions/{session}", user="carol")["node"])


def passed_on(gate: Gateway) -> int:
    """Cancel requests that one worker has given to the other."""
    with closing(sqlite3.connect(gate.folder / "state" / "tidegate.db")) as store:
        return int(store.execute("select count(*) from feed where kind = 'cancel'").fetchone()[0])


def test_a_cancel_finds_its_session_on_any_worker_and_never_the_statement_after(pair_of_workers: Gateway) -> None:
    gate = pair_of_workers
    grant = gate.grant("postgres")
    before = passed_on(gate)
    with one_on_each(gate, grant) as (one, bystander):
        backends = backend_of(one), backend_of(bystander)
        with asking(bystander, "select 'slept' from pg_sleep(60)") as slept:
            until(lambda: runs(gate, backends[1]))
            for _ in range(40):
                with asking(one, LONG) as came:
                    until(lambda: runs(gate, backends[0]))
                    one.cancel()
                    assert not slept
                assert isinstance(came[0], psycopg.errors.QueryCanceled)
                assert one.execute("select 'next' from pg_sleep(0.05)").fetchone() == ("next",)
                if passed_on(gate) >= before + 3:
                    break
            assert passed_on(gate) >= before + 3
            assert runs(gate, backends[1])
            gate.revoke(grant)
        assert "your grant was revoked" in str(slept[0])


def test_a_revocation_cuts_on_every_worker_and_names_none_unconfirmed(pair_of_workers: Gateway) -> None:
    gate = pair_of_workers
    grant = gate.grant("postgres")
    with one_on_each(gate, grant) as both, ExitStack() as stack:
        nodes = {node_of(gate, session_of(each)) for each in both}
        backends = [backend_of(each) for each in both]
        answers = [stack.enter_context(asking(each, LONG)) for each in both]
        for each in backends:
            until(lambda each=each: runs(gate, each))  # type: ignore[misc]
        ordered = gate.revoke(grant)
        assert set(ordered["nodes"]) == nodes
        until(lambda: bool(receipt(gate, ordered)["done"]))
    told = receipt(gate, ordered)
    assert (told["unconfirmed"], told["live"]) == ([], [])
    assert {each["node"] for each in told["ended"]} == nodes
    assert all(each["verified"] and each["end_reason"] == "grant_revoked" for each in told["ended"])
    assert all(gone(gate, each) for each in backends)
    assert all("your grant was revoked by dave" in str(came[0]) for came in answers)


def receipt(gate: Gateway, ordered: Any) -> Any:
    return gate.call("GET", f"/v1/revocations/{ordered['seq']}")


def test_wrong_keys_are_throttled_on_every_worker_and_hurt_nobody_else(pair_of_workers: Gateway) -> None:
    gate = pair_of_workers
    wire = Wire(gate, direct=True)
    guesser = "127.0.0.77"
    with closing(wire.sock):
        wire.start()
        pid, key = log_in(wire)
        wire.say(messages.query("select 'slept' from pg_sleep(3)"))
        for number in range(8 * GUESSES):
            cancel(gate, pid, bytes((key[0] ^ 1 + number % 255,)) + key[1:], guesser)
        cancel(gate, pid, key, guesser)  # right, and too late: a guesser's luck is worth nothing
        assert [kind for kind, _ in wire.until(b"Z")] == [b"T", b"D", b"C", b"Z"]
        wire.say(messages.query(LONG))
        until(
            lambda: bool(gate.cluster.execute("select 1 from pg_stat_activity where query = 'select pg_sleep(30)'"))
        )
        cancel(gate, pid, key, "127.0.0.1")
        assert b"57014" in b"".join(body for _, body in wire.until(b"Z"))
    events = gate.call("GET", "/v1/audit/events?kind=cancel_refused&limit=100", user="carol")["items"]
    mine = [each["body"]["times"] for each in events if each["body"]["source"] == guesser]
    assert sorted(mine) == [1, 1, GUESSES, GUESSES]


def cancel(gate: Gateway, pid: int, key: bytes, source: str) -> None:
    """Ask and wait for the end, as libpq does."""
    wire = Wire(gate, source=source)
    with closing(wire.sock):
        wire.say(messages.cancel_request(pid, key))
        assert wire.hear(1) == b""


# -- two gateways on one store -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Nodes:
    """Gateways ``a`` and ``b``, the line to their store, and what of their configuration names it."""

    a: Gateway
    b: Gateway
    store: Apart
    extra: str

    def ready(self) -> bool:
        return all(ready(each) for each in (self.a, self.b))


def ready(gate: Gateway) -> bool:
    try:
        return bool(gate.call("GET", "/readyz", user=None)["ready"])
    except (OSError, Refused):
        return False


@pytest.fixture(scope="module")
def running(postgres15: Cluster, postgres16: Cluster) -> Iterator[Nodes]:
    keys = Path(tempfile.mkdtemp(prefix="tidegate-keys-"))
    try:
        with (
            postgres16.fresh_database("template0") as database,
            line_apart("127.0.0.1", postgres16.port) as store,
        ):
            extra = (
                f'[store]\nurl = "postgresql://owner@127.0.0.1:{store.port}/{database}"\n'
                f'password = "file:secrets/owner"\nlease = "2s"\n[tokens]\nkeys_dir = "{keys}"\n'
            )
            with (
                gateway(postgres15, head='node = "a"', extra=extra) as a,
                gateway(postgres15, head='node = "b"', extra=extra) as b,
            ):
                yield Nodes(a, b, store, extra)
    finally:
        shutil.rmtree(keys)


@pytest.fixture
def nodes(running: Nodes) -> Nodes:
    until(running.ready)
    return running


def test_a_revocation_at_one_gateway_cuts_a_session_of_another(nodes: Nodes) -> None:
    grant = nodes.a.grant("postgres")
    token = nodes.a.token(grant=grant)
    with closing(psycopg.connect(nodes.b.dsn("postgres", token=token), autocommit=True)) as connection:
        backend = backend_of(connection)
        with asking(connection, LONG) as came:
            until(lambda: runs(nodes.b, backend))
            ordered = nodes.a.revoke(grant)
        assert "your grant was revoked by dave: leaked laptop" in str(came[0])
    session = accounted(nodes.b, grant)
    assert session["node"] == "b-0"
    until(lambda: bool(receipt(nodes.a, ordered)["done"]))
    told = receipt(nodes.a, ordered)
    assert told["unconfirmed"] == []
    assert [(each["session"], each["node"]) for each in told["ended"]] == [(session["id"], "b-0")]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(nodes.b.dsn("postgres", token=token))


def test_a_machine_with_another_ones_name_does_not_start_and_ends_none_of_its_sessions(
    nodes: Nodes, postgres15: Cluster
) -> None:
    grant = nodes.a.grant("postgres")
    token = nodes.a.token(grant=grant)
    with closing(psycopg.connect(nodes.a.dsn("postgres", token=token), autocommit=True)) as connection:
        with (
            pytest.raises(RuntimeError, match=r"another gateway runs as a-0"),
            gateway(postgres15, head='node = "a"', extra=nodes.extra),
        ):
            pass
        assert connection.execute("select 1").fetchone() == (1,)
        assert [each["node"] for each in nodes.b.sessions(grant=grant, status="live")] == ["a-0"]
    until(nodes.ready)


@pytest.mark.parametrize("version", [messages.PROTOCOL_3_0, messages.PROTOCOL_3_2])
def test_a_cancel_request_finds_its_way_to_another_gateway(nodes: Nodes, version: int) -> None:
    """Which looks for its session by the target's own pid."""
    wire = Wire(nodes.b, direct=True)
    with closing(wire.sock):
        wire.start(version)
        pid, key = log_in(wire, nodes.a.token())
        wire.say(messages.query(LONG))
        until(lambda: bool(nodes.b.cluster.execute(f"select 1 from pg_stat_activity where query = '{LONG}'")))
        assert nodes.b.cluster.execute(f"select 1 from pg_stat_activity where pid = {pid} and query = '{LONG}'")
        cancel(nodes.a, pid, bytes(len(key)), "127.0.0.1")
        cancel(nodes.a, pid, key, "127.0.0.1")
        assert b"57014" in b"".join(body for _, body in wire.until(b"Z"))
        wire.say(messages.query("select 1"))
        assert [kind for kind, _ in wire.until(b"Z")] == [b"T", b"D", b"C", b"Z"]


def test_a_reload_at_one_gateway_is_one_of_every_worker(nodes: Nodes) -> None:
    grant = nodes.a.grant("postgres")
    token = nodes.a.token(grant=grant)
    files = [each.folder / "gateway.toml" for each in (nodes.a, nodes.b)]
    before = [each.read_text() for each in files]
    old = 'accounts = ["readonly", "postgres"]'
    with closing(psycopg.connect(nodes.b.dsn("postgres", token=token), autocommit=True)) as connection:
        backend = backend_of(connection)
        try:
            for path, text in zip(files, before, strict=True):
                assert old in text
                path.write_text(text.replace(old, 'accounts = ["readonly"]'))
            nodes.a.call("POST", "/v1/config/reload")
            heard_something(connection)
            with pytest.raises(psycopg.errors.AdminShutdown, match="policy changed"):
                connection.execute("select 1")
            assert accounted(nodes.b, grant, "policy_changed")["node"] == "b-0"
            assert gone(nodes.b, backend)
        finally:
            for path, text in zip(files, before, strict=True):
                path.write_text(text)
            for each in (nodes.a, nodes.b):
                each.call("POST", "/v1/config/reload")


def hangs(store: Apart) -> None:
    store.line.up.freeze()
    store.line.down.freeze()


def goes(store: Apart) -> None:
    store.line.refusing = True
    store.line.reset()


@pytest.mark.parametrize("lost", [hangs, goes])
def test_without_the_store_nobody_gets_in_and_nobody_stays_and_with_it_again_they_do(
    nodes: Nodes, lost: Callable[[Apart], None]
) -> None:
    grant = nodes.a.grant("postgres")
    token = nodes.a.token(grant=grant)
    dsns = [each.dsn("postgres", token=token) for each in (nodes.a, nodes.b)]
    with ExitStack() as stack:
        live = [stack.enter_context(closing(psycopg.connect(dsn, autocommit=True))) for dsn in dsns]
        backends = [backend_of(each) for each in live]
        try:
            nodes.store.do(lambda: lost(nodes.store))
            for connection in live:
                heard_something(connection)
                with pytest.raises(psycopg.errors.AdminShutdown, match="the gateway cannot verify grants now"):
                    connection.execute("select 1")
            for dsn in dsns:
                assert not lets_in(dsn)
            until(lambda: all(gone(nodes.a, each) for each in backends))
        finally:
            nodes.store.do(nodes.store.line.reset)
            nodes.store.do(nodes.store.line.mend)
    for dsn in dsns:
        until(lambda dsn=dsn: lets_in(dsn))  # type: ignore[misc]
    until(lambda: [each["end_reason"] for each in nodes.a.sessions(grant=grant)].count("store_lost") == 2)


def lets_in(dsn: str) -> bool:
    try:
        with closing(psycopg.connect(dsn)) as connection:
            return connection.execute("select 1").fetchone() == (1,)
    except psycopg.OperationalError as error:
        assert "grants cannot be verified now" in str(error)
        return False
