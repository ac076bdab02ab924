"""Somebody with the database's file and the disk changes what was written: ``audit verify`` says so, and where."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.peers.gateway import PASSWORD, Gateway, gateway
from tests.peers.postgres import Cluster

SIGNED_WITHIN = 15.0
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gate(postgres15: Cluster) -> Iterator[Gateway]:
    """A gateway with three sessions behind it, and a trail that is signed to its end."""
    with gateway(postgres15) as running:
        token, grant = running.token(), running.grant("postgres")
        for number in range(2):
            with psycopg.connect(running.dsn(token=token)) as connection:
                connection.execute(f"select {number}, repeat('some words that are recorded', 20)".encode())
        with psycopg.connect(running.dsn("postgres", token=running.token(grant=grant))):
            running.revoke(grant)
            running.ended(grant)
        verified(running)  # logs carol in: from here on the trail rests
        signed(running)
        yield running


def signed(gate: Gateway) -> None:
    """Waits until the trail is signed to its end; a test before this one may have added to it."""
    deadline = time.monotonic() + SIGNED_WITHIN
    while (told := verified(gate))["signed"] < told["rows"] or told["recordings"] < 3:
        assert time.monotonic() < deadline, told
        time.sleep(0.2)


def verified(gate: Gateway) -> dict[str, Any]:
    told: dict[str, Any] = gate.call("GET", "/v1/audit/verify", user="carol")
    return told


@contextmanager
def as_owner(gate: Gateway) -> Iterator[sqlite3.Connection]:
    """The store as its file's owner has it, without its triggers; afterwards as it was."""
    signed(gate)
    (path,) = [each for each in (gate.folder / "state").iterdir() if each.suffix in (".db", ".sqlite", ".sqlite3")]
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        triggers = connection.execute("select name, sql from sqlite_master where type = 'trigger'").fetchall()
        kept = {
            table: connection.execute(f"select * from {table}").fetchall() for table in ("trail", "trail_heads")
        }
        for name, _ in triggers:
            connection.execute(f"drop trigger {name}")
        try:
            yield connection
        finally:
            connection.execute("begin immediate")
            for table, rows in kept.items():
                connection.execute(f"delete from {table}")
                marks = ", ".join("?" * len(rows[0]))
                connection.executemany(f"insert into {table} values ({marks})", rows)
            for _, sql in triggers:
                connection.execute(sql)
            connection.execute("commit")
    finally:
        connection.close()


@contextmanager
def recording(gate: Gateway) -> Iterator[tuple[str, Path]]:
    """A session, and the file of its recording; afterwards the file is as it was."""
    session = gate.sessions()[-1]["id"]
    (path,) = gate.recordings.rglob(f"{session}.*")
    before = path.read_bytes()
    try:
        yield session, path
    finally:
        path.write_bytes(before)


