"""Goes through the whole trail, its signed heads, what it ended, and this machine's recordings; for
``/v1/audit/verify`` alone.

Page by page, each read in one snapshot and hashed in a thread. Rows that are added meanwhile belong to the next
look.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.access.revocations import TOKEN_REMEMBERED
from proxy.api.services import Services
from proxy.api.shapes.operations import Verified
from proxy.audit.erasure import Erasures
from proxy.audit.recordings import RecordingsVerifier
from proxy.audit.standing import Named, StandingVerifier, Undone, look
from proxy.audit.verification import Verifier
from proxy.core.ports import Reader
from proxy.core.trail import TrailHead, TrailRow

PAGE = 1000
SHOWN_MOST = 20
"""Findings that are told; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Looks:
    """What goes through the trail, each for its own kind of finding."""

    trail: Verifier
    recordings: RecordingsVerifier
    standing: StandingVerifier
    erasures: Erasures

    def check(self, rows: Sequence[TrailRow], heads: Sequence[TrailHead], undone: Undone) -> None:
        """One page: its chain and heads, then what its good rows speak of. Hashes, and reads files."""
        self.trail.feed(rows, heads)
        good = [each for each in rows if each.seq <= self.trail.place[0]]
        self.recordings.feed(good)
        self.standing.feed(good, undone)
        self.erasures.feed(good)


async def verified(services: Services) -> Verified:
    """The first bad row, if any: of the chain, one whose signed head says something else, the end of a session
    whose recording is not what it was, an end of what is there again, or one that was erased by nobody who may. The
    trail is believed up to its first bad row, and no further."""
    keys = services.head_keys()
    recordings = RecordingsVerifier(services.recordings.digest, services.facts().machine)
    looks = Looks(Verifier(keys), recordings, StandingVerifier(), Erasures(keys))
    trail = looks.trail
    last, _ = await services.store.read(lambda reader: reader.trail_head())
    while True:
        found = await services.store.read(lambda reader: page(reader, trail.place[0]))
        await asyncio.to_thread(looks.check, *found)
        if trail.finding is not None or len(found[0]) < PAGE or trail.place[0] >= last + PAGE:
            break
    if trail.finding is None:
        looks.standing.finish(*await services.store.read(lambda reader: locked(reader, trail.place[0])))
    return told(looks)


def page(reader: Reader, after: int) -> tuple[Sequence[TrailRow], Sequence[TrailHead], Undone]:
    """The next rows, with all heads up to the last of them; with the last rows all heads that are left. And what
    of that is undone."""
    rows = reader.trail_after(after, PAGE)
    heads = reader.trail_heads(after, PAGE)
    undone = look(reader, rows, TOKEN_REMEMBERED)
    if len(rows) < PAGE:
        return rows, heads, undone
    return rows, [each for each in heads if each.seq <= rows[-1].seq], undone


def locked(reader: Reader, after: int) -> tuple[list[TrailRow], set[Named]]:
    """What was locked and unlocked since row ``after``, and what is locked."""
    later = [row for kind in ("locked", "unlocked") for row in reader.trail_after(after, PAGE, kind=kind)]
    return later, {(str(each.scope), each.key) for each in reader.locks()}


def told(looks: Looks) -> Verified:
    report, files = looks.trail.report(), looks.recordings.report()
    findings = [*files.findings, *looks.standing.findings, *looks.erasures.findings()]
    findings += [report.first_bad] if report.first_bad else []
    findings.sort(key=lambda each: each.seq)
    first = findings[0] if findings else None
    return Verified(
        ok=first is None,
        rows=report.rows,
        heads=report.heads,
        signed=report.signed,
        erased=looks.erasures.count,
        recordings=files.checked,
        unsealed=len(files.unsealed),
        elsewhere=files.elsewhere,
        deleted=files.deleted,
        first_bad=first.seq if first else None,
        problem=first.what if first else "",
        problems=[f"row {each.seq}: {each.what}" for each in findings[:SHOWN_MOST]],
        more=max(0, len(findings) - SHOWN_MOST),
    )
