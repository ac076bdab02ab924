"""The gateway under attack: a hostile client, a hostile target, and an operator who holds the store."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from proxy.cli.demo.certificates import Authority
from proxy.protocols.postgres import messages
from tests.peers.gateway import Gateway, gateway
from tests.peers.hostile_target import ROLES, HostileTarget, hostile_target
from tests.peers.postgres import Cluster
from tests.peers.psql import psql
from tests.peers.wire import Wire, log_in

SSL = struct.pack("!II", 8, 80877103)
GSS = struct.pack("!II", 8, 80877104)
LIMITS = {
    "startup_timeout": '"2s"',
    "login_timeout": '"4s"',
    "tls_timeout": '"1s"',
    "pending_per_source": "40",
    "cancel_guesses_per_minute": "5",
}
EVIL = {"plain": "disable", "smuggling": "require", "othername": "verify-full", "anyname": "verify-ca"}


class Attacked:
    """A gateway with bounds a test can wait for, and the hostile targets behind it."""

    def __init__(self, gateway: Gateway, targets: dict[str, HostileTarget]) -> None:
        self.gateway = gateway
        self.targets = targets

    def token(self, resource: str, account: str) -> tuple[str, str]:
        """(token, grant)"""
        asked = {"resource": resource, "account": account, "duration": 1800, "reason": "testing the gateway"}
        grant = self.gateway.call("POST", "/v1/requests", asked, user="alice")["request"]["grant"]
        return self.gateway.token(grant=grant), grant

    def worker(self) -> int:
        for pid in self.gateway.processes():
            if b"worker-0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        raise AssertionError("no worker")

    def resident(self) -> int:
        """KiB of the worker."""
        status = Path(f"/proc/{self.worker()}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def works(self) -> None:
        with psycopg.connect(self.gateway.dsn()) as connection:
            assert connection.execute("select 1").fetchone() == (1,)

    @property
    def store(self) -> Path:
        return self.gateway.folder / "state" / "tidegate.db"


@pytest.fixture(scope="module")
def attacked(postgres15: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("evil")
    authority = Authority.create()
    authority.write(folder)
    certificate = authority.server(["other.example"]).write(folder, "evil")
    with (
        hostile_target() as plain,
        hostile_target(smuggles=True) as smuggling,
        hostile_target(certificate) as named,
    ):
        targets = {"plain": plain, "smuggling": smuggling, "othername": named, "anyname": named}
        accounts = "".join(
            f'[[resources.accounts]]\nname = "{role}"\npassword = "file:secrets/readonly"\n' for role in ROLES
        )
        extra = "".join(
            f'[[resources]]\nname = "{name}"\nprotocol = "postgres"\naddress = "127.0.0.1:{targets[name].port}"\n'
            f'tls_mode = "{mode}"\n'
            + (f'tls_ca = "{folder / "ca.crt"}"\n' if mode.startswith("verify") else "")
            + accounts
            for name, mode in EVIL.items()
        )
        extra += (
            '[[policies]]\nname = "evil"\nwho = ["group:engineers"]\nresources = '
            f'{list(EVIL)}\naccounts = {list(ROLES)}\nmax_duration = "1h"\napproval = "automatic"\n'
            '[store]\nlease = "2s"\n'
        ).replace("'", '"')
        with gateway(postgres15, extra=extra, settings=LIMITS) as running:
            yield Attacked(running, targets)


def closed_within(sock: socket.socket, seconds: float) -> bool:
    sock.settimeout(seconds)
    try:
        while sock.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


# -- a hostile client ---------------------------------------------------------------------------------------------


def test_slow_clients_are_dropped_and_keep_nobody_out(attacked: Attacked) -> None:
    """One byte at a time, a handshake that is never finished, a token that never comes."""
    startup = messages.startup_packet({"user": "readonly", "database": "shop"})
    slow, half, mute = Wire(attacked.gateway), Wire(attacked.gateway), Wire(attacked.gateway, direct=True)
    half.say(SSL)
    assert half.hear(1) == b"S"
    half.say(b"\x16\x03\x01\x02\x00\x01")
    mute.start()
    began = time.monotonic()
    for byte in startup[:5]:
        slow.say(bytes((byte,)))
        time.sleep(0.2)
    attacked.works()
    for wire, most in ((half, 3), (slow, 4), (mute, 7)):
        assert closed_within(wire.sock, most)
        wire.close()
    assert time.monotonic() - began < 8


def test_connections_of_one_source_are_bounded_before_they_say_anything(attacked: Attacked) -> None:
    socks = []
    try:
        for _ in range(1000):
            sock = socket.create_connection(("127.0.0.1", attacked.gateway.port), source_address=("127.0.0.9", 0))
            socks.append(sock)
        time.sleep(0.3)
        attacked.works()  # another source
        kept = 0
        for sock in socks:
            sock.setblocking(False)
            try:
                kept += sock.recv(1) != b""
            except BlockingIOError:
                kept += 1
            except OSError:
                pass
        assert kept <= 40
    finally:
        for sock in socks:
            sock.close()


def test_encryption_is_asked_for_once(attacked: Attacked) -> None:
    """A flood of SSLRequests inside TLS held the loop: each was answered without a pause."""
    wire = Wire(attacked.gateway, direct=True)
    wire.say(SSL)
    assert wire.hear(1) == b"N"
    wire.say(SSL)
    assert wire.message()[0] in (b"E", b"")
    wire.close()
    again = Wire(attacked.gateway, direct=True)
    again.say(GSS)
    assert again.hear(1) == b"N"
    again.start()
    log_in(again)
    again.close()


def test_a_refused_client_that_goes_on_sending_holds_nobody_up(attacked: Attacked) -> None:
    stop = threading.Event()

    def flood() -> None:
        with socket.create_connection(("127.0.0.1", attacked.gateway.port)) as sock:
            try:
                sock.sendall(struct.pack("!II", 8, 1))
                while not stop.is_set():
                    sock.sendall(b"\0" * 1_000_000)
            except OSError:
                pass

    flooding = [threading.Thread(target=flood) for _ in range(4)]
    for each in flooding:
        each.start()
    began = time.monotonic()
    attacked.works()
    took = time.monotonic() - began
    stop.set()
    for each in flooding:
        each.join(10)
    assert took < 3


def test_a_startup_packet_of_the_greatest_length_is_understood(attacked: Attacked) -> None:
    known = messages.startup_packet({"user": "readonly", "database": "shop", "application_name": "x"})
    wire = Wire(attacked.gateway, direct=True)
    wire.start(application_name="x" * (10_004 - len(known) + 1))
    log_in(wire)
    wire.close()


@pytest.mark.parametrize("size", [0, 8192, 65_530, 65_600, 10**9])
def test_a_huge_password_is_refused(attacked: Attacked, size: int) -> None:
    wire = Wire(attacked.gateway, direct=True)
    wire.start()
    assert wire.message()[0] == b"R"
    wire.say(b"p" + struct.pack("!I", size + 5) + b"A" * min(size, 65_600) + b"\0")
    kind, body = wire.message()
    assert kind == b"E"
    assert b"AAAA" not in body
    wire.close()


@pytest.mark.parametrize(
    "account", ["READONLY", "readonly ", '"readonly"', "readonly\u0000x", "r\u0435adonly", "ow" * 31]
)
def test_an_account_is_the_grants_exactly(attacked: Attacked, account: str) -> None:
    wire = Wire(attacked.gateway, direct=True)
    body = b"user\0" + account.encode() + b"\0database\0shop\0\0"
    wire.say(struct.pack("!II", len(body) + 8, 3 << 16) + body)
    kind, words = wire.message()
    if kind == b"R":
        wire.say(messages.password(attacked.gateway.token()))
        kind, words = wire.message()
    assert kind == b"E"
    assert b"28000" in words or b"08P01" in words
    wire.close()


def test_nothing_after_terminate_reaches_the_target(attacked: Attacked) -> None:
    token, grant = attacked.token("shop", "postgres")
    wire = Wire(attacked.gateway, direct=True)
    wire.start(user="postgres")
    log_in(wire, token)
    wire.say(messages.frame(b"X", b"") + messages.query("create table after_terminate (i int)"))
    ended = attacked.gateway.ended(grant)
    wire.close()
    assert ended["end_reason"] == "client_closed"
    assert attacked.gateway.cluster.execute("select to_regclass('after_terminate')") == [(None,)]
    assert not attacked.gateway.statements(ended["id"])


def test_a_client_that_half_closes_gets_its_end_recorded(attacked: Attacked) -> None:
    token, grant = attacked.token("shop", "readonly")
    wire = Wire(attacked.gateway, port=attacked.gateway.plain_port)
    wire.start()
    log_in(wire, token)
    wire.say(messages.query("select 1"))
    wire.sock.shutdown(socket.SHUT_WR)
    assert attacked.gateway.ended(grant)["end_reason"] == "client_closed"
    wire.close()


def running(attacked: Attacked, mark: str) -> list[Any]:
    return attacked.gateway.cluster.execute(
        f"select pid from pg_stat_activity where query like '%{mark}%' and pid <> pg_backend_pid() "
        "and state = 'active'"
    )


def gone_within(attacked: Attacked, mark: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while running(attacked, mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_what_a_vanished_client_left_running_is_stopped(attacked: Attacked) -> None:
    """Or it would outlive the session, and with it the grant: there is nobody left to cut."""
    wire = Wire(attacked.gateway, direct=True)
    wire.start()
    log_in(wire)
    wire.say(messages.query("select pg_sleep(60) /* vanished */"))
    deadline = time.monotonic() + 5
    while not running(attacked, "vanished") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running(attacked, "vanished")
    wire.close()
    assert gone_within(attacked, "vanished", 6)


STUBBORN = """set application_name = 'innocent'; set role readonly;
do $$ begin loop
  begin perform pg_sleep(10) /* stubborn */; exception when query_canceled then null; end;
