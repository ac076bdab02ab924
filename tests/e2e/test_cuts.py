"""A grant is revoked, whatever its session is doing: the client is gone and told why, what it ran on the target is
gone too, and the receipt, the trail and the recording say the same of it. A log-in that is held by its target is in
``test_hostile_line``."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any

import psycopg
import pytest

from proxy.core.states import EndReason
from proxy.protocols.postgres import messages
from proxy.protocols.postgres.refusals import farewell
from tests.peers.gateway import Gateway, Refused, gateway
from tests.peers.line import line_apart
from tests.peers.postgres import Cluster
from tests.peers.proof import (
    accounted,
    backend_of,
    connected,
    farewells,
    gone,
    heard_something,
    over,
    until,
)
from tests.peers.wire import Wire, log_in

Doing = Callable[[psycopg.Connection[Any], threading.Event], None]

TOLD = "your grant was revoked by dave: leaked laptop"
ENDLESS = "select repeat('x', 1000) from generate_series(1, 10000) a, generate_series(1, 10000) b"


def idle(connection: psycopg.Connection[Any], ready: threading.Event) -> None:
    connection.execute("select 1")
    ready.set()
    heard_something(connection)
    connection.execute("select 2")


def sleeping(connection: psycopg.Connection[Any], ready: threading.Event) -> None:
    threading.Timer(0.3, ready.set).start()
    connection.execute("select pg_sleep(30)")


def selecting(connection: psycopg.Connection[Any], ready: threading.Event) -> None:
    with connection.cursor() as cursor:
        for number, _ in enumerate(cursor.stream(ENDLESS)):
            if number == 1000:
                ready.set()


def copying_in(connection: psycopg.Connection[Any], ready: threading.Event) -> None:
    with connection.cursor() as cursor, cursor.copy("copy cut_here from stdin") as copy:
        for number in range(100_000_000):
            copy.write("x" * 1000 + "\n")
            if number == 1000:
                ready.set()


def copying_out(connection: psycopg.Connection[Any], ready: threading.Event) -> None:
    with connection.cursor() as cursor, cursor.copy(f"copy ({ENDLESS}) to stdout".encode()) as copy:
        for number, _ in enumerate(copy):
            if number == 1000:
                ready.set()


def in_a_transaction(connection: psycopg.Connection[Any], ready: threading.Event) -> None:
    with connection.transaction():
        connection.execute("insert into cut_here values ('must not be')")
        ready.set()
        heard_something(connection)
        connection.execute("select 1")


def in_a_pipeline(connection: psycopg.Connection[Any], ready: threading.Event) -> None:
    with connection.pipeline() as pipeline:
        connection.execute("select 1")
        pipeline.sync()
        connection.execute("insert into cut_here values ('must not be')")
        connection.execute("select pg_sleep(30)")
        threading.Timer(0.3, ready.set).start()
        pipeline.sync()


@contextmanager
def a_table(cluster: Cluster) -> Iterator[None]:
    """``cut_here``, which everybody sees: what was committed to it is seen from outside."""
    cluster.execute("create table cut_here (s text)")
    try:
        yield
    finally:
        cluster.execute("drop table cut_here")


# -- revocation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("doing", [idle, sleeping, selecting, in_a_transaction])
def test_whatever_a_session_does_it_is_cut_and_stopped_and_told_why(gateway15: Gateway, doing: Doing) -> None:
    noticed = revoked_while(gateway15, doing)
    assert noticed.sqlstate == "57P01"
    assert f"terminating connection due to administrator command: {TOLD}" in str(noticed)


@pytest.mark.parametrize("doing", [selecting, copying_in, copying_out, in_a_pipeline])
def test_in_an_answer_a_copy_or_a_pipeline_the_reason_is_the_last_word(gateway15: Gateway, doing: Doing) -> None:
    """psycopg says no more than "closed unexpectedly" when PostgreSQL itself terminates a backend in a COPY or a
    pipeline. So we look at the bytes."""
    words = farewell(EndReason.GRANT_REVOKED, TOLD)
    with line_apart("127.0.0.1", gateway15.plain_port) as hostile:
        revoked_while(gateway15, doing, port=str(hostile.port), sslmode="disable")
        assert hostile.line.down.tail[-len(words) :] == words


@pytest.mark.parametrize("doing", [sleeping, copying_in, in_a_transaction])
@pytest.mark.parametrize("version", ["16", "18"])
def test_on_other_versions_too(request: pytest.FixtureRequest, version: str, doing: Doing) -> None:
    revoked_while(request.getfixturevalue(f"gateway{version}"), doing)


def revoked_while(gate: Gateway, doing: Doing, **options: str) -> psycopg.Error:
    """What the client noticed of it."""
    grant = gate.grant("postgres")
    ready, failed = threading.Event(), []
    with a_table(gate.cluster), connected(gate, grant, **options) as connection:
        backend = backend_of(connection)

        def work() -> None:
            try:
                doing(connection, ready)
            except psycopg.Error as error:
                failed.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        assert ready.wait(20)
        gate.revoke(grant)
        worker.join(20)
        assert not worker.is_alive()
        session = accounted(gate, grant)
        assert gone(gate, backend)
        assert gate.cluster.execute("select count(*) from cut_here") == [(0,)]
    assert failed, "the client noticed nothing"
    assert session["detail"] == "by dave: leaked laptop"
    assert [each["text"] for each in farewells(gate, session["id"])] == [TOLD]
    outcomes = [each["outcome"] for each in gate.statements(session["id"])]
    assert outcomes[0] == "done"
    if doing not in (idle, in_a_transaction):  # they were between two statements
        assert outcomes[-1] in ("cut", "cancelled", "failed")
    return failed[0]


def test_a_client_that_does_not_read_is_cut_all_the_same(gateway15: Gateway) -> None:
    grant = gateway15.grant("postgres")
    with connected(gateway15, grant) as connection, closing(socket.socket(fileno=connection.fileno())) as sock:
        backend = backend_of(connection)
        connection.pgconn.send_query(ENDLESS.encode())
        connection.pgconn.flush()
        time.sleep(0.5)
        gateway15.revoke(grant)
        session = accounted(gateway15, grant)
        assert session["receipt"]["verified"] == "pg_stat_activity"
        assert gone(gateway15, backend)
        sock.setblocking(False)
        until(lambda: over(sock))
        sock.detach()
        connection.pgconn.finish()


def test_during_log_in_nobody_slips_through(gateway15: Gateway) -> None:
    """A token of a revoked grant, and one whose grant is revoked while the log-in runs."""
    grant = gateway15.grant("postgres")
    token = gateway15.token(grant=grant)
    stop = threading.Event()
    outcomes: list[str] = []

    def connect_again_and_again() -> None:
        while not stop.is_set():
            try:
                with psycopg.connect(gateway15.dsn("postgres", token=token)) as connection:
                    connection.execute("select 1")
                    outcomes.append("in")
            except psycopg.Error:
                outcomes.append("out")

    workers = [threading.Thread(target=connect_again_and_again) for _ in range(4)]
    for each in workers:
        each.start()
    time.sleep(0.5)
    gateway15.revoke(grant)
    time.sleep(0.5)
    stop.set()
    for each in workers:
        each.join()
    assert "in" in outcomes
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(gateway15.dsn("postgres", token=token))
    assert not [each for each in gateway15.sessions(grant=grant) if each["status"] == "live"]


@pytest.mark.parametrize("body", [{"scope": "identity", "key": "eve"}, {"scope": "resource", "key": "shop"}])
def test_by_user_and_by_resource_with_a_look_beforehand(gateway15: Gateway, body: dict[str, str]) -> None:
    grant = gateway15.grant("readonly", user="eve")
    token = gateway15.token(grant=grant, user="eve")
    with psycopg.connect(gateway15.dsn(token=token)) as connection:
        connection.execute("select 1")
        preview = gateway15.call("POST", "/v1/revocations", {**body, "dry_run": True, "reason": "look"})
        assert grant in str(preview)
        assert connection.execute("select 2").fetchone() == (2,)
        gateway15.call("POST", "/v1/revocations", {**body, "reason": "drill"})
        assert gateway15.ended(grant)["end_reason"] == "grant_revoked"
        with pytest.raises(psycopg.Error):
            connection.execute("select 3")
    gateway15._grants.clear()


# -- every other end ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient(postgres15: Cluster) -> Iterator[Gateway]:
    """One that waits for nobody."""
    with gateway(postgres15, settings={"write_stall": '"1s"', "idle": '"2s"'}) as running:
        yield running


def test_a_client_that_reads_nothing_for_too_long_ends_as_stalled(impatient: Gateway) -> None:
    grant = impatient.grant("postgres")
    with connected(impatient, grant) as connection:
        backend = backend_of(connection)
        connection.pgconn.send_query(ENDLESS.encode())
        connection.pgconn.flush()
        session = accounted(impatient, grant, "stalled")
        assert gone(impatient, backend)
    assert "read nothing for 1 s" in session["detail"]


def test_who_asks_nothing_for_too_long_ends_as_idle_and_who_waits_for_an_answer_does_not(
    impatient: Gateway,
) -> None:
    grant = impatient.grant("postgres")
    with connected(impatient, grant) as connection:
        backend = backend_of(connection)
        connection.execute("select pg_sleep(3.5)")
        connection.execute("select 1")
        session = accounted(impatient, grant, "idle")
        assert gone(impatient, backend)
        with pytest.raises(psycopg.Error, match="the session was idle") as caught:
            connection.execute("select 2")
        assert caught.value.sqlstate in (None, "57P05")
    assert session["detail"] == "nothing was asked for 2 s"


def test_at_the_grants_end_a_session_is_warned_and_cut_and_an_extended_one_goes_on(gateway15: Gateway) -> None:
    """Two sessions of two grants that end at the same time, one of which is extended meanwhile."""
    ending, extended = gateway15.grant("postgres", seconds=5), gateway15.grant("postgres", user="eve", seconds=5)
    heard: list[str] = []
    with (
        connected(gateway15, extended, "eve") as staying,
        connected(gateway15, ending) as going,
    ):
        going.add_notice_handler(lambda notice: heard.append(f"{notice.severity}: {notice.message_primary}"))
        backend, other = backend_of(going), backend_of(staying)
        asked = {"duration": 600, "reason": "not done yet"}
        made = gateway15.call("POST", f"/v1/grants/{extended}/extend", asked, user="eve")
        assert made["request"]["status"] == "approved"
        ends = datetime.fromisoformat(gateway15.call("GET", f"/v1/grants/{ending}")["ends"])

        def warned() -> bool:
            going.execute("select 1")
            return bool(heard)

        until(warned, within=4)
        assert [re.sub(r"\d+", "N", each) for each in heard] == ["WARNING: your access ends in N seconds"]
        session = accounted(gateway15, ending, "grant_expired")
        assert datetime.fromisoformat(session["receipt"]["requested"]) == ends
        assert datetime.fromisoformat(session["receipt"]["client_closed"]) >= ends
        assert gone(gateway15, backend)
        with pytest.raises(psycopg.Error, match="your grant has ended") as caught:
            going.execute("select 2")
        assert caught.value.sqlstate in (None, "57P01")
        assert len(heard) == 1
        assert backend_of(staying) == other
        gateway15.revoke(extended)
        assert accounted(gateway15, extended)["started"] < session["ended"]


def test_a_warning_comes_between_statements_and_never_in_the_middle_of_one(gateway15: Gateway) -> None:
    """Five minutes before the end and less: told in the first second, but not among the rows of an answer."""
    grant = gateway15.grant("readonly", seconds=200)
    wire = Wire(gateway15, direct=True)
    with closing(wire.sock):
        wire.start()
        log_in(wire, gateway15.token(grant=grant))
        wire.say(messages.query("select 1 from generate_series(1, 3), pg_sleep(0.7)"))
        answer = [kind for kind, _ in wire.until(b"Z")]
        rows = [kind for kind in answer if kind in b"TDC"]
        assert b"".join(answer).strip(b"N") == b"".join(rows) + b"Z"
        found = answer.count(b"N")
        while not found:
            kind, body = wire.message()
            assert kind == b"N"
            assert b"your access ends in 3 minutes" in body
            found += 1
    gateway15.revoke(grant)


def test_a_locked_user_is_out_and_stays_out(gateway15: Gateway) -> None:
    grant = gateway15.grant("readonly", user="eve")
    token = gateway15.token(grant=grant, user="eve")
    with psycopg.connect(gateway15.dsn(token=token)):
        gateway15.call("POST", "/v1/locks", {"scope": "identity", "key": "eve", "reason": "left the company"})
        try:
            assert gateway15.ended(grant)["end_reason"] == "user_locked"
            with pytest.raises(psycopg.OperationalError, match="locked"):
                psycopg.connect(gateway15.dsn(token=token))
            with pytest.raises(Refused):
                gateway15.grant("readonly", user="eve")
        finally:
            gateway15.call("DELETE", "/v1/locks?scope=identity&key=eve")


async def test_a_thousand_aborted_log_ins_leave_no_descriptor(gateway15: Gateway) -> None:
    before = gateway15.descriptors()
    for batch in range(20):
        socks = [socket.create_connection(("127.0.0.1", gateway15.port)) for _ in range(50)]
        for index, sock in enumerate(socks):
            if index % 3 == batch % 3:
                sock.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
            sock.close()
    async with asyncio.timeout(15):
        while gateway15.descriptors() > before + 5:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
