"""Log-ins a second: ``python -m benchmarks.logins``. TLS and a token from the client, SCRAM to the target.

``--beside ../main`` has the gateway of another checkout take turns: what a change costs, whoever else is busy.
"""

import threading
from pathlib import Path

import psycopg

from benchmarks.series import Series, options, spread
from benchmarks.world import cpu_of, world
from tests.peers.gateway import Gateway
from tests.peers.postgres import SUPERUSER


def main() -> None:
    """CPU of a log-in and its end: it says what one core could do."""
    asked = options(__doc__)
    asked.add_argument("--count", type=int, default=400, help="log-ins a round")
    asked.add_argument("--clients", type=int, default=8)
    asked.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another checkout, to compare with")
    chosen = asked.parse_args()
    title = f"{chosen.count} log-ins by {chosen.clients} clients"
    series = Series(title, chosen.runs, once=chosen.once)
    with world(beside=chosen.beside) as made:
        for gate in made.gateways.values():
            login(gate, gate.token(SUPERUSER))
        for each in series.rounds():
            for name, gate in made.gateways.items():
                cost, wall, _ = cpu_of(gate.processes, lambda: storm(gate, chosen.count, chosen.clients))  # noqa: B023
                each.note(name, milliseconds=cost / chosen.count * 1000, rate=chosen.count / wall)
        for name in made.gateways:
            cost = series.values(name, "milliseconds")
            print(f"{name:10} {spread(cost)} ms CPU each, {spread(series.values(name, 'rate'), '{:.0f}')} a second")
        if made.beside:
            print(f"CPU of beside's: {spread(series.ratios('tidegate', 'beside', 'milliseconds'))}")
    series.finish()


def storm(gate: Gateway, count: int, clients: int) -> None:
    token = gate.token(SUPERUSER)
    workers = [
        threading.Thread(target=lambda: [login(gate, token) for _ in range(count // clients)])
        for _ in range(clients)
    ]
    for each in workers:
        each.start()
    for each in workers:
        each.join()


def login(gate: Gateway, token: str) -> None:
    with psycopg.connect(gate.dsn(SUPERUSER, token=token)):
        pass


if __name__ == "__main__":
    main()
