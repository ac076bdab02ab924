"""COPY out of 350 MB beside pgbouncer and direct: ``python -m benchmarks.copy_out``."""

import subprocess

from benchmarks.series import Series, options, spread
from benchmarks.world import World, client, cpu_of, environment, world
from tests.peers.postgres import SUPERUSER

ROWS = 3_500_000
QUERY = f"copy (select repeat('x', 99) from generate_series(1, {ROWS})) to stdout"


SUBJECTS = ("direct", "pgbouncer", "tidegate")


def main() -> None:
    """CPU and speed."""
    chosen = options(__doc__).parse_args()
    series = Series("COPY out of 350 MB over TLS (direct: plain)", chosen.runs, once=chosen.once)
    with world() as made:
        for each in series.rounds():
            for subject in SUBJECTS:
                cost, wall = measure(made, subject)
                each.note(subject, cost=cost, wall=wall, speed=1 / wall)
    for subject in SUBJECTS:
        cost, wall = (spread(series.values(subject, what)) for what in ("cost", "wall"))
        speed = spread(series.ratios(subject, "direct", "speed"))
        print(f"{subject:10} CPU {cost} s   wall {wall} s   {speed} of direct's speed")
    print(f"CPU of pgbouncer's: {spread(series.ratios('tidegate', 'pgbouncer', 'cost'))}")
    series.finish()


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
