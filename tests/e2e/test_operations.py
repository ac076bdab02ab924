"""What an operator does to a running gateway: figures, a look at what runs, reload, new keys. Nobody is dropped who
may stay, and nobody stays who may not."""

import base64
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from proxy.adapters.metrics import FIGURES
from tests.peers.gateway import PASSWORD, Gateway, Refused, gateway
from tests.peers.postgres import Cluster
from tests.peers.psql import psql

SAMPLE = re.compile(r"^(tidegate_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def gate(postgres15: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose configuration these tests may change."""
    kept = f'[trail]\nheads_folder = "{tmp_path_factory.mktemp("heads")}"\n'
    with gateway(postgres15, extra=kept) as running:
        yield running


def figures(gate: Gateway) -> dict[str, float]:
    """``name{label="value"}`` -> value, as Prometheus would read it."""
    text = gate.call("GET", "/metrics", user=None)
    return {f"{name}{{{labels}}}" if labels else name: float(value) for name, labels, value in SAMPLE.findall(text)}


def until(wanted: Callable[[], bool], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not wanted():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def settled(gate: Gateway) -> dict[str, float]:
    """The figures once no session lives and half a second has counted the end of none: ends are counted a moment
    after their clients have gone, those of other tests too."""
    until(lambda: not gate.call("GET", "/v1/sessions?live=1", user="dave")["items"])
    seen = figures(gate)
    while True:
        time.sleep(0.5)
        now = figures(gate)
        if all(seen.get(name) == value for name, value in now.items() if name.startswith("tidegate_sessions_")):
            return now
        seen = now


@contextmanager
def sleeping(gate: Gateway, grant: str, text: str) -> Iterator[threading.Thread]:
    """A session under ``grant`` that runs ``text`` until somebody ends it."""
    connection = psycopg.connect(gate.dsn("postgres", token=gate.token(grant=grant)), autocommit=True)

    def work() -> None:
        try:
            connection.execute(text.encode())
        except psycopg.Error:
            return

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield worker
    finally:
        connection.cancel_safe()
        worker.join(20)
        connection.close()


# -- figures -----------------------------------------------------------------------------------------------------


def test_every_figure_is_fed_by_what_really_happens(gate: Gateway) -> None:
    before = settled(gate)
    gate.call("POST", "/v1/login", {"user": "alice", "password": PASSWORD}, user=None)
    with pytest.raises(Refused):
        gate.call("POST", "/v1/login", {"user": "alice", "password": "wrong"}, user=None)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(gate.dsn(token="eyJhbGciOiJub25lIn0.e30."))
    grant = gate.grant("postgres")
    live = 'tidegate_sessions_live{protocol="postgres"}'
    with psycopg.connect(gate.dsn("postgres", token=gate.token(grant=grant)), autocommit=True) as connection:
        for _ in range(5):
            connection.execute("select repeat('x', 1000)")
        with pytest.raises(psycopg.Error):
            connection.execute("select 1/0")
        until(lambda: figures(gate).get(live) == 1)
    gate.ended(grant)
    with sleeping(gate, grant, "select pg_sleep(30)") as worker:
        until(lambda: bool(running(gate, grant)))
        gate.revoke(grant)
        worker.join(20)
    gate.ended(grant)
    until(lambda: figures(gate).get(live) == 0)
    cancelled = 'tidegate_statements_total{outcome="cancelled"}'
    until(lambda: figures(gate).get(cancelled, 0) > before.get(cancelled, 0))
    until(lambda: 'tidegate_heads_kept_total{place="folder",result="kept"}' in figures(gate))
    after = figures(gate)

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert grown('tidegate_sessions_total{end_reason="client_closed",protocol="postgres"}') == 1
    assert grown('tidegate_sessions_total{end_reason="grant_revoked",protocol="postgres"}') == 1
    assert grown('tidegate_admissions_total{result="allowed"}') == 2
    assert grown('tidegate_admissions_total{result="bad_token"}') == 1
    assert grown('tidegate_statements_total{outcome="done"}') == 5
    assert grown('tidegate_statements_total{outcome="failed"}') == 1
    assert grown(cancelled) == 1
    assert grown('tidegate_bytes_total{direction="out"}') > 5_000
    totals = [each["totals"] for each in gate.sessions(grant=grant)]
    assert grown('tidegate_bytes_total{direction="in"}') == sum(each["bytes_in"] for each in totals)
    assert grown("tidegate_cut_seconds_count") == 1
    assert grown("tidegate_cut_seconds_sum") < 2
    assert grown('tidegate_logins_total{result="refused"}') == 1
    assert grown('tidegate_logins_total{result="allowed"}') >= 1
    assert grown('tidegate_requests_total{outcome="allow"}') == 1
    assert after["tidegate_recorder_lag_bytes"] >= 0
    assert 0 <= after["tidegate_feed_lag_seconds"] < 2
    told = {each.partition("{")[0] for each in after}
    assert not [name for name in FIGURES if name not in told and f"{name}_count" not in told]


# -- what runs now -----------------------------------------------------------------------------------------------


def running(gate: Gateway, grant: str) -> str:
    """What the newest live session of a grant runs."""
    found = gate.sessions(grant=grant, live="1")
    return str(found[0]["running"]["text"]) if found and found[0]["running"] else ""


def test_what_runs_is_seen_before_it_is_cut_and_the_receipts_after(gate: Gateway) -> None:
    grant = gate.grant("postgres")
    with sleeping(gate, grant, "select pg_sleep(30) /* the long one */") as worker:
        until(lambda: "the long one" in running(gate, grant))
        asked = {"scope": "grant", "key": grant, "reason": "drill"}
        preview = gate.call("POST", "/v1/revocations", {**asked, "dry_run": True})
        assert (preview["dry_run"], preview["seq"]) == (True, None)
        assert [each["statement"] for each in preview["sessions"]] == ["select pg_sleep(30) /* the long one */"]
        assert worker.is_alive()
        ordered = gate.call("POST", "/v1/revocations", asked)
        worker.join(20)
        until(lambda: bool(gate.call("GET", f"/v1/revocations/{ordered['seq']}")["done"]))
    told = gate.call("GET", f"/v1/revocations/{ordered['seq']}")
    assert (told["key"], told["by"], told["live"], told["unconfirmed"]) == (grant, "dave", [], [])
    (cut,) = told["ended"]
    assert cut["end_reason"] == "grant_revoked"
    assert 0 < cut["milliseconds"] < 2000
    assert cut["verified"]
    assert gate.sessions(grant=grant)[0]["running"] is None


# -- reload ------------------------------------------------------------------------------------------------------


@contextmanager
def edited(gate: Gateway, old: str, new: str) -> Iterator[None]:
    """The configuration with ``old`` replaced; as it was, and read again, at the end."""
    path = gate.folder / "gateway.toml"
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))
    try:
        yield
    finally:
        path.write_text(before)
        gate.call("POST", "/v1/config/reload")
        until(lambda: ready(gate) == [])


