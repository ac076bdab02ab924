"""What shows that a session has ended, and ended well: to its client, on its target, in the store, the trail and
the recording. For end-to-end tests."""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any

import psycopg

from tests.peers.gateway import Gateway


def backend_of(connection: psycopg.Connection[Any]) -> int:
    found = connection.execute("select pg_backend_pid()").fetchone()
    assert found is not None
    return int(found[0])


def session_of(connection: psycopg.Connection[Any]) -> str:
    """The session's id, which its application_name on the target carries."""
    found = connection.execute("select current_setting('application_name')").fetchone()
    assert found is not None
    return str(found[0]).split(":")[2]


def gone(gate: Gateway, backend: int) -> bool:
    """Whether the target has no such backend any more."""
    return gate.cluster.execute(f"select count(*) from pg_stat_activity where pid = {backend}") == [(0,)]


def until(wanted: Callable[[], bool], within: float = 15.0) -> None:
    deadline = time.monotonic() + within
    while not wanted():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


@contextmanager
def connected(gate: Gateway, grant: str, user: str = "alice", **options: str) -> Iterator[psycopg.Connection[Any]]:
    token = gate.token(grant=grant, user=user)
    dsn = gate.dsn("postgres", token=token, **options)
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        yield connection


@contextmanager
def asking(connection: psycopg.Connection[Any], text: str) -> Iterator[list[Any]]:
    """Run ``text`` in a thread; the list has its rows or its error in the end, when the ``with`` is left."""
    came: list[Any] = []

    def ask() -> None:
        try:
            came.append(connection.execute(text.encode()).fetchall())
        except psycopg.Error as error:
            came.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield came
    finally:
        thread.join(30)
    assert came, "neither an answer nor an end"


def runs(gate: Gateway, backend: int) -> bool:
    """Whether the target's backend is busy."""
    return gate.cluster.execute(f"select state from pg_stat_activity where pid = {backend}") == [("active",)]


def accounted(gate: Gateway, grant: str, reason: str = "grant_revoked") -> dict[str, Any]:
    """The session, whose receipt is whole and which the trail and the recording tell as its row does."""
    session = gate.ended(grant, within=15)
    receipt = session["receipt"]
    assert session["end_reason"] == reason
    times = [receipt[each] for each in ("requested", "seen", "client_closed", "target_stopped")]
    assert None not in times
    assert [datetime.fromisoformat(each) for each in times] == sorted(
        datetime.fromisoformat(each) for each in times
    )
    assert receipt["verified"] in ("pg_stat_activity", "pg_terminate_backend")
    (event,) = gate.call(
        "GET", f"/v1/audit/events?kind=session_ended&subject=session:{session['id']}", user="carol"
    )["items"]
    body = event["body"]
    assert (body["end_reason"], body["detail"]) == (reason, session["detail"])
    assert body["recording_digest"] == session["recording_digest"]
    assert body["receipt"]["verified"] == receipt["verified"]
    assert body["totals"]["statements"] == session["totals"]["statements"] == len(gate.statements(session["id"]))
    return session


def farewells(gate: Gateway, session: str) -> list[dict[str, Any]]:
    notes = gate.call("GET", f"/v1/sessions/{session}/notes", user="carol")["items"]
    return [each["data"] for each in notes if each["kind"] == "farewell"]


def heard_something(connection: psycopg.Connection[Any]) -> None:
    """Wait at the prompt, as psql does, until bytes come that nobody asked for."""
    assert select.select([connection.fileno()], [], [], 20)[0]


def over(sock: socket.socket) -> bool:
    """Read what there is; whether the peer has closed or reset the connection."""
    try:
        while sock.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True
