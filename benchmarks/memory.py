"""Memory of idle TLS sessions: ``python -m benchmarks.memory``. PSS over all processes, after one query each."""

import psycopg

from benchmarks.series import Series, options, spread
from benchmarks.world import pss, world
from tests.peers.postgres import SUPERUSER


def main() -> None:
    """Before and after N sessions."""
    asked = options(__doc__, runs=1)
    asked.add_argument("--sessions", type=int, default=1000)
    chosen = asked.parse_args()
    series = Series(f"Memory of {chosen.sessions} idle TLS sessions", chosen.runs, once=chosen.once)
    with world() as made:
        dsn = made.gateway.dsn(SUPERUSER, token=made.gateway.token(SUPERUSER))
        first = [connect(dsn) for _ in range(20)]  # what the first sessions load is not a session's cost
        for each in series.rounds():
            before = pss(made.gateway.processes())
            lines = [connect(dsn) for _ in range(chosen.sessions)]
            after = pss(made.gateway.processes())
            each.note("tidegate", each=(after - before) / chosen.sessions / 1024, before=before / 1e6)
            for line in lines:
                line.close()
        for line in first:
            line.close()
    each_one, before_all = (series.values("tidegate", what) for what in ("each", "before"))
    print(f"{spread(each_one, '{:.1f}')} KB each; the gateway without them {spread(before_all, '{:.0f}')} MB")
    series.finish()


def connect(dsn: str) -> psycopg.Connection[object]:
    connection = psycopg.connect(dsn, autocommit=True)
    connection.execute("select 1")
    return connection


if __name__ == "__main__":
    main()
