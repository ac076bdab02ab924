"""Goes through a trail: its chain and its signed heads. Pure over what it is given.

``Verifier`` takes a trail in pages, so that one of any length can be checked; ``verify_trail`` takes it at once.
Called by the API and by tests. Knows no store; the recordings that a trail speaks of are ``recordings``' matter,
what this host remembers of it ``continuity``'s.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from proxy.audit.chain import FIRST, Finding, follows
from proxy.audit.heads import problem
from proxy.audit.restores import Restore, Restores
from proxy.core.trail import TrailHead, TrailRow


@dataclass(frozen=True, slots=True)
class Report:
    """How many rows and heads were looked at, up to which row good heads vouch (0: none does), the first bad
    row, None when all is well, and the restores that are told and signed for."""

    rows: int
    heads: int
    signed: int
    first_bad: Finding | None
    restores: tuple[Restore, ...] = ()


class Verifier:
    """``place`` is (seq, digest) of the last good row. The first finding stays; nothing after it is believed."""

    def __init__(self, public_keys: Mapping[str, object], after: tuple[int, str] = FIRST) -> None:
        self.place = after
        self.restores = Restores()
        self._public_keys = public_keys
        self._begin = after[0]
        self._heads = 0
        self._signed = 0
        self._finding: Finding | None = None

    @property
    def finding(self) -> Finding | None:
        """The first thing that is wrong so far."""
        return self._finding

    def feed(self, rows: Iterable[TrailRow], heads: Sequence[TrailHead]) -> Finding | None:
        """The next rows, oldest first, with all heads of rows up to the last of them; the finding so far."""
        wanted: dict[int, list[TrailHead]] = {}
        for head in heads:
            wanted.setdefault(head.seq, []).append(head)
        self._heads += len(heads)
        self._meet(wanted.pop(self.place[0], ()))
        for row in rows:
            if self._finding is None:
                self._follow(row)
            if self._finding is None:
                self._meet(wanted.pop(row.seq, ()))
        for seq in sorted(wanted):
            self._beyond(wanted[seq])
        return self._finding

    def report(self) -> Report:
        """What was found."""
        bad = [*self.restores.unexplained(), *([self._finding] if self._finding else [])]
        first = min(bad, key=lambda each: each.seq, default=None)
        restores = tuple(self.restores.signed())
        return Report(self.place[0] - self._begin, self._heads, self._signed, first, restores)

    def _follow(self, row: TrailRow) -> None:
        self._finding = follows(row, *self.place)
        if self._finding is None:
            self.place = (row.seq, row.digest)
            self.restores.see(row)

    def _meet(self, heads: Iterable[TrailHead]) -> None:
        """What is signed of the row at ``place``."""
        for head in heads:
            bad = problem(head, self._public_keys)
            if not bad and head.digest != self.place[1]:
                bad = f"row {head.seq} is not the one that was signed by key {head.kid}: the trail was written anew"
                if self.restores.explains(head, Finding(head.seq, bad)):
                    continue
            if not bad:
                self._signed = head.seq
                self.restores.meet(head)
            elif self._finding is None:
                self._finding = Finding(head.seq, bad)

    def _beyond(self, heads: Iterable[TrailHead]) -> None:
        """Heads of rows that did not come."""
        for head in heads:
            if self._finding is not None or head.seq <= self.place[0]:
                continue
            bad, missing = problem(head, self._public_keys), self.place[0] + 1
            what = bad or (
                f"row {missing} is missing: a signed head says the trail had {head.seq} rows, "
                f"but it ends at row {self.place[0]}"
            )
            finding = Finding(missing, what)
            if bad or not self.restores.explains(head, finding):
                self._finding = finding


def verify_trail(rows: Iterable[TrailRow], heads: Sequence[TrailHead], public_keys: Mapping[str, object]) -> Report:
    """A whole trail, oldest row first, with all its heads."""
    verifier = Verifier(public_keys)
    verifier.feed(rows, heads)
    return verifier.report()
