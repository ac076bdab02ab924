"""What becomes of the recordings' folder as it fills: recordings whose time is up are deleted, and a disk that is
low is told of. Done by the API's process, one of each machine; where that is off, nothing is deleted.
"""

import asyncio
import contextlib
import math
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import structlog

from proxy.app.foundation import Foundation
from proxy.core.events import RecordingDeleted
from proxy.core.ports import Metrics, Reader, Writer
from proxy.core.states import SessionStatus
from proxy.recording import places
from proxy.recording.container import SUFFIX

EVERY = 600.0
"""Seconds between two looks for what is to be deleted."""
BATCH = 100
"""Recordings that are deleted by one commit."""


class Retention:
    """The recordings' folder of this machine, by the configuration as it is now."""

    def __init__(self, foundation: Foundation, metrics: Metrics) -> None:
        self._foundation = foundation
        self._metrics = metrics
        self._root = foundation.configured.config.recordings_dir
        self._low = False
        self._looked = -math.inf

    async def keep(self) -> None:
        """Call it every few seconds. ``Unavailable`` when the trail cannot be told: then nothing is deleted."""
        if self._root.is_dir():
            self._watch_disk(await asyncio.to_thread(shutil.disk_usage, self._root))
        now = self._foundation.clock.monotonic()
        if now - self._looked >= EVERY:
            await self.expire()
            self._looked = now

    def _watch_disk(self, usage: tuple[int, int, int]) -> None:
        """Told when it becomes low and when it is not any more, well before sessions are refused for it."""
        free, low = usage[2], self._foundation.configured.config.recordings.low_free
        self._metrics.gauge("tidegate_recordings_free_bytes", free)
        if (free < low) is self._low:
            return
        self._low = free < low
        log = structlog.get_logger()
        if self._low:
            log.error("the disk of the recordings is low", folder=str(self._root), free=free, low_free=low)
        else:
            log.info("the disk of the recordings is no longer low", folder=str(self._root), free=free)

    async def expire(self) -> int:
        """Delete what is older than ``recordings.keep``, each told to the trail before it is gone; how many."""
        keep = self._foundation.configured.config.recordings.keep
        if keep is None:
            return 0
        store, deleted = self._foundation.store, 0
        until = await store.read(lambda reader: reader.now()) - keep
        day = datetime.fromtimestamp(until, UTC).strftime("%Y/%m/%d")
        keys = iter(await asyncio.to_thread(lambda: list(began_by(self._root, day))))
        while batch := list(islice(keys, BATCH)):
            due = await store.read(lambda reader, batch=batch: ended_by(reader, batch, until))  # type: ignore[misc]
            if not due:
                continue

            def unit(writer: Writer, due: Sequence[tuple[str, str]] = due) -> None:
                for key, session in due:
                    writer.append(RecordingDeleted(actor="gateway", session=session, recording=key, kept=keep))

            await store.commit(unit)
            await asyncio.to_thread(self._remove, [key for key, _ in due])
            deleted += len(due)
        return deleted

    def _remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            file = places.container(self._root, key)
            file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others of its day are left
                file.parent.rmdir()


def began_by(root: Path, day: str) -> Iterator[str]:
    """The keys of recordings of sessions that began on this UTC day (as 2026/11/24) or before, oldest first."""
    for folder in sorted(root.glob("[0-9]*/[0-9]*/[0-9]*")):
        began = folder.relative_to(root).as_posix()
        if began <= day:
            yield from (f"{began}/{file.name.removesuffix(SUFFIX)}" for file in sorted(folder.glob(f"*{SUFFIX}")))


def ended_by(reader: Reader, keys: Sequence[str], until: float) -> list[tuple[str, str]]:
    """(key, session) of those whose session the store knows, and knows to have ended by then."""
    found = ((key, reader.session(key.rpartition("/")[2])) for key in keys)
    return [
        (key, session.id)
        for key, session in found
        if session is not None
        and session.recording == key
        and session.status is SessionStatus.ENDED
        and session.ended is not None
        and session.ended <= until
    ]