def hang_up(gate: Gateway) -> None:
    assert gate.process is not None
    gate.process.send_signal(signal.SIGHUP)


def ask(gate: Gateway) -> None:
    gate.call("POST", "/v1/config/reload")


def ready(gate: Gateway) -> list[str]:
    """Why it is not; empty when it is."""
    try:
        return list(gate.call("GET", "/readyz", user=None)["reasons"])
    except Refused as refused:
        return list(refused.problem["reasons"])


@pytest.mark.parametrize("reload", [ask, hang_up])
def test_a_policy_that_no_longer_allows_a_session_ends_it_and_no_other(
    gate: Gateway, reload: Callable[[Gateway], None]
) -> None:
    going, staying = gate.grant("postgres"), gate.grant("readonly")
    token = gate.token(grant=going)
    with (
        psycopg.connect(gate.dsn("postgres", token=token), autocommit=True) as one,
        psycopg.connect(gate.dsn(token=gate.token(grant=staying)), autocommit=True) as other,
        edited(gate, 'accounts = ["readonly", "postgres"]', 'accounts = ["readonly"]'),
    ):
        seq = gate.call("GET", "/v1/audit/events?limit=1")["items"][0]["seq"]
        reload(gate)
        assert gate.ended(going)["end_reason"] == "policy_changed"
        with pytest.raises(psycopg.Error, match="policy changed"):
            one.execute("select 1")
        assert other.execute("select 2").fetchone() == (2,)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(gate.dsn("postgres", token=token))
        with pytest.raises(Refused, match="policy"):
            gate.token(grant=going)
        changed = gate.call("GET", "/v1/audit/events?kind=configuration_changed")["items"][0]
        assert changed["seq"] > seq
        assert changed["actor"] == ("dave" if reload is ask else "gateway")
        assert any("policies" in each for each in changed["body"]["changed"])
        until(lambda: ready(gate) == [])
    gate._grants.clear()


def test_a_broken_file_changes_nothing_and_says_so(gate: Gateway) -> None:
    with (
        psycopg.connect(gate.dsn(), autocommit=True) as connection,
        edited(gate, 'who = ["group:engineers"]', 'who = ["group:nobody"]\ntypo = 1'),
    ):
        with pytest.raises(Refused) as caught:
            gate.call("POST", "/v1/config/reload")
        assert caught.value.status == 422
        assert "old one stays" in caught.value.problem["detail"]
        assert "typo" in json.dumps(caught.value.problem)
        length = len(gate.log())
        hang_up(gate)
        until(lambda: gate.log()[length:].count("configuration not reloaded") == 2)
        assert "typo" in gate.log()[length:]
        assert connection.execute("select 1").fetchone() == (1,)
        assert ready(gate) == []
        with psycopg.connect(gate.dsn(token=gate.token())) as another:
            assert another.execute("select 2").fetchone() == (2,)


def test_nodes_that_run_another_configuration_are_not_ready(gate: Gateway) -> None:
    (worker,) = [pid for pid in gate.processes() if b"worker-0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    with edited(gate, 'max_duration = "1h"', 'max_duration = "59m"'):
        os.kill(worker, signal.SIGHUP)
        until(lambda: ready(gate) == ["the nodes run different configurations"])
        ask(gate)
        until(lambda: ready(gate) == [])


# -- keys --------------------------------------------------------------------------------------------------------


def kid(token: str) -> str:
    head = token.partition(".")[0]
    header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    return str(header["kid"])


@pytest.mark.timeout(90)
async def test_after_a_rotation_old_tokens_are_good_and_new_ones_carry_the_new_key(gate: Gateway) -> None:
    grant = gate.grant("readonly")
    old = gate.token(grant=grant)
    new_kid = gate.call("POST", "/v1/keys/rotate")["kid"]
    known = {each["kid"] for each in gate.call("GET", "/.well-known/jwks.json", user=None)["keys"]}
    assert {kid(old), new_kid} <= known
    assert kid(old) != new_kid
    until(lambda: kid(gate.token(grant=grant)) == new_kid, within=30)
    new = gate.token(grant=grant)
    for token in (old, new):
        ran = await psql(gate.dsn(token=token), "select current_user")
        assert (ran.code, ran.out.strip(), ran.err) == (0, "readonly", "")
    assert gate.call("GET", "/v1/me", user="dave")["name"] == "dave"
    rotated = gate.call("GET", "/v1/audit/events?kind=keys_rotated")["items"][0]
    assert (rotated["actor"], rotated["body"]["kid"]) == ("dave", new_kid)
