"""CPU per query beside pgbouncer: ``python -m benchmarks.query_cost``. pgbench -S, 8 clients, all recorded.

``--beside ../main`` has the gateway of another checkout take turns with both.
"""

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.series import Round, Series, options, spread
from benchmarks.world import World, client, cpu_of, environment, world
from tests.peers.gateway import Gateway
from tests.peers.postgres import SUPERUSER

CLIENTS = 8
ROWS = [(protocol, tls) for tls in (True, False) for protocol in ("simple", "prepared")]


def main() -> None:
    """A row for each protocol, with TLS and without."""
    asked = options(__doc__)
    asked.add_argument("--seconds", type=int, default=4, help="of each measurement")
    asked.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another checkout, to compare with")
    chosen = asked.parse_args()
    series = Series("CPU µs per query, whole process tree", chosen.runs, once=chosen.once)
    with world(beside=chosen.beside) as made:
        fill(made)
        subjects = ("pgbouncer", *made.gateways)
        for subject in subjects:  # what the first sessions load is not a query's cost
            measure(made, subject, "simple", True, 1)
        for each in series.rounds():
            for protocol, tls in ROWS:
                for subject in subjects:
                    take(each, made, subject, protocol, tls, chosen.seconds)
    for protocol, tls in ROWS:
        report(series, subjects, named(protocol, tls))
    series.finish()


def named(protocol: str, tls: bool) -> str:
    return f"{protocol}, {'TLS' if tls else 'plain'}"


def take(each: Round, made: World, subject: str, protocol: str, tls: bool, seconds: int) -> None:
    """One measurement, as ``"simple, TLS tidegate"``."""
    cost, wall, count = measure(made, subject, protocol, tls, seconds)
    complete = subject == "pgbouncer" or recorded(made.gateways[subject]) >= count
    name = f"{named(protocol, tls)} {subject}"
    each.note(name, cost=cost / count * 1e6, rate=count / wall, complete=float(complete))


def report(series: Series, subjects: Sequence[str], row: str) -> None:
    print(row)
    for subject in subjects:
        cost = spread(series.values(f"{row} {subject}", "cost"), "{:.1f}")
        if subject == "pgbouncer":
            print(f"  {subject:10} {cost} µs")
            continue
        ratio, pace = (
            spread(series.ratios(f"{row} {subject}", f"{row} pgbouncer", what)) for what in ("cost", "rate")
        )
        whole = "all" if all(series.values(f"{row} {subject}", "complete")) else "NOT ALL"
        print(f"  {subject:10} {cost} µs, {ratio} of pgbouncer's; {pace} of its rate; {whole} recorded")
    if "beside" in subjects:
        print(f"  {spread(series.ratios(f'{row} tidegate', f'{row} beside', 'cost'))} of beside's CPU")


def fill(made: World) -> None:
    """pgbench's tables, straight on the target."""
    target = made.target
    env = environment(target.port, target.passwords[SUPERUSER], made.bouncer.ca, tls=False)
    subprocess.run([client("pgbench"), "-i", "-s", "5", "-q"], env=env, check=True, capture_output=True)


def measure(made: World, subject: str, protocol: str, tls: bool, seconds: int) -> tuple[float, float, int]:
    """(CPU s, wall s, queries) of one run."""
    if subject == "pgbouncer":
        port, password, ca = made.bouncer.port, made.target.passwords[SUPERUSER], made.bouncer.ca
        pids = lambda: [made.bouncer.process.pid]  # noqa: E731
    else:
        gate = made.gateways[subject]
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


def recorded(gate: Gateway) -> int:
    """Statements in the recordings of the eight newest sessions, as each session's end tells."""
    while True:
        newest = gate.sessions(resource="shop")[:CLIENTS]
        if all(each["status"] == "ended" for each in newest):
            return sum(each["totals"]["statements"] for each in newest)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