end loop; end $$"""


def test_neither_a_false_name_nor_a_caught_cancel_saves_a_session(attacked: Attacked) -> None:
    """The cut is proved by pid and role; what survives the cancel is terminated."""
    token, grant = attacked.token("shop", "postgres")
    wire = Wire(attacked.gateway, direct=True)
    wire.start(user="postgres")
    log_in(wire, token)
    wire.say(messages.query(STUBBORN))
    deadline = time.monotonic() + 5
    while not running(attacked, "stubborn") and time.monotonic() < deadline:
        time.sleep(0.05)
    attacked.gateway.revoke(grant)
    ended = attacked.gateway.ended(grant, within=15)
    wire.close()
    assert ended["receipt"]["verified"] == "pg_terminate_backend"
    assert not running(attacked, "stubborn")
    texts = [each["text"] for each in attacked.gateway.statements(ended["id"])]
    assert any("set role readonly" in text for text in texts)


def test_guesses_of_cancel_keys_close_the_door_for_their_source_only(attacked: Attacked) -> None:
    wire = Wire(attacked.gateway, direct=True)
    wire.start()
    pid, key = log_in(wire)
    wire.say(messages.query("select pg_sleep(30) /* guessed */"))
    wrong = bytes(byte ^ 1 for byte in key)

    def cancel(key: bytes, source: str) -> None:
        guess = Wire(attacked.gateway, source=source)
        guess.say(messages.cancel_request(pid, key))
        assert guess.hear(1) == b""
        guess.close()

    for _ in range(6):
        cancel(wrong, "127.0.0.7")
    cancel(key, "127.0.0.7")
    wire.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        wire.sock.recv(1)
    wire.sock.settimeout(10)
    cancel(key, "127.0.0.8")
    assert b"57014" in b"".join(body for _, body in wire.until(b"Z"))
    wire.close()


def test_a_flood_of_cancels_never_hits_the_next_statement(attacked: Attacked) -> None:
    wire = Wire(attacked.gateway, direct=True)
    wire.start()
    pid, key = log_in(wire)
    for _ in range(3):
        wire.say(messages.query("select pg_sleep(30)") + messages.query("select 'next'"))
        time.sleep(0.2)
        flood = [Wire(attacked.gateway) for _ in range(8)]
        for each in flood:
            each.say(messages.cancel_request(pid, key))
        for each in flood:
            assert each.hear(1) == b""
            each.close()
        assert b"57014" in b"".join(body for _, body in wire.until(b"Z"))
        assert [kind for kind, _ in wire.until(b"Z")] == [b"T", b"D", b"C", b"Z"]
    wire.close()


def test_idle_connections_to_the_api_keep_no_administrator_out(attacked: Attacked) -> None:
    """uvicorn serves so many connections and no more, and waits for ever for a request's head."""
    context = ssl.create_default_context(cafile=str(attacked.gateway.ca))
    idle = []
    try:
        for _ in range(540):
            sock = socket.create_connection(
                ("127.0.0.1", attacked.gateway.api_port), source_address=("127.0.0.6", 0)
            )
            idle.append(sock)
            with contextlib.suppress(OSError):
                idle.append(context.wrap_socket(sock, server_hostname="localhost"))
        assert attacked.gateway.call("GET", "/readyz", user=None)["ready"]
        last = next(each for each in idle if isinstance(each, ssl.SSLSocket))
        with contextlib.suppress(OSError):
            last.sendall(b"GET /readyz HTTP/1.1\r\nhost:")
        assert closed_within(last, 12)
    finally:
        for sock in idle:
            sock.close()


