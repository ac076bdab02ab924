"""What the record of a session says of what a client really did, on a real server: from the bytes to ``replay``."""

import asyncio
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg

from proxy.cli.home import Home, SavedLogin
from proxy.protocols.postgres import messages
from proxy.protocols.postgres.names import ELSEWHERE
from tests.e2e.test_asyncpg import connected
from tests.e2e.test_drivers import cancelled
from tests.peers.gateway import Gateway
from tests.peers.wire import Wire, log_in
from tests.protocols.postgres.ladder import (
    COPY_DONE,
    SYNC,
    bind,
    close,
    copy_data,
    execute,
    parse,
    query,
)


class Kept:
    """A session of its own grant, and what is kept of it once it has ended."""

    def __init__(self, gateway: Gateway, account: str = "readonly", user: str = "alice") -> None:
        self.gateway = gateway
        self.account = account
        self.grant = gateway.grant(account, user)
        self.token = gateway.token(user=user, grant=self.grant)

    @property
    def dsn(self) -> str:
        return self.gateway.dsn(self.account, token=self.token)

    def wire(self, **parameters: str) -> Wire:
        wire = Wire(self.gateway, direct=True)
        wire.start(user=self.account, **parameters)
        log_in(wire, self.token)
        return wire

    def said(self, *script: bytes, **parameters: str) -> list[dict[str, Any]]:
        """Say each part and wait for the server to be ready; the statements that were recorded."""
        wire = self.wire(**parameters)
        for part in script:
            wire.say(part)
            wire.until(b"Z")
        wire.close()
        return self.statements

    @property
    def session(self) -> str:
        return str(self.gateway.ended(self.grant)["id"])

    @property
    def statements(self) -> list[dict[str, Any]]:
        return self.gateway.statements(self.session)

    def notes(self) -> list[dict[str, Any]]:
        return list(self.gateway.call("GET", f"/v1/sessions/{self.session}/notes", user="carol")["items"])

    def replay(self, home: Path, *options: str) -> str:
        """What ``tidegate replay`` prints to the auditor."""
        login = SavedLogin(self.gateway.url, "carol", self.gateway._login("carol"), "", str(self.gateway.ca))
        Home({"TIDEGATE_HOME": str(home)}).save(login)
        ran = subprocess.run(
            [sys.executable, "-m", "proxy.cli", "replay", self.session, *options],
            env={"TIDEGATE_HOME": str(home), "PATH": ""},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
            timeout=30,
        )
        return ran.stdout.decode()


def short(found: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(each[name] for name in names) for each in found]


# -- what was seen -------------------------------------------------------------------------------------------------


def test_the_first_rows_are_kept_where_policy_says_so(every_gateway: Gateway) -> None:
    """Eve's policy keeps 3 rows and 1 KiB of each result; alice's keeps none."""
    eve, alice = Kept(every_gateway, user="eve"), Kept(every_gateway)
    for kept in (eve, alice):
        with psycopg.connect(kept.dsn, autocommit=True) as connection:
            connection.execute("select i, 'seen ' || i as s, null as n from generate_series(1, 10) i")
            connection.execute("select %s::int8 as b, '{1,2}'::int[] as a", (2**40,), binary=True)
            connection.execute("select repeat(i::text, 600) as wide from generate_series(1, 3) i")
            connection.execute("select 1 where false")
    found = eve.statements
    rows, binary, wide, none = (each.get("results") for each in found)
    assert rows == [[{"i": str(i), "s": f"seen {i}", "n": None} for i in (1, 2, 3)]]
    assert binary == [[{"b": 2**40, "a": [1, 2]}]]
    assert wide == [[{"wide": "1" * 600}]]
    assert not none
    assert [each["rows"] for each in found] == [10, 1, 3, 0]
    assert not any(each.get("results") for each in alice.statements)


def test_a_replay_tells_what_was_seen_and_what_was_cancelled(gateway15: Gateway, tmp_path: Path) -> None:
    """As the command prints it, rows and notes in the order of things."""
    eve = Kept(gateway15, "postgres", user="eve")
    with psycopg.connect(eve.dsn, autocommit=True) as connection:
        connection.execute("select i, 'seen ' || i as s from generate_series(1, 10) i")
        cancelled(gateway15, connection, connection.cancel)
    told = eve.replay(tmp_path)
    assert '| {"i": "3", "s": "seen 3"}' in told and "seen 4" not in told
    assert told.index("pg_sleep") < told.index("-- cancel: seq 2") < told.index("#3 select 1")


# -- the words of statements ---------------------------------------------------------------------------------------


def test_the_record_follows_the_encoding_as_it_changes(gateway15: Gateway) -> None:
    found = Kept(gateway15).said(
        query("select 'ü'"),
        query("set client_encoding to 'LATIN1'"),
        query("select 'ü'".encode("latin-1")),
        messages.parse(b"", "select 'ü'".encode("latin-1")) + bind() + execute() + SYNC,
        query("set client_encoding to 'EUC_JP'"),
        query("select '日本'".encode("euc-jp")),
        query("begin; set local client_encoding to 'UTF8'"),
        query("select '日本'; rollback"),
        query("select '日本'".encode("euc-jp")),
        query("reset client_encoding"),
        query("select '日本'"),
    )
    texts = [each["text"] for each in found if each["text"].startswith("select")]
    assert texts == [*["select 'ü'"] * 3, *["select '日本'"] * 4]
    assert all(each["outcome"] == "done" for each in found)


def test_an_encoding_of_the_startup_packet_counts_from_the_first_statement(gateway15: Gateway) -> None:
    (found,) = Kept(gateway15).said(query("select 'Ä'".encode("latin-1")), client_encoding="LATIN1")
    assert (found["text"], found["outcome"]) == ("select 'Ä'", "done")


