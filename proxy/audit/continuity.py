"""Whether a store goes on from the newest head that this host remembers. Pure over a reader.

The store cannot say so itself: who has its password cuts off the end of the trail, writes it anew, or puts an
older store back, and takes away or puts back the signed heads that lie in it. What the host remembers lies beside
its key. Called by ``signing``, by every worker before it admits anybody, and by verify; knows no file.

A *new origin* is what a deliberate restore begins: rows have the numbers of lost ones from there on. It is taken up
only from a head that is signed for it, which the store's password makes for nobody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.audit.chain import PLAIN, Finding
from proxy.audit.heads import problem
from proxy.core.ports import Reader
from proxy.core.trail import TrailHead

GRACE = 60.0
"""Seconds for which rows may be without a signed head: one is made every few seconds."""
LOOKED_AT = 100
"""Of the store's newest heads: who writes more forged ones keeps us from finding a good one, and is told."""


@dataclass(frozen=True, slots=True)
class Continuity:
    """``head``: the newest good head that the store's rows bear out, what is remembered included; None where there
    is none. ``wrong``: why the store does not go on from what is remembered, in words; "" where it does.
    ``unsigned``: nothing is remembered or signed, and that is as an older version may have left it."""

    head: TrailHead | None
    wrong: str = ""
    unsigned: bool = False


def look(reader: Reader, remembered: TrailHead | None, public_keys: Mapping[str, object]) -> Continuity:
    """Hold the store against ``remembered``: None where this host remembers nothing. ``public_keys``: kid -> key of
    those whose heads are believed."""
    newest = newest_good(reader, public_keys)
    if remembered is None:
        if newest is not None or reader.trail_head()[0] == 0:
            return Continuity(newest)
        if _left_unsigned(reader):
            return Continuity(None, unsigned=True)
        return Continuity(None, "this host remembers no signed head, and the store has none that is good")
    if newest is not None and newest.origin > remembered.origin:
        return Continuity(newest)
    if not bears_out(reader, remembered):
        return Continuity(remembered, _unlike(reader, remembered))
    if newest is not None and newest.seq > remembered.seq:
        return Continuity(newest)
    return Continuity(remembered)


def bears_out(reader: Reader, head: TrailHead) -> bool:
    """Whether the row that the head speaks of is the one in the store."""
    if not head.seq:
        return True
    rows = reader.trail_after(head.seq - 1, 1)
    return bool(rows) and (rows[0].seq, rows[0].digest) == (head.seq, head.digest)


def newest_good(reader: Reader, public_keys: Mapping[str, object]) -> TrailHead | None:
    """Return the store's newest head that is well signed, and borne out by its row."""
    page = 1  # nearly always the first is good, and this is asked every few seconds
    while page <= LOOKED_AT:
        heads = reader.newest_trail_heads(page)
        for head in heads:
            if not problem(head, public_keys) and bears_out(reader, head):
                return head
        if len(heads) < page:
            return None
        page *= LOOKED_AT
    return None


def _left_unsigned(reader: Reader) -> bool:
    """Whether a version that remembered nothing left this store before it had signed anything: there is no head,
    not even a bad one, and rows of the format that came with the memory are all of the last minute."""
    if reader.newest_trail_heads(1):
        return False
    since = reader.now() - GRACE
    return all(row.format == PLAIN or row.at > since for row in reader.trail_before(None, LOOKED_AT))


def _unlike(reader: Reader, remembered: TrailHead) -> str:
    """What became of the row that is remembered."""
    at = f"{datetime.fromtimestamp(remembered.at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    seq, end = remembered.seq, reader.trail_head()[0]
    if end < seq:
        return (
            f"the store is older than the last head: row {seq} was signed at {at}, and the trail ends at row "
            f"{end}: an older store was put back, or the end of the trail cut off"
        )
    return f"row {seq} of the trail is not what was signed at {at}: the trail was written anew, or is another one"


def missing_heads(
    reader: Reader, remembered: TrailHead | None, public_keys: Mapping[str, object], signed: int, end: int
) -> list[Finding]:
    """Return what is wrong with the store beside what is remembered, and with the heads that should be in it.
    ``signed``: the last row that a good head of the store vouches for; ``end``: the last good row."""
    found = look(reader, remembered, public_keys)
    if found.wrong:
        return [Finding(min(remembered.seq if remembered else 1, end + 1), found.wrong)]
    findings = []
    vouched = signed
    if remembered is not None and remembered.seq > signed:
        vouched = remembered.seq
        what = (
            f"signed heads were taken away: row {remembered.seq} was signed here, and the store has no head of it"
        )
        findings.append(Finding(remembered.seq, what))
    rows = reader.trail_after(vouched, 1)
    if rows and rows[0].seq <= end and reader.now() - rows[0].at > GRACE:
        which = f"row {end} is" if end == vouched + 1 else f"rows {vouched + 1} to {end} are"
        findings.append(Finding(vouched + 1, f"{which} without a signed head"))
    return findings
