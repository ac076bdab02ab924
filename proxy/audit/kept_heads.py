"""Heads that were kept elsewhere, held against the trail: what shows a store that was put back, or cut short, to
somebody who does not trust this host. Pure over a reader.

Who could lie: whoever writes to the other place. A head that is not signed by a key we know proves nothing and is
told as that; one that is missing there shows nothing, so the newest that was given is told too. Called by the API.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from proxy.audit.chain import Finding
from proxy.audit.continuity import bears_out, newest_good
from proxy.audit.heads import problem
from proxy.audit.restores import KIND, Restores
from proxy.core.ports import Reader
from proxy.core.trail import TrailHead

RESTORES_MOST = 1000


@dataclass(frozen=True, slots=True)
class Compared:
    """``good`` heads are borne out by the trail; ``explained`` ones speak of rows that a restore lost; ``findings``
    tell of rows that are not what was signed, ``unsigned`` (in words) of heads that prove nothing."""

    good: int
    explained: int
    findings: tuple[Finding, ...]
    unsigned: tuple[str, ...]


def compare(reader: Reader, heads: Iterable[TrailHead], public_keys: Mapping[str, object]) -> Compared:
    """Hold each head against its row. The chain itself is ``verification``'s matter."""
    restores = told_restores(reader, public_keys)
    good = explained = 0
    findings, unsigned = [], []
    for head in heads:
        bad = problem(head, public_keys)
        if bad:
            unsigned.append(bad)
        elif bears_out(reader, head):
            good += 1
        elif any(each.origin > head.origin and each.seq <= head.seq for each in restores.signed()):
            explained += 1
        else:
            findings.append(Finding(head.seq, _unlike(reader, head)))
    return Compared(good, explained, tuple(findings), tuple(unsigned))


def told_restores(reader: Reader, public_keys: Mapping[str, object]) -> Restores:
    """Return the restores that the trail tells of, those that are signed for marked as such."""
    restores = Restores()
    for row in reader.trail_after(0, RESTORES_MOST, kind=KIND):
        restores.see(row)
    head = newest_good(reader, public_keys)
    if head is not None:
        restores.meet(head)
    return restores


def _unlike(reader: Reader, head: TrailHead) -> str:
    end = reader.trail_head()[0]
    if end < head.seq:
        return (
            f"the store is older than a head that was kept elsewhere: row {head.seq} was signed, and the trail "
            f"ends at row {end}"
        )
    return f"row {head.seq} is not the one that was signed in a head that was kept elsewhere: the trail was forked"
