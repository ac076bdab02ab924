"""Log-ins a second: ``python -m benchmarks.logins``. TLS and a token from the client, SCRAM to the target."""

import argparse
import threading

import psycopg

from benchmarks.world import World, cpu_of, world
from tests.peers.postgres import SUPERUSER


def main() -> None:
    """Wall and CPU per log-in: the CPU says what one core could do."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=1000)
    options.add_argument("--clients", type=int, default=8)
    chosen = options.parse_args()
    with world() as made:
        login(made, made.gateway.token(SUPERUSER))
        cost, wall, _ = cpu_of(made.gateway.processes, lambda: storm(made, chosen.count, chosen.clients))
    print(
        f"{chosen.count} log-ins by {chosen.clients} clients: {chosen.count / wall:.0f} a second, "
        f"{cost / chosen.count * 1000:.2f} ms CPU each: {chosen.count / cost:.0f} a second on one core"
    )


def storm(made: World, count: int, clients: int) -> None:
    token = made.gateway.token(SUPERUSER)
    workers = [
        threading.Thread(target=lambda: [login(made, token) for _ in range(count // clients)])
        for _ in range(clients)
    ]
    for each in workers:
        each.start()
    for each in workers:
        each.join()


def login(made: World, token: str) -> None:
    with psycopg.connect(made.gateway.dsn(SUPERUSER, token=token)):
        pass


if __name__ == "__main__":
    main()
