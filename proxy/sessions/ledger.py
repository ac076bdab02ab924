"""What the store is told of sessions: that they began, that they ended, and of admissions that came to nothing.

Ends that nobody waits for are told together, with the next start where one comes: a commit is a fifth of what a
log-in costs. An end the store does not take is kept here and told again every second until it does: else the
session would be live for ever in the eyes of everybody else. Owned by the kernel, written to by sessions; knows no
socket.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from proxy.access.tally import Tally
from proxy.core.access import Admission
from proxy.core.errors import Unavailable
from proxy.core.events import AdmissionUnused
from proxy.core.identity import names
from proxy.core.ports import Clock, Store
from proxy.core.sessions import SessionRecord
from proxy.sessions.ending import NOT_A_CUT, begin, finish

UNTOLD_MOST = 10_000
"""Ends kept while the store is away. What does not fit is found by ``lost`` when it is back."""
A_TIME = 100
"""Of those, told in one transaction."""
TOGETHER = 0.05
"""Seconds that an end waits for others, at most; a cut's, whose receipt is waited for, not at all."""
WINDOW = 10.0
"""Seconds in which admissions that came to nothing alike are counted instead of written one by one."""


@dataclass(slots=True)
class Ends:
    """Ends that are told together: by whose session came first, when it is ``due``. Then all are ``told``."""

    waiting: list[tuple[SessionRecord, AdmissionUnused]] = field(default_factory=list)
    due: asyncio.Event = field(default_factory=asyncio.Event)
    told: asyncio.Event = field(default_factory=asyncio.Event)


class Ledger:
    """One per process. ``untold`` gives the ids of the sessions whose end is still to be stored."""

    def __init__(self, store: Store, clock: Clock, log: Any) -> None:
        self._store = store
        self._log = log
        self._untold: dict[str, tuple[SessionRecord, AdmissionUnused]] = {}
        self._ends: Ends | None = None
        self._unused: Tally[AdmissionUnused] = Tally(store, clock, WINDOW, repeated)

    def untold(self) -> Iterator[str]:
        return iter(self._untold)

    async def began(self, record: SessionRecord, admission: Admission, most: int) -> None:
        """Store a session's start. ``Unavailable`` when it is not known to be kept, ``Denied`` beyond ``most`` live
        sessions of its grant."""
        if self._ends is not None:
            self._ends.due.set()
            await asyncio.sleep(0)  # they are handed to the store first, and go into the same commit
        await self._store.commit(lambda writer: begin(writer, record, admission, most))

    async def ended(self, record: SessionRecord, otherwise: AdmissionUnused) -> None:
        """Store a session's end, now or when the store is back; ``otherwise`` where its start was never kept."""
        ends = self._ends or Ends()
        ends.waiting.append((record, otherwise))
        if record.end_reason not in NOT_A_CUT or len(ends.waiting) >= A_TIME:
            ends.due.set()
        if ends is self._ends:
            await ends.told.wait()
            return
        self._ends = ends
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(TOGETHER):
                    await ends.due.wait()
            self._ends = None
            await self._tell(ends.waiting)
        except BaseException as error:  # whoever ends this one must not take the others along
            self._keep(ends.waiting)
            if not isinstance(error, Unavailable):
                raise
        finally:
            self._ends = None if self._ends is ends else self._ends
            ends.told.set()

    def _keep(self, ends: list[tuple[SessionRecord, AdmissionUnused]]) -> None:
        """For when the store is back."""
        for record, otherwise in ends:
            if len(self._untold) >= UNTOLD_MOST:
                self._log.error("session end not stored", session=record.id, reason=record.end_reason)
                continue
            self._log.warning("session end to be stored later", session=record.id, reason=record.end_reason)
            self._untold[record.id] = record, otherwise

    async def unused(self, event: AdmissionUnused) -> None:
        """Store, or count, that an admission came to nothing. What cannot be written now is written later."""
        try:
            await self._unused.note((event.grant, event.why), event)
        except Unavailable as error:
            self._log.warning("unused admission to be stored later", session=event.session, detail=str(error))

    async def catch_up(self, now: float) -> None:
        """Tell what is still to be told, and the counts of windows that closed by ``now`` (monotonic seconds).
        ``Unavailable`` while the store is away. Every second."""
        while self._untold:
            await self._tell(list(islice(self._untold.values(), A_TIME)))
        await self._unused.flush(now)

    async def _tell(self, ends: list[tuple[SessionRecord, AdmissionUnused]]) -> None:
        kept = await self._store.commit(lambda writer: [finish(writer, record) for record, _ in ends])
        for (record, otherwise), started in zip(ends, kept, strict=True):
            self._untold.pop(record.id, None)
            if not started:
                await self.unused(otherwise)


def nothing_came(admission: Admission, why: str, detail: str) -> AdmissionUnused:
    """The event for an admission without a session."""
    return AdmissionUnused(
        actor=admission.identity.id,
        why=why,
        detail=detail,
        session=admission.session,
        grant=admission.grant.id,
        identity=admission.identity.id,
        resource=admission.resource.name,
        account=admission.account.name,
        database=admission.database,
        source=admission.source,
        jti=admission.jti,
        times=1,
        names=names(admission.identity.who),
    )


def repeated(last: AdmissionUnused, times: int) -> AdmissionUnused:
    """The event for ``times`` more that were like ``last``."""
    return replace(last, times=times)
