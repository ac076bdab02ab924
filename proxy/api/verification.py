"""Goes through the whole trail, its signed heads and what this host remembers of them, what it ended, and this
machine's recordings; for ``/v1/audit/verify`` alone.

Page by page, each read in one snapshot and hashed in a thread. Rows that are added meanwhile belong to the next
look.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from proxy.access.revocations import TOKEN_REMEMBERED
from proxy.api.services import Services
from proxy.api.shapes.operations import Verified
from proxy.audit.chain import Finding
from proxy.audit.continuity import GRACE, missing_heads
from proxy.audit.erasure import Erasures
from proxy.audit.recordings import RecordingsVerifier, lost_by, unnamed
from proxy.audit.standing import Named, StandingVerifier, Undone, look
from proxy.audit.verification import Verifier
from proxy.core.ports import Reader
from proxy.core.trail import TrailHead, TrailRow

PAGE = 1000
FILES = 100
"""Recordings that are looked for in the trail in one snapshot."""
SHOWN_MOST = 20
"""Findings that are told; the rest is counted."""


@dataclass(slots=True)
class Looks:
    """What goes through the trail, each for its own kind of finding."""

    trail: Verifier
    recordings: RecordingsVerifier
    standing: StandingVerifier
    erasures: Erasures
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def check(self, rows: Sequence[TrailRow], heads: Sequence[TrailHead], undone: Undone) -> None:
        """One page: its chain and heads, then what its good rows speak of. Hashes, and reads files."""
        self.trail.feed(rows, heads)
        good = [each for each in rows if each.seq <= self.trail.place[0]]
        self.recordings.feed(good)
        self.standing.feed(good, undone)
        self.erasures.feed(good)
        self.remarks += [
            f"row {each.seq}: {each.body.get('node')} remembered no signed head, and took up that of row "
            f"{each.body.get('seq')}: a new host, or one that lost what it remembered"
            for each in good
            if each.kind == "trail_taken_up"
        ]


async def verified(services: Services) -> Verified:
    """The first bad row, if any: of the chain, one whose signed head says something else, or is not there, the end
    of a session whose recording is not what it was, a recording that no row names, an end of what is there again,
    or a row that was erased by nobody who may. The trail is believed up to its first bad row, and no further."""
    keys, memory = services.head_keys(), services.head_memory
    recordings = RecordingsVerifier(services.recordings.digest, services.facts().machine)
    looks = Looks(Verifier(keys), recordings, StandingVerifier(), Erasures(keys))
    trail = looks.trail
    # First: what is remembered now is in what is read from here on.
    remembered = await asyncio.to_thread(memory.newest)
    last, _ = await services.store.read(lambda reader: reader.trail_head())
    while True:
        found = await services.store.read(lambda reader: page(reader, trail.place[0]))
        await asyncio.to_thread(looks.check, *found)
        if trail.finding is not None or len(found[0]) < PAGE or trail.place[0] >= last + PAGE:
            break
    report = trail.report()
    beside = lambda reader: missing_heads(reader, remembered, keys, report.signed, trail.place[0])  # noqa: E731
    looks.findings += await services.store.read(beside)
    looks.remarks += [each.told() for each in report.restores]
    if trail.finding is None:
        looks.standing.finish(*await services.store.read(lambda reader: locked(reader, trail.place[0])))
        await find_unnamed(services, looks)
    return told(looks)


async def find_unnamed(services: Services, looks: Looks) -> None:
    """The recordings of this machine that no row names: the rows were cut off, or an older store was put back.
    Those that a told restore has lost are a remark."""
    end, restores = looks.trail.place[0], looks.trail.report().restores
    written: dict[str, float] = {}
    lost = 0
    files = services.recordings.sealed()
    now = services.clock.now()
    while part := await asyncio.to_thread(lambda: dict(islice(settled(files, now), FILES))):
        names = await services.store.read(lambda reader, part=part: unnamed(reader, part, end))  # type: ignore[misc]
        for key in names:
            if await asyncio.to_thread(services.recordings.silent, key):
                continue  # of a session that never began
            if lost_by(restores, part[key]) is not None:
                lost += 1
            else:
                written[key] = part[key]
    what = "no row of the trail names the recording {}: rows were cut off, or an older store was put back"
    looks.findings += [Finding(end + 1, what.format(key)) for key in sorted(written)]
    if lost:
        looks.remarks.append(f"{lost} recordings are of sessions whose rows a restore has lost")


def settled(files: Iterator[tuple[str, float]], now: float) -> Iterator[tuple[str, float]]:
    """Those that have not been written to for a while: the row of a younger one may not be committed yet."""
    return ((key, written) for key, written in files if now - written > GRACE)


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
    findings = [*files.findings, *looks.standing.findings, *looks.erasures.findings(), *looks.findings]
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
        remarks=looks.remarks[-SHOWN_MOST:],
    )
