"""Memory of idle TLS sessions: ``python -m benchmarks.memory``. PSS over all processes, after one query each."""

import argparse

import psycopg

from benchmarks.world import pss, world
from tests.peers.postgres import SUPERUSER


def main() -> None:
    """Before and after N sessions."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sessions", type=int, default=1000)
    chosen = options.parse_args()
    with world() as made:
        token = made.gateway.token(SUPERUSER)
        dsn = made.gateway.dsn(SUPERUSER, token=token)
        lines = [connect(dsn) for _ in range(20)]  # what the first sessions load is not a session's cost
        before = pss(made.gateway.processes())
        lines += [connect(dsn) for _ in range(chosen.sessions)]
        after = pss(made.gateway.processes())
        each = (after - before) / chosen.sessions / 1024
        print(
            f"{chosen.sessions} idle TLS sessions: {each:.1f} KB each; "
            f"the gateway without them {before / 1e6:.0f} MB"
        )
        for line in lines:
            line.close()


def connect(dsn: str) -> psycopg.Connection[object]:
    connection = psycopg.connect(dsn, autocommit=True)
    connection.execute("select 1")
    return connection


if __name__ == "__main__":
    main()
