"""The clusters themselves: what the other tests take for granted."""

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.peers.postgres import PASSWORDS, Cluster, PeerMissing, cluster

STRANDED = """
import os, signal, sys
from tests.peers.postgres import cluster
with cluster("16") as running:
    print(running.server.pid, running.folder, flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_every_version_has_the_shop(postgres: Cluster) -> None:
    counts = "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM orders), current_user"
    assert postgres.execute(counts, user="readonly") == [(200, 600, "readonly")]
    major = postgres.execute("SELECT current_setting('server_version_num')::int / 10000")
    assert major == [(int(postgres.version),)]


def test_readonly_reads_and_owner_writes(postgres: Cluster) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        postgres.execute("DELETE FROM orders", user="readonly")
    postgres.execute("CREATE TABLE mine (n int); DROP TABLE mine", user="owner")


@pytest.mark.parametrize("role", ["md5_role", "cleartext_role", "trusted_role", "readonly"])
def test_roles_log_in_by_password(postgres: Cluster, role: str) -> None:
    assert postgres.execute("SELECT current_user", user=role) == [(role,)]


def test_a_wrong_password_is_refused(postgres: Cluster) -> None:
    uri = postgres.server.uri(user="readonly", password=PASSWORDS["owner"], database="shop")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(uri)


def test_tls_verifies_and_a_client_certificate_logs_in(postgres15: Cluster, tmp_path: Path) -> None:
    certificate, key = postgres15.client_certificate().write(tmp_path, "client")
    uri = postgres15.uri(
        "cert_role",
        sslmode="verify-full",
        sslrootcert=str(postgres15.ca),
        sslcert=str(certificate),
        sslkey=str(key),
    )
    with psycopg.connect(uri) as connection:
        row = connection.execute(
            "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).fetchone()
    assert row == ("cert_role", True)


def test_the_tls_role_is_refused_without_tls(postgres15: Cluster) -> None:
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(postgres15.uri("tls_role", sslmode="disable"))


def test_a_fresh_database_is_a_copy_that_goes_away(postgres16: Cluster) -> None:
    with postgres16.fresh_database() as name:
        postgres16.execute("DELETE FROM order_items", user="owner", database=name)
    assert postgres16.execute("SELECT count(*) FROM order_items") == [(1500,)]
    assert postgres16.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'") == []


def test_a_cluster_logs_statements_when_asked_and_leaves_nothing() -> None:
    with cluster("18", log_statements=True) as running:
        running.execute("SELECT 'a canary'")
        assert "SELECT 'a canary'" in running.log()
        pid, folder = running.server.pid, running.folder
    assert not folder.exists()
    assert pid is not None and not _alive(pid)


def test_a_version_that_is_not_there_is_named() -> None:
    with pytest.raises(PeerMissing, match="apt-get install postgresql-9"), cluster("9"):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="needs the parent-death signal of Linux")
def test_a_killed_test_run_takes_its_servers_along() -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", STRANDED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    pid, folder = run.stdout.readline().split()
    with os.fdopen(os.pidfd_open(int(pid)), "rb", buffering=0) as server:
        run.communicate(input="now\n", timeout=30)
        ended, _, _ = select.select([server], [], [], 20)
    shutil.rmtree(folder)
    assert run.returncode == -signal.SIGKILL
    assert ended, "the server outlived the run that started it"


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
