"""What every benchmark stands on: PostgreSQL 15, pgbouncer 1.18 and the gateway, side by side on loopback.

pgbouncer: session pooling, TLS to the client, plain to the target, auditing nothing. The gateway: TLS to the
client, plain to the target, every statement recorded. CPU is that of whole process trees, threads included.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.gateway import ROOT, Gateway, gateway
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
    beside: Gateway | None = None
    """The same of another checkout, in front of the same target."""

    @property
    def gateways(self) -> dict[str, Gateway]:
        """By the names that a table has for them."""
        return {"tidegate": self.gateway} | ({"beside": self.beside} if self.beside else {})


@contextmanager
def world(*, limits: dict[str, str] | None = None, extra: str = "", beside: Path | None = None) -> Iterator[World]:
    """Start everything; all gone at the end. ``beside``: another checkout, whose gateway takes turns with ours."""
    settings = {"pending_per_source": "256", **(limits or {})}
    with ExitStack() as running:
        target = running.enter_context(cluster("15", settings=SETTINGS))
        bouncer = running.enter_context(pgbouncer(target))

        def started(tree: Path) -> Gateway:
            made = gateway(target, settings=settings, extra=extra, target_tls=False, tree=tree)
            return running.enter_context(made)

        yield World(target, started(ROOT), bouncer, started(beside.absolute()) if beside else None)


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


def nanoseconds(pid: int) -> int:
    """CPU that the living threads of a process have used, as the scheduler counts it: of a process that does next
    to nothing ``cpu`` would see a tick or none."""
    return sum(int((each / "schedstat").read_text().split()[0]) for each in Path(f"/proc/{pid}/task").iterdir())


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
