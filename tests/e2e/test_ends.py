"""How a gateway ends, and what becomes of sessions that ended without it: SIGTERM, nodes that never return."""

import signal
import socket
import sqlite3
import time
from contextlib import closing

import psycopg
import pytest

from tests.peers.gateway import Gateway, gateway
from tests.peers.postgres import Cluster


def store_of(gate: Gateway) -> "closing[sqlite3.Connection]":
    return closing(sqlite3.connect(gate.folder / "state" / "tidegate.db"))


def refuses_connections(port: int, within: float = 10.0) -> bool:
    """Whether nobody listens there any more, or does not soon."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.timeout(120)
def test_a_stop_lets_sessions_end_by_themselves_and_can_be_hurried_by_a_revocation(postgres15: Cluster) -> None:
    with gateway(postgres15, settings={"shutdown_grace": '"60s"'}) as gate:
        grant = gate.grant()
        assert gate.process is not None
        with (
            psycopg.connect(gate.dsn(), autocommit=True) as patient,
            psycopg.connect(gate.dsn(token=gate.token(grant=grant)), autocommit=True) as revoked,
        ):
            gate.process.send_signal(signal.SIGTERM)
            assert refuses_connections(gate.port)
            assert patient.execute("select 1").fetchone() == (1,)
            gate.revoke(grant, "no time to wait")
            with pytest.raises(psycopg.OperationalError, match="no time to wait"):
                revoked.execute("select 1")
            assert patient.execute("select 2").fetchone() == (2,)
            assert gate.process.poll() is None
        assert gate.process.wait(30) == 0
        with store_of(gate) as store:
            ends = store.execute("select end_reason from sessions order by end_reason").fetchall()
        assert ends == [("client_closed",), ("grant_revoked",)]


@pytest.mark.timeout(120)
def test_sessions_of_a_node_that_does_not_return_are_ended_by_one_that_does(postgres15: Cluster) -> None:
    with gateway(postgres15) as gate:
        with psycopg.connect(gate.dsn(), autocommit=True) as connection:
            gate.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select 1")
        long_ago = 10_000
        with store_of(gate) as store, store:
            store.execute("update nodes set id = 'gone-0', heartbeat = heartbeat - ?", (long_ago,))
            store.execute("update sessions set node = 'gone-0', started = started - ?", (long_ago,))
        gate.start()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and gate.sessions(live="true"):
            time.sleep(0.1)
        (session,) = gate.sessions()
        assert (session["node"], session["end_reason"]) == ("gone-0", "node_lost")
        (event,) = gate.call("GET", "/v1/audit/events?kind=session_ended", user="carol")["items"]
        assert event["body"]["recording_digest"]
        assert event["body"]["detail"] == "its node is gone"
