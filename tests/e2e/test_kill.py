"""kill -9 of the gateway under load: what the database saw is in the recordings, which are sealed at restart.

Every execution carries a number of its own, in its text or as its parameter. Two oracles: the server's log
(``log_statement = all``), which names each of them, and pg_stat_statements, which counts what was carried out.
"""

import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.peers.gateway import Gateway, gateway
from tests.peers.postgres import cluster
from tests.peers.psql import environment, stock

KILLS = 10
MARK = re.compile(r"\b9\d{17}\b")
LOWEST, HIGHEST = 9 * 10**17, 10**18 - 1
MODES = ("simple", "extended", "prepared")
KINDS = (*MODES, "piped", "copied_out", "copied_in")
"""Each has a table of its own: pg_stat_statements tells texts that differ in their numbers alone from each other
by their tables."""
KILLS_AT_LEAST, PATIENCE = 4, 45.0
"""On a machine that takes its time to start a gateway there are fewer."""


@pytest.mark.timeout(240)
def test_no_statement_the_database_saw_is_missing(tmp_path: Path) -> None:
    with cluster("15", log_statements=True) as target, gateway(target) as gate:
        for kind in KINDS:
            target.execute(f"create table {kind} (n bigint); insert into {kind} values (1)")
        target.execute("select pg_stat_statements_reset()")
        for mode in MODES:
            script = f"\\set n random({LOWEST}, {HIGHEST})\nselect :n::bigint from {mode};\n"
            (tmp_path / mode).write_text(script)
        token = gate.token("postgres")
        began = time.monotonic()
        for round_ in range(KILLS):
            if round_ >= KILLS_AT_LEAST and time.monotonic() - began > PATIENCE:
                break
            under_load(gate, token, tmp_path, random.uniform(0.2, 0.6), worker_first=round_ % 3 == 2)
        seen, recorded, executed = set(MARK.findall(target.log())), set[str](), Counter[str]()
        for session in gate.sessions(resource="shop"):
            assert session["status"] == "ended"
            assert session["end_reason"] in ("node_lost", "client_closed")
            for statement in gate.statements(session["id"]):
                recorded |= set(MARK.findall(json.dumps([statement["text"], statement["parameters"]])))
                executed.update(kind for kind in KINDS if kind in statement["text"])
        assert len(seen) > 500
        assert not seen - recorded
        for kind in KINDS:
            assert 10 < calls(target.execute, kind) <= executed[kind], kind
        verified = gate.call("GET", "/v1/audit/verify", user="carol")
        assert (verified["ok"], verified["problems"], verified["unsealed"]) == (True, [], 0)


def calls(execute: Any, kind: str) -> int:
    """How often statements of a kind were carried out to their end."""
    found = execute(
        "select coalesce(sum(calls), 0)::bigint from pg_stat_statements "
        f"where query like '%{kind}%' and query not like '%pg_stat_statements%'"
    )
    return int(found[0][0])


def under_load(gate: Gateway, token: str, scripts: Path, seconds: float, *, worker_first: bool) -> None:
    """Kill the gateway once everything has run for some time, and start it again."""
    threads = [
        threading.Thread(target=load, args=(gate.dsn("postgres", token=token), work))
        for work in (pipelines, copies)
    ]
    for each in threads:
        each.start()
    benches = [bench(gate, token, scripts / mode, mode) for mode in MODES]
    try:
        until_all_are_in(gate)
        time.sleep(seconds)
        if worker_first:
            os.kill(worker(gate), signal.SIGKILL)
        else:
            gate.kill()
    finally:
        for process in benches:
            process.wait(20)
        for each in threads:
            each.join(20)
        assert gate.process is not None
        gate.process.wait(20)
    gate.start()


def bench(gate: Gateway, token: str, script: Path, mode: str) -> "subprocess.Popen[bytes]":
    """One connection of pgbench at a bounded rate: the recordings have to be read afterwards."""
    return subprocess.Popen(
        [stock("pgbench"), "-n", "-M", mode, "-f", str(script), "-T", "60", "--rate=200", "-c", "1"],
        env=environment(gate.environment("postgres", PGPASSWORD=token)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def until_all_are_in(gate: Gateway) -> None:
    deadline = time.monotonic() + 20
    query = "select count(distinct pid) from pg_stat_activity where application_name ~ '^(tidegate:|pgbench$)'"
    while gate.cluster.execute(query) < [(len(MODES) + 2,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def worker(gate: Gateway) -> int:
    (found,) = [pid for pid in gate.processes() if b"worker-0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found


def load(dsn: str, work: Any) -> None:
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while True:
                work(connection)
    except psycopg.Error:
        return


def mark() -> int:
    return random.randint(LOWEST, HIGHEST)


def pipelines(connection: psycopg.Connection[Any]) -> None:
    with connection.pipeline() as pipeline:
        for number in range(10):
            connection.execute("select %s::bigint from piped", [mark()], prepare=number % 2 == 0)
        pipeline.sync()
    time.sleep(0.02)


def copies(connection: psycopg.Connection[Any]) -> None:
    with connection.cursor() as cursor:
        with cursor.copy(f"copy (select {mark()}::bigint from copied_out) to stdout".encode()) as copy:
            for _ in copy:
                pass
        with cursor.copy(f"copy copied_in from stdin /* {mark()} */".encode()) as copy:
            copy.write_row([mark()])
    time.sleep(0.01)


def test_nothing_is_left_running_after_a_kill() -> None:
    with cluster("15") as target, gateway(target) as gate:
        pids = gate.processes()
        assert len(pids) >= 3
        gate.kill()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and alive(pids):
            time.sleep(0.05)
        assert not alive(pids)


def alive(pids: list[int]) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=", "-p", ",".join(map(str, pids))], capture_output=True, text=True
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "Z" not in line.split()[1]]
