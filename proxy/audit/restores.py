"""What a trail tells of stores that were put back, and which older heads that explains. Pure; used by verify.

Behind a ``trail_restored`` row other rows have the numbers of lost ones, so heads of older origins speak of rows
that are not there any more. That is well only if a head is *signed* for the origin that the row begins: who has the
store's password alone can write such a row, and sign for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from proxy.audit.chain import Finding
from proxy.core.trail import TrailHead, TrailRow

KIND = "trail_restored"


@dataclass(frozen=True, slots=True)
class Restore:
    """A row that begins ``origin``."""

    seq: int
    at: float
    origin: int
    actor: str
    reason: str
    lost: int

    def told(self) -> str:
        """Return it in a line."""
        lost = f"; rows {self.seq} to {self.lost} of before are lost" if self.lost >= self.seq else ""
        return f"row {self.seq}: the store was put back, says {self.actor}: {self.reason}{lost}"


@dataclass(slots=True)
class Restores:
    """Fed rows and heads as they come, oldest first; remembers the rows above, and heads that wait for one."""

    _rows: list[Restore] = field(default_factory=list)
    _signed: int = 1
    _waiting: list[tuple[Restore, Finding]] = field(default_factory=list)

    def see(self, row: TrailRow) -> None:
        """A row that follows the one before it."""
        origin = row.body.get("origin") if row.kind == KIND else None
        if type(origin) is int and origin > max((each.origin for each in self._rows), default=1):
            lost = row.body.get("lost")
            reason, last = str(row.body.get("reason", "")), lost if type(lost) is int else 0
            known = row.body.get("names")
            by = str(known.get(row.actor, row.actor)) if isinstance(known, dict) else row.actor
            self._rows.append(Restore(row.seq, row.at, origin, by, reason, last))

    def meet(self, head: TrailHead) -> None:
        """A good head of a row that is there."""
        begun = (each.origin for each in self._rows if each.seq <= head.seq and each.origin <= head.origin)
        self._signed = max((self._signed, *begun))

    def explains(self, head: TrailHead, finding: Finding) -> bool:
        """Whether a restore may be why the row of a well signed head is not there: then ``finding`` waits until
        that restore is signed for."""
        begun = (each for each in self._rows if each.origin > head.origin and each.seq <= head.seq)
        first = next(begun, None)
        if first is not None:
            self._waiting.append((first, finding))
        return first is not None

    def signed(self) -> Sequence[Restore]:
        """Return the restores that are signed for."""
        return [each for each in self._rows if each.origin <= self._signed]

    def unexplained(self) -> Sequence[Finding]:
        """Return the findings that waited for nothing."""
        return [finding for restore, finding in self._waiting if restore.origin > self._signed]
