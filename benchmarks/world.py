"""What every benchmark stands on: PostgreSQL 15, pgbouncer 1.18 and the gateway, side by side on loopback.

pgbouncer: session pooling, TLS to the client, plain to the target, auditing nothing. The gateway: TLS to the
client, plain to the target, every statement recorded. CPU is that of whole process trees, threads included.
"""

import os
import pwd
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.cli.demo.certificates import Authority
from proxy.cli.demo.postgres import free_port
from tests.peers.gateway import Gateway, gateway
from tests.peers.postgres import SUPERUSER, Cluster, cluster
from tests.peers.psql import stock

TICK = os.sysconf("SC_CLK_TCK")
SETTINGS = {"max_connections": "1400", "ssl": "off", "shared_buffers": "256MB"}


@dataclass
class Bouncer:
    """A running pgbouncer."""

    port: int
    process: subprocess.Popen[bytes]
    ca: Path


@dataclass
class World:
    """Everything that is measured."""

    target: Cluster
    gateway: Gateway
    bouncer: Bouncer


@contextmanager
def world(*, limits: dict[str, str] | None = None, extra: str = "") -> Iterator[World]:
    """Start everything; all gone at the end."""
    with (
        cluster("15", settings=SETTINGS) as target,
        pgbouncer(target) as bouncer,
        gateway(
            target, settings={"pending_per_source": "256", **(limits or {})}, extra=extra, target_tls=False
        ) as gate,
    ):
        yield World(target, gate, bouncer)


@contextmanager
def pgbouncer(target: Cluster) -> Iterator[Bouncer]:
    """pgbouncer in front of ``target``, as its own unprivileged user where we are root."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:" + os.environ.get("PATH", ""))
    if program is None:
        raise SystemExit("pgbouncer is not installed: apt-get install pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="tidegate-bouncer-"))
    authority = Authority.create()
    authority.server().write(folder, "bouncer")
    ca = authority.write(folder)
    port = free_port()
    password = target.passwords[SUPERUSER]
    (folder / "users.txt").write_text(f'"{SUPERUSER}" "{password}"\n')
    (folder / "bouncer.ini").write_text(
        f"""[databases]
* = host=127.0.0.1 port={target.port} user={SUPERUSER} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = plain
auth_file = {folder}/users.txt
pool_mode = session
default_pool_size = 1200
max_client_conn = 2000
client_tls_sslmode = allow
server_tls_sslmode = disable
client_tls_key_file = {folder}/bouncer.key
client_tls_cert_file = {folder}/bouncer.crt
logfile = {folder}/log
unix_socket_dir =
ignore_startup_parameters = extra_float_digits
"""
    )
    identity = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        for path in (folder, *folder.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)
    process = subprocess.Popen(
        [program, str(folder / "bouncer.ini")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **identity
    )
    try:
        time.sleep(1)
        yield Bouncer(port, process, ca)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


# -- measuring ---------------------------------------------------------------------------------------------


def cpu(pids: Sequence[int]) -> float:
    """CPU seconds, user and system, threads included, that these processes have used."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def cpu_of(pids: Callable[[], Sequence[int]], work: Callable[[], object]) -> tuple[float, float, object]:
    """(CPU seconds of the processes, wall seconds, what ``work`` gave)."""
    before, began = cpu(pids()), time.monotonic()
    result = work()
    return cpu(pids()) - before, time.monotonic() - began, result


def pss(pids: Sequence[int]) -> int:
    """Proportional set size in bytes over processes: shared pages count once."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def client(name: str) -> str:
    """Debian's client program, with TLS."""
    return str(stock(name))


def environment(port: int, password: str, ca: Path, *, tls: bool) -> dict[str, str]:
    """PG* variables for a stock client."""
    return {
        "PATH": os.environ["PATH"],
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "PGUSER": SUPERUSER,
        "PGDATABASE": "shop",
        "PGPASSWORD": password,
        "PGSSLMODE": "verify-full" if tls else "disable",
        "PGSSLROOTCERT": str(ca),
        "LC_ALL": "C.UTF-8",
    }


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