# -- a hostile target ---------------------------------------------------------------------------------------------

NEVER_IN = [role for role in ROLES if role not in ("deaf", "namesake", "silent", "never_ready")]


@pytest.mark.parametrize("role", NEVER_IN)
def test_a_target_that_breaks_the_log_in_is_not_let_near(attacked: Attacked, role: str) -> None:
    token, _ = attacked.token("plain", role)
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="target") as refused:
        psycopg.connect(attacked.gateway.dsn(role, token=token))
    assert time.monotonic() - began < 3
    assert "127.0.0.1:" + str(attacked.targets["plain"].port) not in str(refused.value)
    secret = attacked.gateway.cluster.passwords["readonly"]
    assert not [each for each in attacked.targets["plain"].passwords if secret.encode() in each]


@pytest.mark.parametrize(("resource", "role"), [("smuggling", "deaf"), ("othername", "cleartext")])
def test_a_target_that_is_not_who_it_should_be_is_told_nothing(
    attacked: Attacked, resource: str, role: str
) -> None:
    before = len(attacked.targets[resource].passwords)
    token, _ = attacked.token(resource, role)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(attacked.gateway.dsn(role, token=token))
    assert len(attacked.targets[resource].passwords) == before


def test_verify_ca_takes_any_name_of_its_authority(attacked: Attacked) -> None:
    token, _ = attacked.token("anyname", "deaf")
    psycopg.connect(attacked.gateway.dsn("deaf", token=token)).close()


