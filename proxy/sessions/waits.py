"""What a relay waits for beside the loop: a decision, long work, the disk. Made by ``relay`` for itself; each wait
is a task of the session's, and goes on with the steps that stand behind it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from enum import IntFlag

from proxy.core.access import Decision
from proxy.core.actions import Action
from proxy.core.errors import Unavailable
from proxy.core.ports import Recorder
from proxy.core.states import EndReason
from proxy.core.steps import Ask, Inspector, Step, Think
from proxy.sessions.silence import nothing
from proxy.sessions.workshop import Workshop


class Hold(IntFlag):
    """Why the client is not being read; it is read again when nothing holds it."""

    TARGET_FULL = 1
    ASKED = 2
    DURABLE = 4
    CANCEL = 8
    ENDING = 16
    THINKING = 32
    RECORDER = 64
    REST = 128
    ANSWERS = 256
    MEMORY = 512


class Waits:
    """``begin`` with the group that owns the tasks. ``resume`` carries steps out, ``ended`` ends the session."""

    __slots__ = ("_ended", "_failed", "_inspector", "_recorder", "_resume", "_tasks", "decide", "workshop")

    def __init__(
        self,
        inspector: Inspector,
        recorder: Recorder,
        resume: Callable[[Iterable[Step], Hold], None],
        ended: Callable[[EndReason, str], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.decide: Callable[[Action], Awaitable[Decision]] | None = None
        self.workshop = Workshop()
        self._inspector = inspector
        self._recorder = recorder
        self._resume = resume
        self._ended = ended
        self._failed = failed
        self._tasks: asyncio.TaskGroup | None = None

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks

    def close(self) -> None:
        """Once all is over: know nobody any more."""
        self.decide = self._tasks = None
        self._resume = self._ended = self._failed = nothing

    def later(self, coroutine: Awaitable[None]) -> None:
        """Have something done while the session lasts."""
        if self._tasks is None:
            raise AssertionError("the relay has not been started")
        self._tasks.create_task(coroutine)  # type: ignore[arg-type]

    def ask(self, step: Ask) -> None:
        """Have it decided."""
        self.later(self._decide(step.action))

    async def _decide(self, action: Action) -> None:
        if self.decide is None:
            self._ended(EndReason.PROTOCOL_ERROR, "nobody can decide this")
            return
        decision = await self.decide(action)
        self._resume(self._inspector.resume(decision), Hold.ASKED)

    def think(self, step: Think) -> None:
        """Have it done in the workshop."""
        self.later(self._think(step))

    async def _think(self, step: Think) -> None:
        try:
            step.done(await self.workshop.do(step.work, step.data))
            self._resume(self._inspector.resume(None), Hold.THINKING)
        except Exception as error:
            self._failed(error)

    def disk(self, rest: Iterator[Step]) -> None:
        """Go on with ``rest`` when all that was recorded is on disk."""
        self.later(self._after_disk(rest))

    async def _after_disk(self, rest: Iterator[Step]) -> None:
        try:
            await self._recorder.durable()
        except Unavailable as error:
            self._ended(EndReason.RECORDER_FAILED, error.public)
            return
        self._resume(rest, Hold.DURABLE)
