"""An older store under newer keys and recordings: it admits nobody until somebody says so, and then everything is
revoked. And heads that were kept elsewhere, which show it to who does not trust this machine."""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.e2e.test_audit import shell
from tests.peers.gateway import Gateway, Refused, gateway
from tests.peers.postgres import Cluster

SIGNED_WITHIN = 15.0
LONG_AGO = 600.0


@pytest.fixture
def gate(postgres15: Cluster, tmp_path: Path) -> Iterator[Gateway]:
    kept = f'[trail]\nheads_folder = "{tmp_path}"\n'
    with gateway(postgres15, extra=kept) as running:
        yield running


def runs(gate: Gateway, grant: str) -> str:
    """A session under a grant; its end is in the trail when this returns."""
    with psycopg.connect(gate.dsn(token=gate.token(grant=grant))) as connection:
        connection.execute("select 'something'")
    return str(gate.ended(grant)["id"])


def verified(gate: Gateway) -> dict[str, Any]:
    told: dict[str, Any] = gate.call("GET", "/v1/audit/verify", user="carol")
    return told


def until_signed(gate: Gateway) -> int:
    """The last row that is signed, once all are that are there now."""
    rows = verified(gate)["rows"]
    deadline = time.monotonic() + SIGNED_WITHIN
    while (told := verified(gate))["signed"] < rows:
        assert time.monotonic() < deadline, told
        time.sleep(0.1)
    return int(told["signed"])


def until_admitted(gate: Gateway) -> None:
    deadline = time.monotonic() + SIGNED_WITHIN
    while True:
        try:
            gate.call("GET", "/readyz", user=None)
        except Refused:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def put_back(gate: Gateway, copy: Path) -> None:
    """Stop, and start with an older store: what somebody does who has its password, or who restores a backup."""
    gate.stop()
    state = gate.folder / "state"
    for each in state.glob("tidegate.db*"):
        each.unlink()
    shutil.copy(copy, state / "tidegate.db")
    (state / "tidegate.db").chmod(0o600)
    for each in (state / "recordings").rglob("*.tgr"):
        os.utime(each, (each.stat().st_mtime - LONG_AGO,) * 2)
    gate.start(ready=False)


@pytest.mark.timeout(180)
def test_an_older_store_admits_nobody_until_it_is_told_of(gate: Gateway, tmp_path: Path) -> None:
    grant, other = gate.grant(), gate.grant("postgres")
    runs(gate, grant)
    until_signed(gate)
    copy = tmp_path / "copy.db"
    with (
        closing(sqlite3.connect(gate.folder / "state" / "tidegate.db")) as store,
        closing(sqlite3.connect(copy)) as into,
    ):
        store.backup(into)
    lost = runs(gate, grant)
    token = gate.token(grant=other)
    gate.revoke(grant)
    last = until_signed(gate)
    put_back(gate, copy)

    # Fail closed, in words, to whoever asks.
    with pytest.raises(Refused) as refused:
        gate.call("GET", "/readyz", user=None)
    assert refused.value.status == 503
    assert "the store is not the one that was signed last" in str(refused.value.problem["reasons"])
    for each in (gate.token(grant=grant), token):
        with pytest.raises(psycopg.OperationalError, match="grants cannot be verified now"):
            psycopg.connect(gate.dsn(token=each))
    told = verified(gate)
    assert not told["ok"]
    assert f"the store is older than the last head: row {last} was signed" in str(told["problems"])
    assert f"no row of the trail names the recording {time.strftime('%Y')}" in str(told["problems"])
    assert lost in str(told["problems"])

    # What was kept elsewhere says so too.
    assert shell(gate, "login", "--user", "carol").returncode == 0
    done = shell(gate, "audit", "verify", "--against", str(tmp_path), "--json")
    assert done.returncode == 1
    assert "the store is older than a head that was kept elsewhere" in str(json.loads(done.stdout)["against"])

    # It must be said, by an admin.
    assert shell(gate, "audit", "restored", "--reason", "x").returncode == 3
    done = gate.call("POST", "/v1/audit/restored", {"reason": "the disk broke"})
    assert (done["origin"], done["lost"]) == (2, last)
    assert {each["id"] for each in done["revoked"]["grants"]} >= {grant, other}
    until_admitted(gate)
    for each in (grant, other):
        with pytest.raises((Refused, psycopg.OperationalError)):
            runs(gate, each)
    runs(gate, gate.grant())
    until_signed(gate)
    told = verified(gate)
    assert told["ok"], told
    assert f"rows {done['seq']} to {last} of before are lost" in str(told["remarks"])
    assert "1 recordings are of sessions whose rows a restore has lost" in told["remarks"]
    done = shell(gate, "audit", "verify", "--against", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "that were lost when the store was put back" in done.stdout
    assert "note: row" in done.stdout


def test_heads_that_were_kept_elsewhere_are_held_against_the_trail(gate: Gateway, tmp_path: Path) -> None:
    runs(gate, gate.grant())
    signed = until_signed(gate)
    kept = tmp_path / "kept.json"
    page = gate.call("GET", "/v1/audit/heads?limit=1000", user="carol")
    kept.write_text(json.dumps(page))
    assert shell(gate, "login", "--user", "carol").returncode == 0
    keys = [f"--key={kid}={key}" for kid, key in gate.call("GET", "/v1/audit/keys", user="carol")["keys"].items()]
    for arguments in ([], keys):
        done = shell(gate, "audit", "verify", "--against", str(kept), *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (
            f"the trail bears out {len(page['items'])} of {len(page['items'])}, up to row {signed}" in done.stdout
        )
    other = keys[0][:-8] + "AAAAAAAA"
    done = shell(gate, "audit", "verify", "--against", str(kept), other)
    assert (done.returncode, "it proves nothing" in done.stdout) == (1, True)
    page["items"][-1]["digest"] = "ab" * 32
    kept.write_text(json.dumps(page))
    done = shell(gate, "audit", "verify", "--against", str(kept))
    assert (done.returncode, "is not good: the head was altered: it proves nothing" in done.stdout) == (1, True)
    assert "SOMEBODY CHANGED" in done.stdout
    kept.write_text('{"items": []}')
    done = shell(gate, "audit", "verify", "--against", str(kept))
    assert (done.returncode, "holds no signed head" in done.stderr) == (1, True)
    (folder,) = tmp_path.glob("heads-*.jsonl")
    assert [json.loads(line)["seq"] for line in folder.read_text().splitlines()][-1] >= signed
    assert folder.stat().st_mode & 0o007 == 0
