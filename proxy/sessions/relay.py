"""The inner loop: chunks in, the inspector's steps carried out, in the same turn of the event loop.

No await, no queue, no object per row. A side is *held* by not reading it. Of a chunk that holds much work one slice
is done; the rest waits among the worker's ``rests``, one slice a turn, and its side is held meanwhile. Owned by one
session; knows the steps and no protocol. Fails closed: whatever goes wrong while a chunk is handled ends the
session before anything of that chunk is passed on that was not recorded.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

from proxy.core.errors import Unavailable
from proxy.core.ports import Recorder
from proxy.core.records import Note, Record, StatementFinished, StatementStarted
from proxy.core.records import Outcome as Ending
from proxy.core.states import EndReason
from proxy.core.steps import (
    SLICE,
    Ask,
    Close,
    Forward,
    Inspector,
    Observe,
    Pause,
    Recorded,
    Reply,
    Side,
    Step,
    Tell,
    Think,
    Wait,
)
from proxy.sessions.conversation import Farewell
from proxy.sessions.rests import Rests
from proxy.sessions.silence import always, never, nothing, raising
from proxy.sessions.transport import Stream
from proxy.sessions.waits import Hold, Waits

LINGER = 60.0
"""Seconds in which something must move once one side has ended, or the other is taken to have nothing to say."""
STALL = 0.1
"""Seconds after which a chunk of the client is forwarded only when ``may_forward`` has said so again."""
BROKEN = (ConnectionError, TimeoutError)
"""Of a line. A peer that only says no close_notify has closed it: too many programs never do."""


class Relay:
    """Moves one session's bytes both ways until ``ended(reason, detail)`` is called, which it does itself at most
    once per cause; the session decides what then happens. ``outcomes``: how many statements ended how."""

    __slots__ = (
        "__weakref__", "_answered", "_asked", "_behind", "_boottime", "_boundary", "_client", "_ended",
        "_farewell", "_frozen", "_halves", "_holds", "_lingering", "_looked", "_muted", "_over", "_owing",
        "_quiet", "_record", "_recorder", "_target", "_target_gone", "_told", "_waiting", "broken", "durable",
        "failed_with", "inspector", "may_forward", "on_chunk", "outcomes", "rests", "statements", "waits",
    )  # fmt: skip

    def __init__(
        self,
        inspector: Inspector,
        recorder: Recorder,
        client: Stream,
        target: Stream,
        ended: Callable[[EndReason, str], None],
        boottime: Callable[[], float],
    ) -> None:
        self.inspector = inspector
        self.statements = 0
        self.outcomes = [0] * len(Ending)
        self.broken = False
        self.durable = False
        self.waits = Waits(inspector, recorder, self._resume, ended, self._failed)
        self.rests = Rests()
        self.on_chunk: Callable[[], None] | None = None
        self.may_forward: Callable[[], bool] = always
        self.failed_with: Callable[[Exception], None] = raising
        self._recorder = recorder
        self._record: Callable[[Record], object] = recorder.write
        self._asked = inspector.feeder(Side.CLIENT)
        self._answered = inspector.feeder(Side.TARGET)
        self._boottime = boottime
        self._looked = float("-inf")
        self._client = client
        self._target = target
        self._ended = ended
        self._holds = Hold(0)
        self._muted = False
        self._farewell: Farewell | None = None
        self._frozen = False
        self._boundary = asyncio.Event()
        self._quiet = asyncio.Event()
        self._target_gone = False
        self._over = self._owing = False
        self._behind = b""
        self._waiting: tuple[Wait, Iterator[Step]] | None = None
        self._halves: list[EndReason] = []
        self._told = 0
        self._lingering: asyncio.TimerHandle | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to relay; ``tasks`` owns whatever has to wait (decisions, durability)."""
        self.waits.begin(tasks)
        self._target.attach(self._target_sent, self._target_lost, self._target_drained)
        self._client.attach(self._client_sent, self._client_lost, self._client_drained)

    # -- bytes ---------------------------------------------------------------------------------------------------

    def _client_sent(self, chunk: bytes) -> None:
        moment = self._boottime()
        if moment - self._looked >= STALL:
            self._looked = moment
            if not self.may_forward():
                return
        try:
            fed = self._asked(chunk)
            if type(fed) is not StatementStarted:
                self._carry_out(iter(fed))  # type: ignore[arg-type]  # an end comes of the target's bytes alone
                self.rests.took(self._boottime() - moment)
                return
            self._record(fed)
            self.statements += 1
            if self.durable:
                self._wait_for_disk(iter((Forward(chunk),)))
                return
            self._target.write(chunk)
            if self._target.congested:
                self.hold(Hold.TARGET_FULL)
        except Exception as error:
            self.failed_with(error)

    def _target_sent(self, chunk: bytes) -> None:
        if self._frozen and not self._muted:
            chunk = self._after_boundary(chunk)
        if self._owing:
            self._behind += chunk
            return
        client = self._client
        try:
            fed = self._answered(chunk)
            if type(fed) is StatementFinished:
                self._record(fed)
                self.outcomes[fed.outcome] += 1
                if not self._muted:
                    client.write(chunk)
            else:
                self._bring(iter(fed))  # type: ignore[arg-type]  # a start comes of the client's bytes alone
        except Exception as error:
            self.failed_with(error)
            return
        if client.congested and not self._muted:
            self._target.hold()
        if self.on_chunk is not None:
            self.on_chunk()

    def _carry_out(self, left: Iterator[Step]) -> None:
        """Steps that came of the client's bytes, or of a decision about them: one slice of them."""
        target = self._target
        work = SLICE
        for step in left:
            work -= 1
            if type(step) is Forward:
                target.write(step.data)
            elif type(step) is Observe:
                self._observe(step.record)
                if self.durable:
                    self._wait_for_disk(left)
                    break
            elif type(step) is Recorded:
                self._observe(step.record)
                if self.durable:
                    self._wait_for_disk(chain((Forward(step.data),), left))
                    break
                target.write(step.data)
            elif type(step) is Pause:
                work -= step.work - 1
            elif type(step) is Wait:
                if not step.over():
                    self._waiting = step, left
                    self.hold(Hold.ANSWERS)
                    break
            else:
                self._rare(step)
            if work <= 0:
                self.hold(Hold.REST)
                self.rests.put(partial(self._go_on, left))
                break
        if target.congested:
            self.hold(Hold.TARGET_FULL)
        self._keep_pace()

    def _go_on(self, left: Iterator[Step]) -> None:
        """The next slice of the client's steps, in a turn of its own."""
        self._resume(left, Hold.REST)

    def _bring(self, left: Iterator[Step]) -> None:
        """Steps that came of the target's bytes: one slice of them."""
        begun, work = self._boottime(), SLICE
        for step in left:
            work -= 1
            if type(step) is Forward:
                if not self._muted:
                    self._client.write(step.data)
            elif type(step) is Observe:
                self._observe(step.record)
            elif type(step) is Recorded:
                self._observe(step.record)
                if not self._muted:
                    self._client.write(step.data)
            elif type(step) is Pause:
                work -= step.work - 1
            else:
                self._rare(step)
            if work <= 0:
                self._owing = True
                self._target.hold()
                self.rests.put(partial(self._bring_on, left))
                break
        if self._waiting is not None:
            self._look_at_answers(self._waiting)
        self.rests.took(self._boottime() - begun)

    def _bring_on(self, left: Iterator[Step]) -> None:
        """The next slice of the target's steps, in a turn of its own."""
        if self._over:
            return
        self._owing = False
        try:
            self._bring(left)
        except Exception as error:
            self.failed_with(error)
            return
        if self.on_chunk is not None:
            self.on_chunk()
        if not self._owing and self._behind:
            chunk, self._behind = self._behind, b""
            self._target_sent(chunk)
        self._read_target()

    def _read_target(self) -> None:
        """Read the target again, unless something holds it."""
        full = self._client.congested and not self._muted
        if not (self._owing or full or Hold.RECORDER in self._holds):
            self._target.release()

    def _look_at_answers(self, waiting: tuple[Wait, Iterator[Step]]) -> None:
        """Go on with what the client sent once enough of it was answered."""
        wait, left = waiting
        if wait.over():
            self._waiting = None
            self.hold(Hold.REST)
            self.release(Hold.ANSWERS)
            self.rests.put(partial(self._go_on, left))

    def _after_boundary(self, chunk: bytes) -> bytes:
        """What of the last chunk that may pass comes after its message is whole, once that has passed."""
        left = self.inspector.target_boundary()
        if not 0 < left < len(chunk):
            return chunk
        self._target_sent(chunk[:left])
        return chunk[left:]

    def _observe(self, record: Record) -> None:
        self._record(record)
        kind = type(record)
        if kind is StatementStarted:
            self.statements += 1
        elif kind is StatementFinished:
            self.outcomes[record.outcome] += 1  # type: ignore[union-attr]

    def _rare(self, step: Step) -> None:
        match step:
            case Reply(data):
                if not self._muted:
                    self._client.write(data)
            case Tell(data):
                self._target.write(data)
            case Ask():
                self.hold(Hold.ASKED)
                self.waits.ask(step)
            case Think():
                self.hold(Hold.THINKING)
                self.waits.think(step)
            case Close(reason, detail):
                self._ended(reason, detail)
            case _:
                raise AssertionError(f"not a rare step: {step!r}")

    # -- waiting, without the loop's other sessions noticing -----------------------------------------------------

    def _wait_for_disk(self, rest: Iterator[Step]) -> None:
        self.hold(Hold.DURABLE)
        self.waits.disk(rest)

    def keep_step(self) -> None:
        """For sessions whose bytes are kept: where more of them wait than the recorder works off, neither side is
        read. Before ``start``."""
        self._record = self._write_in_step

    def _write_in_step(self, record: Record) -> None:
        self._recorder.write(record)
        self._keep_pace()

    def _keep_pace(self) -> None:
        """Read neither side while more waits for the recorder than it works off."""
        if self._recorder.behind and Hold.RECORDER not in self._holds:
            self.hold(Hold.RECORDER)
            self._target.hold()
            self.waits.later(self._catch_up())

    async def _catch_up(self) -> None:
        await self._recorder.caught_up()
        self.release(Hold.RECORDER)
        self._read_target()

    def _resume(self, steps: Iterable[Step], held: Hold) -> None:
        if Hold.ENDING in self._holds or not self.may_forward():
            return
        begun = self._boottime()
        self._holds &= ~held  # before: what is carried out may hold it for the same reason again
        try:
            self._carry_out(iter(steps))
        except Exception as error:
            self.failed_with(error)
        self.release(held & ~self._holds)
        self.rests.took(self._boottime() - begun)

    def _failed(self, error: Exception) -> None:
        self.failed_with(error)

    def hold(self, why: Hold) -> None:
        """Stop reading the client, for one more reason."""
        self._holds |= why
        self._client.hold()

    def release(self, why: Hold) -> None:
        """One reason less; read the client again when none is left."""
        self._holds &= ~why
        if not self._holds:
            self._client.release()

    def _target_drained(self) -> None:
        self.release(Hold.TARGET_FULL)

    def _client_drained(self) -> None:
        self._read_target()

    # -- ends ----------------------------------------------------------------------------------------------------

    def _client_lost(self, error: Exception | None) -> None:
        if not self._outlived(Side.CLIENT, error):  # many clients leave without a word once the target has ended
            reason = self._halves[0] if self._halves else EndReason.CLIENT_CLOSED
            self.broken |= isinstance(error, BROKEN)
            self._ended(reason, str(error) if error else "")

    def _target_lost(self, error: Exception | None) -> None:
        if not self._outlived(Side.TARGET, error):
            self.broken |= isinstance(error, BROKEN)
            self._lose_target()
            self._ended(EndReason.TARGET_CLOSED, str(error) if error else "")

    def _lose_target(self) -> None:
        self._target_gone = True
        self._boundary.set()
        self._quiet.set()

    def _outlived(self, side: Side, error: Exception | None) -> bool:
        """Whether the conversation goes on though one side has ended: the other is told of it after all that came
        before, and may go on until it ends too. The session then ends as the first of them did."""
        if error is not None or self._frozen or not self.inspector.outlives(side):
            return False
        self._halves.append(EndReason.TARGET_CLOSED if side is Side.TARGET else EndReason.CLIENT_CLOSED)
        if self._lingering is None:
            self._linger(self._moved())
        (self._client if side is Side.TARGET else self._target).shut(self._told_of_end)
        return True

    def _told_of_end(self) -> None:
        self._told += 1
        if self._told == len(Side):
            self._lose_target()
            self._ended(self._halves[0], "")

    def _linger(self, moved: int) -> None:
        """Look again after a while whether anything has moved; between the two sides' ends."""

        def look() -> None:
            if self._moved() == moved:
                self._ended(self._halves[0], f"nothing moved for {LINGER:.0f} s after that")
            else:
                self._linger(self._moved())

        self._lingering = asyncio.get_running_loop().call_later(LINGER, look)

    def _moved(self) -> int:
        return self._client.bytes_read + self._client.bytes_written + self._target.bytes_written

    def note(self, record: Record) -> None:
        """Record something of the kernel's or the engine's own; a broken recorder ends the session."""
        try:
            self._recorder.write(record)
        except Unavailable as error:
            self._ended(EndReason.RECORDER_FAILED, error.public)

    def freeze(self, farewell: Farewell | None) -> None:
        """Nothing of the client is read any more. It is told ``farewell`` where the target's message in flight is
        whole, which may be at once, and nothing that comes after it: that its statement was cancelled would be
        taken for the reason."""
        if self._frozen:
            return
        self._farewell, self._frozen = farewell, True
        if self._lingering is not None:
            self._lingering.cancel()
        self.hold(Hold.ENDING)
        self.on_chunk = self._look
        self._look()

    def _look(self) -> None:
        if not self._muted and self._frozen and self.inspector.target_boundary() == 0:
            self.mute()
            if self._farewell is not None:
                self._say(self._farewell)
        if not self.inspector.running():
            self._quiet.set()

    def _say(self, farewell: Farewell) -> None:
        """The last words, at a message boundary; recorded as they are said."""
        words = self.inspector.farewell(farewell.reason, farewell.text, farewell.hint)
        if words:
            self.note(Note("farewell", (("reason", farewell.reason.value), ("text", farewell.text))))
            self._client.write(words)

    def warn(self, text: str, hint: str) -> bool:
        """A notice between two messages of the target; False inside one."""
        words = self.inspector.inject(text, hint)
        if words:
            self._client.write(words)
        return bool(words)

    def running(self) -> bool:
        """Whether the target runs something for the client."""
        return self.inspector.running()

    def activity(self) -> tuple[int, bool]:
        """All bytes of the client's line, and whether the target runs something."""
        return self._client.bytes_read + self._client.bytes_written, self.inspector.running()

    def stop(self) -> None:
        """Say to the target what makes it stop, besides a cancel."""
        self._target.write(self.inspector.stop())

    async def whole(self, patience: float) -> None:
        """Forward on until the target's message in flight is whole, at most ``patience`` seconds; then no more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._boundary.wait()
        self.mute()

    def mute(self) -> None:
        """From now on what the target sends is only looked at."""
        self._muted = True
        self._boundary.set()
        self._read_target()

    async def quiet(self, patience: float) -> bool:
        """Read the target until it runs nothing for us, at most ``patience`` seconds."""
        self._look()
        try:
            async with asyncio.timeout(patience):
                await self._quiet.wait()
        except TimeoutError:
            return False
        return True

    def left(self, outcome: Ending) -> Sequence[Record]:
        """Records that close what is still open, counted; the session records them."""
        self._over = True
        records = self.inspector.finish(outcome)
        for record in records:
            if isinstance(record, StatementFinished):
                self.outcomes[record.outcome] += 1
        return records

    @property
    def target_gone(self) -> bool:
        return self._target_gone

    def close(self) -> None:
        """See ``Conversation.close``."""
        self._over = True
        if self._lingering is not None:
            self._lingering.cancel()
        self._asked = self._answered = self._record = self._ended = self.failed_with = nothing
        self.may_forward, self.on_chunk, self._lingering, self._waiting, self._behind = never, None, None, None, b""
        self.waits.close()
        self.inspector.close()
