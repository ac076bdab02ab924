"""CPU per query beside pgbouncer: ``python -m benchmarks.query_cost``. pgbench -S, 8 clients, all recorded."""

import argparse
import re
import subprocess
import time
from collections import defaultdict

from benchmarks.world import World, client, cpu_of, environment, median, world
from tests.peers.postgres import SUPERUSER

SUBJECTS = ("pgbouncer", "tidegate")
CLIENTS = 8


def main() -> None:
    """Interleaved runs; medians and ratios."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--seconds", type=int, default=4)
    chosen = options.parse_args()
    with world() as made:
        fill(made)
        for subject in SUBJECTS:  # what the first sessions load is not a query's cost
            measure(made, subject, "simple", True, 1)
        print("CPU µs per query, whole process tree; median of", chosen.runs, "interleaved runs")
        print(f"{'':24}{'pgbouncer':>10}{'tidegate':>10}{'ratio':>8}{'tps ratio':>11}{'recorded':>10}")
        for tls in (True, False):
            for protocol in ("simple", "prepared"):
                report(made, protocol, tls, chosen.runs, chosen.seconds)


def fill(made: World) -> None:
    """pgbench's tables, straight on the target."""
    target = made.target
    env = environment(target.port, target.passwords[SUPERUSER], made.bouncer.ca, tls=False)
    subprocess.run([client("pgbench"), "-i", "-s", "5", "-q"], env=env, check=True, capture_output=True)


def report(made: World, protocol: str, tls: bool, runs: int, seconds: int) -> None:
    """One row."""
    costs: dict[str, list[float]] = defaultdict(list)
    rates: dict[str, list[float]] = defaultdict(list)
    complete = True
    for _ in range(runs):
        for subject in SUBJECTS:
            cost, wall, count = measure(made, subject, protocol, tls, seconds)
            costs[subject].append(cost / count * 1e6)
            rates[subject].append(count / wall)
            if subject == "tidegate":
                complete = complete and recorded(made) >= count
    ours, theirs = median(costs["tidegate"]), median(costs["pgbouncer"])
    pace = median(rates["tidegate"]) / median(rates["pgbouncer"])
    name = f"{protocol}, {'TLS' if tls else 'plain'}"
    print(f"{name:24}{theirs:10.1f}{ours:10.1f}{ours / theirs:8.2f}{pace:11.2f}{'all' if complete else 'NO':>10}")


def measure(made: World, subject: str, protocol: str, tls: bool, seconds: int) -> tuple[float, float, int]:
    """(CPU s, wall s, queries) of one run."""
    if subject == "pgbouncer":
        port, password, ca = made.bouncer.port, made.target.passwords[SUPERUSER], made.bouncer.ca
        pids = lambda: [made.bouncer.process.pid]  # noqa: E731
    else:
        gate = made.gateway
        port, password, ca = (gate.port if tls else gate.plain_port), gate.token(SUPERUSER), gate.ca
        pids = gate.processes
    command = [client("pgbench"), "-S", "-n", "-c", str(CLIENTS), "-T", str(seconds), "-M", protocol]
    cost, wall, ran = cpu_of(
        pids,
        lambda: subprocess.run(
            command, env=environment(port, password, ca, tls=tls), check=True, capture_output=True, text=True
        ),
    )
    found = re.search(r"actually processed: (\d+)", ran.stdout)  # type: ignore[attr-defined]
    if found is None:
        raise SystemExit(f"pgbench said nothing: {ran}")
    return cost, wall, int(found[1])


def recorded(made: World) -> int:
    """Statements in the recordings of the eight newest sessions, as each session's end tells."""
    while True:
        newest = made.gateway.sessions(resource="shop")[:CLIENTS]
        if all(each["status"] == "ended" for each in newest):
            return sum(each["totals"]["statements"] for each in newest)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
