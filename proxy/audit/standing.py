"""Compares what a trail says was ended with the rows that are there now: who has the store's password may put back
a grant's row of before its revocation, seal and all, or take a lock away, and no chain shows that.

``StandingVerifier`` takes a trail in pages, each with what ``look`` found beside it in the same snapshot. Called by
the API; knows the port of a reader, no store.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from proxy.audit.chain import Finding
from proxy.core.ports import Reader
from proxy.core.trail import TrailRow

Named = tuple[str, str]
"""Scope and key of a lock."""


@dataclass(frozen=True, slots=True)
class Undone:
    """Of what a page of the trail ends: grants whose rows do not say so, and tokens that are not refused."""

    grants: frozenset[str]
    tokens: frozenset[str]


def look(reader: Reader, rows: Sequence[TrailRow], remembered: float) -> Undone:
    """What of these rows is undone. ``remembered``: seconds for which a revoked token must be refused."""
    grants = {row.subjects.get("grant", "") for row in rows if row.kind == "grant_revoked"}
    since = reader.now() - remembered
    tokens = {key for row in rows if row.at > since and (key := token_of(row))}
    found = [grant for each in grants if (grant := reader.grant(each)) is not None]
    return Undone(
        frozenset(each.id for each in found if each.revoked is None),
        frozenset(each for each in tokens if not reader.token_revoked(each)),
    )


def token_of(row: TrailRow) -> str:
    """The id of the token that a row revokes; "" where it revokes none."""
    return str(row.body.get("key", "")) if row.kind == "revoked" and row.body.get("scope") == "token" else ""


class StandingVerifier:
    """Remembers what is locked at the place it has come to."""

    def __init__(self) -> None:
        self._locked: dict[Named, int] = {}
        self._findings: list[Finding] = []

    @property
    def findings(self) -> Sequence[Finding]:
        """What was found, by the row that says otherwise."""
        return tuple(self._findings)

    def feed(self, rows: Iterable[TrailRow], undone: Undone) -> None:
        """The next rows: verified, oldest first."""
        for row in rows:
            grant = row.subjects.get("grant", "")
            if row.kind == "grant_revoked" and grant in undone.grants:
                self._find(row.seq, f"grant {grant} was revoked, and its row was put back as if it were not")
            elif (token := token_of(row)) in undone.tokens:
                self._find(row.seq, f"token {token} was revoked, and the row that says so was taken away")
            elif row.kind in {"locked", "unlocked"}:
                self._lock(row)

    def finish(self, later: Iterable[TrailRow], locks: Collection[Named]) -> None:
        """``later``: rows about locks that came since; ``locks``: what is locked, in the same snapshot."""
        for row in sorted(later, key=lambda each: each.seq):
            self._lock(row)
        for named, seq in self._locked.items():
            if named not in locks:
                self._find(seq, f"{' '.join(named)} was locked and not unlocked, and the lock was taken away")

    def _lock(self, row: TrailRow) -> None:
        named = str(row.body.get("scope", "")), str(row.body.get("key", ""))
        if row.kind == "locked":
            self._locked[named] = row.seq
        else:
            self._locked.pop(named, None)

    def _find(self, seq: int, what: str) -> None:
        self._findings.append(Finding(seq, what))
