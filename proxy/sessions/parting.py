"""How a conversation ends, whoever ended it: the last words, the target made to stop, the proof that it did.

One place for every protocol and every cause. Used by ``session`` once it knows why; what it gives is the cut
receipt. Never waits for a client that does not read; every wait is bounded.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from proxy.core.records import Outcome, Record
from proxy.core.sessions import CutReceipt
from proxy.core.states import EndReason
from proxy.sessions.conversation import Conversation
from proxy.sessions.ending import NOT_A_CUT, End
from proxy.sessions.services import Services, TargetControl
from proxy.sessions.transport import Stream

MESSAGE_IN_FLIGHT = 0.2
"""Seconds a message that was begun may take to be completed, so that something can be said after it."""
CATCHES_UP = 0.05
"""The same where more waits for the client than it has read yet."""
DRAIN = 2.0
"""Seconds for the target to say how the last statement ended, and for the client to read its last words."""
ABANDON = 2.0
"""Seconds for the target to be told to stop."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Who talks: the two lines, what goes between them, and how the target is made to stop."""

    client: Stream
    target: Stream
    conversation: Conversation
    control: TargetControl


class Parting:
    """One end of one session; ``note`` records, and never raises."""

    def __init__(
        self, services: Services, sides: Sides, end: End, session: str, note: Callable[[Record], None]
    ) -> None:
        self._services = services
        self._sides = sides
        self._end = end
        self._session = session
        self._note = note
        self._cut = end.reason not in NOT_A_CUT

    async def run(self, tasks: asyncio.TaskGroup) -> CutReceipt | None:
        """Until the target is closed and, where it was cut, verified to have stopped. The measured times of a cut;
        None for an end that was none."""
        sides, end, now = self._sides, self._end, self._services.clock.now
        conversation, target = sides.conversation, sides.target
        receipt = CutReceipt(requested=end.requested, seen=end.seen)
        if self._cut:
            self._stop(tasks)
        await self._say_goodbye()
        receipt = replace(receipt, client_closed=now())
        tasks.create_task(self._let_go())
        # Nobody is left whom the end of the grant could cut: what runs must not outlive the session. Where the line
        # to the target broke, it may not know that it did.
        orphan = not self._cut and (
            conversation.running() if conversation.target_gone else not await conversation.quiet(DRAIN)
        )
        if orphan:
            self._stop(tasks)
        if not conversation.target_gone:
            await conversation.quiet(DRAIN)
            await self._say_to_target(sides.control.goodbye)
        for record in conversation.left(Outcome.CUT if self._cut else Outcome.UNKNOWN):
            self._note(record)
        target.close()
        verified = await sides.control.stopped() if self._cut or orphan else ""
        return self._receipt(receipt, verified) if self._cut else None

    def _receipt(self, receipt: CutReceipt, verified: str) -> CutReceipt:
        end = self._end
        self._services.metrics.observe(
            "tidegate_cut_seconds", max(0.0, (receipt.client_closed or end.seen) - end.requested)
        )
        stopped = self._services.clock.now() if verified else None
        return replace(receipt, target_stopped=stopped, verified=verified)

    def _stop(self, tasks: asyncio.TaskGroup) -> None:
        """Make the target stop what it runs for this session, if it runs anything."""
        conversation = self._sides.conversation
        if conversation.running():
            tasks.create_task(self._abandon())
            conversation.stop()

    async def _abandon(self) -> None:
        try:
            async with asyncio.timeout(ABANDON):
                await self._sides.control.abandon()
        except (TimeoutError, OSError, Exception) as error:  # the cut goes on; verification tells the truth
            self._services.log.warning("abandon failed", session=self._session, error=type(error).__name__)

    async def _say_goodbye(self) -> None:
        """The last words, then half-close. Never waits for a client that does not read."""
        client, conversation = self._sides.client, self._sides.conversation
        if self._end.reason is EndReason.CLIENT_CLOSED:
            conversation.mute()
            return
        if self._resets():
            conversation.mute()
            client.close(reset=True)
            return
        # one that reads, if not as fast as the target sends, catches up in no time; one that does not is left at it
        patience = CATCHES_UP if client.congested else MESSAGE_IN_FLIGHT
        await conversation.whole(patience if self._cut else 0.0)
        if not await client.finish(MESSAGE_IN_FLIGHT):
            client.close(reset=True)

    def _resets(self) -> bool:
        """Whether an end would pass for a good one, which this is not."""
        return self._sides.control.goodbye is None and (self._cut or self._sides.conversation.broken)

    async def _say_to_target(self, goodbye: bytes | None) -> None:
        target = self._sides.target
        if self._resets():
            target.close(reset=True)
            return
        target.write(goodbye or b"")
        if not await target.finish(DRAIN) and goodbye is None:
            target.close(reset=True)

    async def _let_go(self) -> None:
        """Close the client's line: at once where it was the client who left, as any server does, and what is kept
        for it has been sent; else when it has read its last words, which may be the target's own."""
        client = self._sides.client
        left = self._end.reason is EndReason.CLIENT_CLOSED
        if left:
            await client.finish(DRAIN)
        await client.drain(0.0 if left else DRAIN)
        client.close()
