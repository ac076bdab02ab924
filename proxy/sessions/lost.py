"""Ends in the store the sessions that nobody serves any more: a node was killed, or never came back.

Every worker looks after all nodes: a machine that died buries nobody. Several may find the same at once; what is
ended already stays as it is. By the time a node is taken for lost it has cut by itself what it held, its lease
being over; ``presence`` sees to those that were taken for lost and were not. Called by the worker every second;
knows rows, no session.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from proxy.core.ports import Clock, Page, Reader, Store, Writer
from proxy.core.sessions import SessionRecord
from proxy.core.states import EndReason, SessionStatus
from proxy.sessions.ending import finish

SILENT_LEASES = 5
"""Leases without a sign of life after which a node is taken for lost."""
A_TIME = 50
"""Live sessions looked at in one second."""


class Lost:
    """``node`` is this worker, ``known`` gives the ids of all sessions it has or has still to tell the end of;
    ``digest_of`` the digest of a recording that this machine has, "" otherwise."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        node: str,
        lease: float,
        known: Callable[[], Collection[str]],
        digest_of: Callable[[str], str],
    ) -> None:
        self._store = store
        self._clock = clock
        self._node = node
        self._lease = lease
        self._known = known
        self._digest_of = digest_of
        self._before = ""
        self._rested = float("-inf")

    async def look(self) -> None:
        """Look at some live sessions, newest first; after the oldest, at the newest again a lease later."""
        now = self._clock.monotonic()
        if now < self._rested:
            return
        found, silent, self._before = await self._store.read(self._abandoned)
        if not self._before:
            self._rested = now + self._lease
        known = self._known()
        lost = [each for each in found if each.id not in known]
        if lost or silent:
            await self.bury(lost, "its node is gone")

    async def bury(self, records: Sequence[SessionRecord], detail: str) -> None:
        """End these sessions, but for those whose node is back, and forget the nodes that are silent."""
        digests = await asyncio.to_thread(lambda: {each.id: self._digest_of(each.recording) for each in records})
        await self._store.commit(lambda writer: self._end(writer, records, digests, detail))

    def _silent(self, reader: Reader) -> set[str]:
        since = reader.now() - SILENT_LEASES * self._lease
        return {each.id for each in reader.nodes() if each.heartbeat < since}

    def _serving(self, reader: Reader) -> set[str]:
        """Other nodes that are there."""
        return {each.id for each in reader.nodes()} - self._silent(reader) - {self._node}

    def _abandoned(self, reader: Reader) -> tuple[list[SessionRecord], set[str], str]:
        """Sessions whose node is silent, gone or this one, no younger than a silence: whoever has just come has
        not been heard of yet. Silent nodes; where to go on."""
        live = reader.sessions(Page(limit=A_TIME, before=self._before), live=True)
        serving, since = self._serving(reader), reader.now() - SILENT_LEASES * self._lease
        found = [each for each in live if each.node not in serving and each.started < since]
        return found, self._silent(reader), live[-1].id if len(live) == A_TIME else ""

    def _end(
        self, writer: Writer, records: Sequence[SessionRecord], digests: Mapping[str, str], detail: str
    ) -> None:
        serving = self._serving(writer)
        for each in records:
            if each.node not in serving:
                finish(
                    writer,
                    replace(
                        each,
                        status=SessionStatus.ENDED,
                        ended=writer.now(),
                        end_reason=EndReason.NODE_LOST,
                        detail=detail,
                        recording_digest=digests[each.id],
                    ),
                )
        for node in self._silent(writer):
            writer.remove_node(node)