def shell(gate: Gateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "TIDEGATE_API": gate.url,
        "TIDEGATE_CA": str(gate.ca),
        "TIDEGATE_HOME": str(gate.folder / "carol"),
        "TIDEGATE_PASSWORD": PASSWORD,
    }
    return subprocess.run(
        [sys.executable, "-m", "proxy.cli", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_what_nobody_touched_is_whole(gate: Gateway) -> None:
    told = verified(gate)
    assert (told["ok"], told["first_bad"], told["problems"]) == (True, None, [])
    assert told["recordings"] == 3
    assert told["unsealed"] == told["elsewhere"] == 0
    assert 0 < told["signed"] <= told["rows"]


def an_altered_row(store: sqlite3.Connection) -> int:
    (seq,) = store.execute("select min(seq) from trail where kind = 'grant_issued'").fetchone()
    store.execute("update trail set actor = 'bob' where seq = ?", (seq,))
    return int(seq)


def an_altered_body(store: sqlite3.Connection) -> int:
    (seq,) = store.execute("select min(seq) from trail where kind = 'grant_revoked'").fetchone()
    store.execute("update trail set body = replace(body, 'leaked', 'lost') where seq = ?", (seq,))
    return int(seq)


def a_removed_row(store: sqlite3.Connection) -> int:
    (seq,) = store.execute("select max(seq) from trail where kind = 'session_started'").fetchone()
    store.execute("delete from trail where seq = ?", (seq,))
    return int(seq)


def a_cut_off_end(store: sqlite3.Connection) -> int:
    (last,) = store.execute("select max(seq) from trail").fetchone()
    store.execute("delete from trail where seq > ?", (last - 3,))
    return int(last) - 2


def all_of_it(store: sqlite3.Connection) -> int:
    store.execute("delete from trail")
    return 1


def a_trail_written_anew(store: sqlite3.Connection) -> int:
    """One row is changed, and every digest after it made good: only a signature can tell."""
    from tests.audit.trails import link_salted

    names = ("request", "grant", "session", "identity", "resource")
    columns = "seq, at, node, kind, actor, request_id, grant_id, session_id, identity, resource, body, salt"
    previous = ""
    for row in store.execute(f"select {columns} from trail order by seq").fetchall():
        seq, at, node, kind, actor, *about, body, salt = row
        subjects = {name: value for name, value in zip(names, about, strict=True) if value}
        actor = "somebody" if kind == "logged_in" else actor
        made = link_salted(seq, at, node, kind, actor, subjects, json.loads(body), previous, salt)
        store.execute(
            "update trail set actor = ?, previous = ?, digest = ?, body_digest = ? where seq = ?",
            (actor, previous, made.digest, made.body_digest, seq),
        )
        previous = made.digest
    # the first that was signed over what is changed now
    changed = "(select min(seq) from trail where kind = 'logged_in')"
    (signed,) = store.execute(f"select min(seq) from trail_heads where seq >= {changed}").fetchone()
    return int(signed)


def a_head_signed_by_nobody(store: sqlite3.Connection) -> int:
    (seq,) = store.execute("select max(seq) from trail_heads").fetchone()
    store.execute("update trail_heads set at = at + 1 where seq = ?", (seq,))
    return int(seq)


def last_signed(store: sqlite3.Connection) -> int:
    """What the host remembers, read where its keys are."""
    (_, _, path) = store.execute("pragma database_list").fetchone()
    found: int = json.loads((Path(path).parent / "keys" / "seen-head.json").read_text())["seq"]
    return found


def a_trail_written_anew_without_heads(store: sqlite3.Connection) -> int:
    a_trail_written_anew(store)
    store.execute("delete from trail_heads")
    return last_signed(store)


def the_last_rows_with_their_heads(store: sqlite3.Connection) -> int:
    (last,) = store.execute("select max(seq) from trail").fetchone()
    store.execute("delete from trail where seq > ?", (last - 5,))
    store.execute("delete from trail_heads where seq > ?", (last - 5,))
    return int(last) - 4


def all_heads(store: sqlite3.Connection) -> int:
    store.execute("delete from trail_heads")
    return last_signed(store)


def an_older_head_in_the_place_of_the_last(store: sqlite3.Connection) -> int:
    store.execute("delete from trail_heads where seq > (select min(seq) from trail_heads)")
    return last_signed(store)


def an_erased_row(store: sqlite3.Connection) -> int:
    """The chain goes through it: who did it is gone, and nobody signed for that."""
    (seq,) = store.execute("select max(seq) from trail where kind = 'request_made'").fetchone()
    store.execute(
        "update trail set actor = '', body = '', salt = null, request_id = null, grant_id = null,"
        " session_id = null, identity = null, resource = null where seq = ?",
        (seq,),
    )
    return int(seq)


CHAIN_HOLDS = (
    a_trail_written_anew_without_heads,
    all_heads,
    an_older_head_in_the_place_of_the_last,
    an_erased_row,
)


@pytest.mark.parametrize(
    "tamper",
    [
        a_trail_written_anew_without_heads,
        the_last_rows_with_their_heads,
        all_heads,
        an_older_head_in_the_place_of_the_last,
        an_erased_row,
        an_altered_row,
        an_altered_body,
        a_removed_row,
        a_cut_off_end,
        all_of_it,
        a_trail_written_anew,
        a_head_signed_by_nobody,
    ],
)
def test_a_trail_that_was_tampered_with_names_its_first_bad_row(
    gate: Gateway, tamper: Callable[[sqlite3.Connection], int]
) -> None:
    with as_owner(gate) as store:
        bad = tamper(store)
        told = verified(gate)
        assert (told["ok"], told["first_bad"]) == (False, bad), told
        assert told["problem"]
        assert told["rows"] <= bad or tamper in CHAIN_HOLDS
    assert verified(gate)["ok"]


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def lengthened(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def exchanged(path: Path) -> None:
    other = next(each for each in sorted(path.parent.iterdir()) if each.suffix == path.suffix and each != path)
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (flipped, "was altered"),
        (shortened, "was altered"),
        (lengthened, "was altered"),
        (exchanged, "was replaced"),
        (Path.unlink, "is missing"),
    ],
)
def test_a_recording_that_was_tampered_with_is_named(
    gate: Gateway, tamper: Callable[[Path], None], words: str
) -> None:
    with recording(gate) as (session, path):
        tamper(path)
        told = verified(gate)
    assert not told["ok"]
    assert session in told["problem"]
    assert words in told["problem"]
    assert told["recordings"] == 2
    (ended,) = gate.call("GET", f"/v1/audit/events?kind=session_ended&subject=session:{session}", user="carol")[
        "items"
    ]
    assert told["first_bad"] == ended["seq"]


def test_the_command_says_it_in_words_and_by_its_exit_code(gate: Gateway) -> None:
    assert shell(gate, "login", "--user", "carol").returncode == 0
    done = shell(gate, "audit", "verify")
    assert done.returncode == 0, done.stderr
    assert "the trail is whole" in done.stdout
    assert "signed up to row" in done.stdout
    assert "recordings: 3 are what the trail says" in done.stdout
    with recording(gate) as (session, path):
        path.unlink()
        done = shell(gate, "audit", "verify")
        assert done.returncode == 1
        assert f"the recording of session {session} is missing" in done.stdout
        assert "is whole" not in done.stdout
        assert shell(gate, "audit", "verify", "--json").returncode == 1


def test_a_cut_session_replays_with_its_last_words(gate: Gateway) -> None:
    assert shell(gate, "login", "--user", "carol").returncode == 0
    session = next(each for each in gate.sessions() if each["end_reason"] == "grant_revoked")
    done = shell(gate, "replay", session["id"])
    assert done.returncode == 0, done.stderr
    *_, farewell, last = done.stdout.strip().splitlines()
    assert "session was cut: your grant was revoked by dave: leaked laptop" in farewell
    assert "ended, grant_revoked" in last


@pytest.mark.timeout(120)
def test_what_was_signed_is_not_signed_anew(gate: Gateway) -> None:
    """Whoever rewrites the trail and waits for the next signature gains nothing, and is in the log."""
    with as_owner(gate) as store:
        bad = a_trail_written_anew(store)
        heads = store.execute("select * from trail_heads order by seq").fetchall()
        length = len(gate.log())
        deadline = time.monotonic() + SIGNED_WITHIN
        while "the trail was tampered with" not in gate.log()[length:]:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert store.execute("select * from trail_heads order by seq").fetchall() == heads
        assert verified(gate)["first_bad"] == bad
