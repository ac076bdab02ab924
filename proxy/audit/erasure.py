"""Whether rows of the trail whose content was taken out may be without it. Pure; used by verify.

Who has the store's password can take the content out of a row of format 2, and the chain still holds: so a row is
well erased only if a later ``erased`` row names it and its digest under a signature by a key of the heads, which
the store does not hold. Nothing writes such rows yet: until then each erased row is a finding. Rows that the
gateway itself goes by, now or when it verifies, are never well erased: the gate asks the trail whether a grant was
revoked, and an erased row tells it of no grant.

The body of an ``erased`` row: ``rows`` (a list of [seq, digest]), ``kid`` and ``signature`` as of a head.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from proxy.audit.chain import Finding
from proxy.audit.heads import good_signature
from proxy.core.trail import TrailRow

KIND = "erased"
NEEDED = frozenset(
    {
        *("grant_revoked", "revoked", "locked", "unlocked", "trail_restored", "trail_taken_up", KIND),
        *("session_started", "session_ended", "recording_deleted"),
    }
)
"""Kinds of rows that the gate or verify goes by."""

Named = tuple[int, str]
"""Sequence and digest of a row."""


def signed_text(rows: Iterable[Named]) -> bytes:
    """Return what is signed of an erasure: a first line, and a line of each row, ``seq digest``, in this order."""
    return "".join(["tidegate-trail-erasure-v1\n", *(f"{seq} {digest}\n" for seq, digest in rows)]).encode()


class Erasures:
    """Takes a trail in pages; remembers the rows that are erased, and those that somebody may have erased."""

    def __init__(self, public_keys: Mapping[str, object]) -> None:
        self._public_keys = public_keys
        self._erased: dict[Named, str] = {}
        self._named: set[Named] = set()

    @property
    def count(self) -> int:
        """How many rows are erased."""
        return len(self._erased)

    def feed(self, rows: Iterable[TrailRow]) -> None:
        """The next rows: verified, oldest first."""
        for row in rows:
            if row.erased:
                self._erased[row.seq, row.digest] = row.kind
            elif row.kind == KIND:
                self._named.update(each for each in self._signed(row.body) if each in self._erased)

    def findings(self) -> Sequence[Finding]:
        """Return a finding for each row that should not be erased."""
        return tuple(self._found())

    def _found(self) -> Iterator[Finding]:
        for named, kind in self._erased.items():
            seq, _ = named
            if kind in NEEDED:
                yield Finding(
                    seq, f"row {seq} was erased, and may not be: it is a {kind}, which the gateway goes by"
                )
            elif named not in self._named:
                yield Finding(seq, f"row {seq} ({kind}) was erased, and no signed erasure names it")

    def _signed(self, body: Mapping[str, object]) -> tuple[Named, ...]:
        """Return the rows that the body names; none where it is malformed or its signature is not good."""
        rows = body.get("rows")
        if not isinstance(rows, list) or not all(_names(each) for each in rows):
            return ()
        named = tuple((seq, digest) for seq, digest in rows)
        kid, signature = str(body.get("kid")), str(body.get("signature"))
        return named if good_signature(kid, signature, signed_text(named), self._public_keys) else ()


def _names(value: object) -> bool:
    return isinstance(value, list) and [type(each) for each in value] == [int, str]