@pytest.mark.parametrize("role", ["silent", "never_ready"])
def test_a_log_in_that_hangs_is_cut_with_its_grant(attacked: Attacked, role: str) -> None:
    token, grant = attacked.token("plain", role)
    wire = Wire(attacked.gateway, direct=True)
    wire.start(user=role)
    assert wire.message()[0] == b"R"
    wire.say(messages.password(token))
    time.sleep(0.3)
    attacked.gateway.revoke(grant)
    began = time.monotonic()
    kind, body = wire.message()
    assert time.monotonic() - began < 1
    assert kind == b"E"
    assert b"revoked" in body
    wire.close()
    assert not [each for each in attacked.gateway.sessions(grant=grant) if each["status"] == "live"]


def test_a_target_that_answers_no_cancel_keeps_neither_client_nor_cut(attacked: Attacked) -> None:
    token, grant = attacked.token("plain", "deaf")
    wire = Wire(attacked.gateway, direct=True)
    wire.start(user="deaf")
    pid, key = log_in(wire, token)
    wire.say(messages.query("select 1"))
    time.sleep(0.2)
    cancel = Wire(attacked.gateway)
    cancel.say(messages.cancel_request(pid, key))
    assert closed_within(cancel.sock, 5)
    cancel.close()
    began = time.monotonic()
    attacked.gateway.revoke(grant)
    assert b"revoked" in wire.message()[1]
    assert time.monotonic() - began < 2
    wire.close()
    ended = attacked.gateway.ended(grant, within=10)
    assert ended["receipt"]["verified"] == ""  # nobody can prove it, so nobody says so
    assert attacked.targets["plain"].cancels


# -- an operator, and the machine ---------------------------------------------------------------------------------


def test_a_row_or_an_item_that_an_operator_wrote_gives_nothing(attacked: Attacked) -> None:
    token, grant = attacked.token("shop", "readonly")
    attacked.gateway.revoke(attacked.token("shop", "postgres")[1])  # a row of the feed that is not pruned yet
    with (
        psycopg.connect(attacked.gateway.dsn(token=token), autocommit=True) as live,
        contextlib.closing(sqlite3.connect(attacked.store, timeout=5)) as store,
    ):
        store.execute("update grants set ends = ends + 86400 where id = ?", (grant,))
        store.commit()
        for table in ("trail", "feed"):
            with pytest.raises(sqlite3.DatabaseError):
                store.execute(f"delete from {table}")
            store.rollback()
        live.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match="token"):
            psycopg.connect(attacked.gateway.dsn(token=token))


def test_while_the_store_takes_no_writes_nobody_is_let_in(attacked: Attacked) -> None:
    token, _ = attacked.token("shop", "readonly")
    store = sqlite3.connect(attacked.store, timeout=5, isolation_level=None)
    store.execute("begin exclusive")
    try:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(attacked.gateway.dsn(token=token), connect_timeout=6)
    finally:
        store.execute("rollback")
        store.close()
    attacked.works()


