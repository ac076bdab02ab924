"""Reading recordings for the API: joined statements, what runs now, the raw container; and who looked.

Files are read in a thread, so that a long recording delays nobody. Knows the port ``services.RecordingReader``, not
the container's format; called by the routes of sessions and by ``receipts``.
"""

import asyncio
import base64
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import BinaryIO

from fastapi.responses import StreamingResponse

from proxy.api.services import Kept, Services
from proxy.api.shapes.sessions import KeptShown, NoteShown, NotesShown, OutputShown, Running, StatementsShown
from proxy.core.errors import NotFound
from proxy.core.events import RecordingViewed
from proxy.core.identity import Identity, names
from proxy.core.ports import Clock
from proxy.core.sessions import SessionRecord
from proxy.core.states import SessionStatus
from proxy.policy.words import spoken

CHUNK = 256 * 1024
NOTES_MOST = 1000
VIEW_WINDOW = 300.0
VIEWS_MOST = 4096


class Views:
    """Writes who looked at a recording into the trail: once per person, session and view within five minutes, since
    one look is many pages. Owned by the application."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._noted: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    async def note(self, services: Services, viewer: Identity, session: str, view: str) -> None:
        """Returns when it is in the trail; ``Unavailable`` otherwise, and then nothing is shown."""
        key, now = (viewer.id, session, view), self._clock.monotonic()
        if now - self._noted.get(key, -VIEW_WINDOW) < VIEW_WINDOW:
            return
        event = RecordingViewed(actor=viewer.id, session=session, view=view, names=names(viewer.who))
        await services.store.commit(lambda writer: writer.append(event))
        self._noted[key] = now
        self._noted.move_to_end(key)
        while len(self._noted) > VIEWS_MOST:
            self._noted.popitem(last=False)


async def statements(services: Services, session: SessionRecord, after: int, limit: int) -> StatementsShown:
    """One page of what a session ran. ``NotFound`` where this machine does not hold its recording."""
    found = await asyncio.to_thread(services.recordings.statements, session, after, limit + 1)
    if found is None:
        raise not_here(services, session)
    items = [dict(each) for each in found.items[:limit]]
    more = len(found.items) > limit
    return StatementsShown(
        session=session.id, items=items, next=items[-1]["seq"] if more else None, truncated=found.truncated
    )


async def notes(services: Services, session: SessionRecord, after: int) -> NotesShown:
    """What was noted beside the statements, but for the first ``after`` of it. ``NotFound`` where this machine does
    not hold the recording."""
    found = await asyncio.to_thread(services.recordings.notes, session, after, NOTES_MOST + 1)
    if found is None:
        raise not_here(services, session)
    items = [NoteShown.model_validate(each) for each in found[:NOTES_MOST]]
    more = len(found) > NOTES_MOST
    return NotesShown(session=session.id, items=items, more=more, next=after + len(items) if more else None)


async def output(services: Services, session: SessionRecord, after: int, limit: int, statement: int) -> OutputShown:
    """One page of the bytes that were kept of a session. ``NotFound`` where this machine does not hold its
    recording."""
    found = await asyncio.to_thread(services.recordings.output, session, after, limit, statement)
    if found is None:
        raise not_here(services, session)
    return OutputShown(
        session=session.id,
        began=found.began,
        items=[_kept(each) for each in found.items],
        next=found.reached if found.more else None,
        reached=found.reached,
        live=session.status is SessionStatus.LIVE,
    )


def _kept(kept: Kept) -> KeptShown:
    return KeptShown(
        number=kept.number,
        at=round(kept.at, 6),
        statement=kept.statement,
        kind=kept.kind,
        data=None if kept.data is None else base64.b64encode(kept.data).decode(),
        columns=kept.columns,
        rows=kept.rows,
    )


async def running(services: Services, session: SessionRecord, at: float | None = None) -> Running | None:
    """What a live session runs now, or else ran ``at`` an instant; None where it runs nothing, has ended, or is
    recorded elsewhere."""
    if session.status is not SessionStatus.LIVE:
        return None
    return await asyncio.to_thread(services.recordings.running, session, at)


async def raw(services: Services, session: SessionRecord) -> StreamingResponse:
    """The container as it is on disk, in pieces. Of a live session: what is there now."""
    opened = await asyncio.to_thread(services.recordings.open, session)
    if opened is None:
        raise not_here(services, session)
    headers = {"content-disposition": f'attachment; filename="{session.id}.tidegate"'}
    return StreamingResponse(_pieces(opened), media_type="application/octet-stream", headers=headers)


async def _pieces(opened: BinaryIO) -> AsyncIterator[bytes]:
    with opened:
        while piece := await asyncio.to_thread(opened.read, CHUNK):
            yield piece


def not_here(services: Services, session: SessionRecord) -> NotFound:
    """Why this machine does not hold the recording."""
    keep = services.facts().keep
    if keep is not None and session.ended is not None and session.ended + keep <= services.clock.now():
        return NotFound(f"the recording was deleted: recordings are kept for {spoken(keep)}")
    return NotFound(
        "this machine does not hold the recording", hint=f"it was made on node {session.node}; ask the API there"
    )
