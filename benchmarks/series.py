"""Rounds in which all subjects take turns: what every benchmark runs in, and what it says of how it was run.

A round is thrown away, and another tried, where others used more than ``QUIET`` of a core meanwhile; where too few
are left the figures are those of all rounds, and the run says of itself that it is no good one (exit code 1). A
ratio is taken in each round, so that both sides had the same neighbours; its median and quartiles are told.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks import machine

QUIET = 0.05
"""Cores that others may use, over a round."""
TRIES = 2
"""Rounds tried for one that is wanted, at most."""


@dataclass
class Round:
    """One turn of each subject: ``note`` what was measured. ``others``: cores that others used meanwhile."""

    others: float = 0.0
    values: dict[tuple[str, str], float] = field(default_factory=dict)

    def note(self, subject: str, **measured: float) -> None:
        self.values |= {(subject, what): value for what, value in measured.items()}


class Series:
    """``runs`` rounds are wanted; with ``once`` each is taken as it comes."""

    def __init__(self, title: str, runs: int, *, once: bool = False) -> None:
        self.title = title
        self.runs = runs
        self._once = once
        self._taken: list[Round] = []

    def rounds(self) -> Iterator[Round]:
        """Until enough were quiet, or enough were tried."""
        machine.adopt_orphans()
        print(self.title, *machine.described(), f"load before: {machine.load()}", sep="\n", flush=True)
        while len(self.quiet) < self.runs and len(self._taken) < self.runs * (1 if self._once else TRIES):
            current, began = Round(), machine.usage()
            yield current
            current.others = began.others(machine.usage())
            self._taken.append(current)

    @property
    def quiet(self) -> list[Round]:
        """Those in which the machine was ours."""
        return [each for each in self._taken if each.others <= QUIET]

    @property
    def good(self) -> bool:
        return len(self.quiet) >= self.runs

    @property
    def used(self) -> list[Round]:
        """The rounds whose figures are told."""
        return self.quiet if self.good else self._taken

    def values(self, subject: str, what: str) -> list[float]:
        """Of each round."""
        return [each.values[subject, what] for each in self.used if (subject, what) in each.values]

    def ratios(self, subject: str, other: str, what: str) -> list[float]:
        """``subject`` to ``other``, within each round."""
        both = zip(self.values(subject, what), self.values(other, what), strict=True)
        return [one / two for one, two in both if two]

    def verdict(self) -> bool:
        """Say how it was run; whether the figures may be told of."""
        shares = [each.others for each in self._taken]
        count, loud = len(self._taken), len(self._taken) - len(self.quiet)
        print(
            f"load after: {machine.load()}; {count} rounds, {count - len(self.used)} discarded; "
            f"in a round others used {min(shares):.2f} to {max(shares):.2f} of a core"
        )
        if not self.good:
            print(
                f"NOT A GOOD RUN: in {loud} of {count} rounds others used more than {QUIET:.0%} of a core. "
                "Read ratios at most, and tell nobody figures."
            )
        return self.good

    def finish(self) -> None:
        """The verdict, and the end of the program by it."""
        sys.exit(0 if self.verdict() else 1)


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """``1.99 (1.85 to 2.08)``: the median, and the quartiles."""
    if len(values) < 2:
        return form.format(values[0]) if values else "-"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{form.format(middle)} ({form.format(low)} to {form.format(high)})"


def options(about: str | None, runs: int = 5) -> argparse.ArgumentParser:
    """What every benchmark is asked with."""
    made = argparse.ArgumentParser(description=about)
    made.add_argument("--runs", type=int, default=runs, help="rounds wanted, in which nobody else used the machine")
    made.add_argument("--once", action="store_true", help="take each round as it comes, tries no more")
    return made