def stop_between_commits(attacked: Attacked, worker: int) -> None:
    """SIGSTOP it where it does not hold the store's lock: then nobody could revoke anything."""
    for _ in range(20):
        os.kill(worker, signal.SIGSTOP)
        with contextlib.closing(sqlite3.connect(attacked.store, timeout=0, isolation_level=None)) as store:
            try:
                store.execute("begin immediate")
            except sqlite3.OperationalError:
                os.kill(worker, signal.SIGCONT)
                time.sleep(0.05)
                continue
            store.execute("rollback")
            return
    raise AssertionError("it always writes")


def test_a_worker_that_was_stopped_passes_nothing_when_it_goes_on(attacked: Attacked) -> None:
    """SIGSTOP for longer than the lease, while the grant is revoked and the client goes on sending."""
    token, grant = attacked.token("shop", "postgres")
    wire = Wire(attacked.gateway, direct=True)
    wire.start(user="postgres")
    log_in(wire, token)
    worker = attacked.worker()
    stop_between_commits(attacked, worker)
    try:
        wire.say(messages.query("create table after_the_stop (i int)"))
        attacked.gateway.revoke(grant)
        time.sleep(2.5)
    finally:
        os.kill(worker, signal.SIGCONT)
    ended = attacked.gateway.ended(grant)
    wire.close()
    assert ended["end_reason"] in ("store_lost", "grant_revoked")
    assert attacked.gateway.cluster.execute("select to_regclass('after_the_stop')") == [(None,)]


def test_two_thousand_aborted_log_ins_cost_no_memory(attacked: Attacked) -> None:
    def abort(count: int) -> None:
        for index in range(count):
            with socket.create_connection(("127.0.0.1", attacked.gateway.plain_port)) as sock:
                packet = messages.startup_packet({"user": "readonly", "database": "shop", "options": "x" * 5000})
                sock.sendall(packet[: 4 + index % 5000])

    abort(500)
    before = attacked.resident()
    abort(2000)
    attacked.works()
    assert attacked.resident() - before < 8 * 1024


def test_what_is_large_streams_through_in_constant_memory(attacked: Attacked) -> None:
    attacked.works()
    token, _ = attacked.token("shop", "postgres")
    before, highest, done = attacked.resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.02):
            highest = max(highest, attacked.resident())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        with psycopg.connect(attacked.gateway.dsn("postgres", token=token), autocommit=True) as connection:
            row = connection.execute("select length(repeat('x', 100000000)), repeat('x', 100000000)").fetchone()
            assert row is not None
            assert row[0] == len(row[1])
            sent = connection.execute("select length(%b::bytea)", (b"y" * 100_000_000,)).fetchone()
            assert sent == (100_000_000,)
            many = ",".join(["%s"] * 65_535)
            numbers = list(range(65_535))
            found = connection.execute(f"select cardinality(array[{many}]::int[])".encode(), numbers).fetchone()
            assert found == (65_535,)
    finally:
        done.set()
        watching.join()
    assert highest - before < 48 * 1024


def test_without_its_folder_no_session_begins(attacked: Attacked) -> None:
    token, _ = attacked.token("shop", "readonly")
    kept = attacked.gateway.recordings.with_name("recordings-kept")
    with psycopg.connect(attacked.gateway.dsn(token=token), autocommit=True) as live:
        live.execute("select 1")
        attacked.gateway.recordings.rename(kept)
        try:
            time.sleep(1.1)
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(attacked.gateway.dsn(token=token))
        finally:
            shutil.rmtree(attacked.gateway.recordings, ignore_errors=True)
            kept.rename(attacked.gateway.recordings)
    time.sleep(1.1)
    attacked.works()


@pytest.mark.timeout(120)
async def test_a_crowd_that_says_nothing_keeps_no_psql_out(postgres15: Cluster) -> None:
    """Sixteen addresses with as many connections as one may have, which is all that may wait."""
    with gateway(postgres15, settings={"pending_per_source": "16"}) as gate, contextlib.ExitStack() as stack:
        dsn = gate.dsn()
        for each in range(256):
            source = (f"127.7.0.{1 + each % 16}", 0)
            stack.enter_context(socket.create_connection(("127.0.0.1", gate.port), 10, source))
        for _ in range(3):
            ran = await psql(dsn, "select 40 + 2")
            assert (ran.code, ran.out.strip()) == (0, "42"), ran.err
