"""What every benchmark stands on: PostgreSQL 15, pgbouncer 1.18 and the gateway, side by side on loopback.

pgbouncer: session pooling, TLS to the client, plain to the target, auditing nothing. The gateway: TLS to the
client, plain to the target, every statement recorded. CPU is that of whole process trees, threads included.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.gateway import Gateway, gateway
from tests.peers.pgbouncer import Bouncer, pgbouncer
from tests.peers.postgres import SUPERUSER, Cluster, cluster
from tests.peers.psql import stock

TICK = os.sysconf("SC_CLK_TCK")
SETTINGS = {"max_connections": "1400", "ssl": "off", "shared_buffers": "256MB"}


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
