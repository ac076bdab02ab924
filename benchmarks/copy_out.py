"""COPY out of 350 MB beside pgbouncer and direct: ``python -m benchmarks.copy_out``."""

import argparse
import subprocess
from collections import defaultdict

from benchmarks.world import World, client, cpu_of, environment, median, world
from tests.peers.postgres import SUPERUSER

ROWS = 3_500_000
QUERY = f"copy (select repeat('x', 99) from generate_series(1, {ROWS})) to stdout"


def main() -> None:
    """Interleaved runs; medians and ratios."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=5)
    chosen = options.parse_args()
    costs: dict[str, list[float]] = defaultdict(list)
    walls: dict[str, list[float]] = defaultdict(list)
    with world() as made:
        for _ in range(chosen.runs):
            for subject in ("direct", "pgbouncer", "tidegate"):
                cost, wall = measure(made, subject)
                costs[subject].append(cost)
                walls[subject].append(wall)
    print("COPY out of 350 MB over TLS (direct: plain); median of", chosen.runs, "interleaved runs")
    for subject in ("direct", "pgbouncer", "tidegate"):
        speed = median(walls["direct"]) / median(walls[subject])
        print(
            f"{subject:10} CPU {median(costs[subject]):5.2f} s   wall {median(walls[subject]):5.2f} s   "
            f"{speed:4.2f} of direct"
        )
    print(f"CPU ratio tidegate/pgbouncer {median(costs['tidegate']) / median(costs['pgbouncer']):.2f}")


def measure(made: World, subject: str) -> tuple[float, float]:
    """(proxy's CPU s, wall s)"""
    password = made.target.passwords[SUPERUSER]
    if subject == "tidegate":
        gate = made.gateway
        env = environment(gate.port, gate.token(SUPERUSER), gate.ca, tls=True)
        pids = gate.processes
    elif subject == "pgbouncer":
        env = environment(made.bouncer.port, password, made.bouncer.ca, tls=True)
        pids = lambda: [made.bouncer.process.pid]  # noqa: E731
    else:
        env = environment(made.target.port, password, made.bouncer.ca, tls=False)
        pids = list
    command = [client("psql"), "-X", "-q", "-o", "/dev/null", "-c", QUERY]
    cost, wall, _ = cpu_of(pids, lambda: subprocess.run(command, env=env, check=True))
    return cost, wall


if __name__ == "__main__":
    main()
