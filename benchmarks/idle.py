"""What a gateway costs that nobody asks: ``python -m benchmarks.idle``. One worker, the API, SQLite, no session.

``--beside ../main`` has the gateway of another checkout idle at the same time.
"""

import time
from pathlib import Path

from benchmarks.series import Series, options, spread
from benchmarks.world import nanoseconds, world
from tests.peers.gateway import Gateway


def main() -> None:
    """CPU milliseconds a second, and how often its threads were woken."""
    asked = options(__doc__)
    asked.add_argument("--seconds", type=float, default=20.0)
    asked.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another checkout, to compare with")
    chosen = asked.parse_args()
    series = Series("CPU of a gateway that nobody asks", chosen.runs, once=chosen.once)
    with world(beside=chosen.beside) as made:
        time.sleep(5)  # what is done once after a start is no idle cost
        for each in series.rounds():
            before = {name: used(gate) for name, gate in made.gateways.items()}
            time.sleep(chosen.seconds)
            for name, gate in made.gateways.items():
                for part, (cost, woken) in used(gate).items():
                    cost, woken = cost - before[name][part][0], woken - before[name][part][1]
                    each.note(f"{name} {part}", cost=cost / 1e6 / chosen.seconds, woken=woken / chosen.seconds)
                whole = sum(each.values[f"{name} {part}", "cost"] for part in before[name])
                each.note(name, cost=whole)
        for name in made.gateways:
            print(f"{name:10} {spread(series.values(name, 'cost'))} ms of CPU a second")
            for part in ("serve", "worker-0", "api"):
                cost, woken = (series.values(f"{name} {part}", what) for what in ("cost", "woken"))
                print(f"  {part:10} {spread(cost)} ms, woken {spread(woken, '{:.1f}')} times a second")
        if made.beside:
            print(f"CPU of beside's: {spread(series.ratios('tidegate', 'beside', 'cost'))}")
    series.finish()


def used(gate: Gateway) -> dict[str, tuple[int, int]]:
    """Nanoseconds of CPU and voluntary switches until now, by part of the gateway."""
    return {_part(pid): (nanoseconds(pid), _switches(pid)) for pid in gate.processes()}


def _part(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return next(each for each in words if each in ("serve", "api") or each.startswith("worker-"))


def _switches(pid: int) -> int:
    found = 0
    for each in Path(f"/proc/{pid}/task").iterdir():
        lines = (each / "status").read_text().splitlines()
        found += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return found


if __name__ == "__main__":
    main()