def test_the_record_follows_what_ends_a_string(gateway15: Gateway) -> None:
    """With standard_conforming_strings off a backslash escapes a quote: what is one statement then is two else."""
    tricky = r"select 'a\'; select '' b'"
    secret = r"alter role nobody password 'ca\'nary-4711'"
    found = Kept(gateway15).said(
        query(tricky),
        query("set standard_conforming_strings = off; set escape_string_warning = off"),
        query(tricky),
        query(secret),
        query("set standard_conforming_strings = on"),
        query(tricky),
    )
    texts = [each["text"].strip() for each in found if not each["text"].strip().startswith("set")]
    two = [r"select 'a\'", "select '' b'"]
    assert texts[:2] == two and texts[-2:] == two
    assert texts[2] == tricky
    assert "nary-4711" not in texts[3] and texts[3].startswith("alter role nobody password")


# -- COPY ----------------------------------------------------------------------------------------------------------


def test_copies_are_recorded_with_their_rows_and_bytes(every_gateway: Gateway) -> None:
    kept = Kept(every_gateway, "postgres")
    data = [b"1\tone\n", b"2\ttwo\n3\t", b"three\n"]
    sent = b"".join(map(copy_data, data))
    found = kept.said(
        query("create temp table t (i int, s text)"),
        query("copy t from stdin") + sent + COPY_DONE,
        parse("", "copy t from stdin") + bind() + execute() + SYNC + sent + COPY_DONE + SYNC,
        query("copy t to stdout"),
        parse("", "copy (select i from t) to stdout") + bind() + execute() + SYNC,
        query("copy t from stdin") + sent + messages.copy_fail("enough"),
    )
    size = len(b"".join(data))
    assert short(found[1:], "text", "protocol", "tag", "rows", "bytes", "outcome") == [
        ("copy t from stdin", "copy", "COPY 3", 3, size, "done"),
        ("copy t from stdin", "copy", "COPY 3", 3, size, "done"),
        ("copy t to stdout", "copy", "COPY 6", 6, 2 * size, "done"),
        ("copy (select i from t) to stdout", "copy", "COPY 6", 6, 12, "done"),
        ("copy t from stdin", "copy", None, None, size, "failed"),
    ]
    assert "enough" in found[-1]["error"]


# -- prepared statements and portals -------------------------------------------------------------------------------


async def test_a_drivers_cursor_is_recorded_by_the_rows_it_took(every_gateway: Gateway) -> None:
    """asyncpg's cursor is one portal that is executed again and again."""
    kept = await asyncio.to_thread(Kept, every_gateway, "postgres")
    async with connected(every_gateway, token=kept.token) as connection, connection.transaction():
        cursor = await connection.cursor("select generate_series(1, $1::int)", 100)
        assert [len(await cursor.fetch(30)) for _ in range(4)] == [30, 30, 30, 10]
    found = await asyncio.to_thread(lambda: kept.statements)
    taken = [each for each in found if "generate_series" in each["text"]]
    assert [each["rows"] for each in taken] == [30, 30, 30, 10]
    assert all(each["parameters"] == [100] for each in taken)


def test_what_sql_prepared_is_known_by_name(every_gateway: Gateway) -> None:
    """PREPARE and Parse share their names, and so do DEALLOCATE and Close."""
    found = Kept(every_gateway).said(
        query("prepare p as select $1::int + 1"),
        query("execute p(41)"),
        bind("", "p", [b"1"]) + execute() + SYNC,
        query("deallocate p"),
        bind("", "p", [b"1"]) + execute() + SYNC,
        parse("q", "select $1::text") + SYNC,
        query("execute q('x')"),
        close("S", "q") + SYNC,
        query("execute q('x')"),
    )
    prepared = "prepare p as select $1::int + 1"
    assert short(found, "text", "statement_name", "parameters", "outcome", "sqlstate") == [
        (prepared, "", [], "done", None),
        ("execute p(41)", "", [], "done", None),
        (prepared, "p", ["1"], "done", None),
        ("deallocate p", "", [], "done", None),
        (ELSEWHERE.decode(), "p", ["1"], "failed", "26000"),
        ("execute q('x')", "", [], "done", None),
        ("execute q('x')", "", [], "failed", "26000"),
    ]


def test_a_function_call_is_recorded_and_refused(every_gateway: Gateway) -> None:
    call = messages.frame(b"F", struct.pack("!IHHH", 1598, 0, 0, 1))
    kept = Kept(every_gateway)
    found = kept.said(call, query("begin"), call, query("select 1"), query("rollback"), query("select 2"))
    refused = ("function call of oid 1598", "fastpath", "denied", "0A000")
    assert short(found, "text", "protocol", "outcome", "sqlstate") == [
        refused,
        ("begin", "simple", "done", None),
        refused,
        ("select 1", "simple", "failed", "25P02"),
        ("rollback", "simple", "done", None),
        ("select 2", "simple", "done", None),
    ]
    assert len([each for each in kept.notes() if each["kind"] == "denied"]) == 2


# -- cancels and names ---------------------------------------------------------------------------------------------


def test_a_cancel_is_noted_with_the_statement_it_meant(every_gateway: Gateway) -> None:
    kept = Kept(every_gateway, "postgres")
    with psycopg.connect(kept.dsn, autocommit=True) as connection:
        connection.execute("select 1")
        cancelled(every_gateway, connection, connection.cancel)
        connection.cancel()  # nothing runs: nothing to cancel
    assert [each["data"] for each in kept.notes() if each["kind"] == "cancel"] == [{"seq": 2}]
    assert short(kept.statements, "outcome", "sqlstate") == [("done", None), ("cancelled", "57014"), ("done", None)]
