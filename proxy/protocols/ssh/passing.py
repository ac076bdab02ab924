"""What passes between a client's channel and the target's channel for it, and the record of that: held where the
other side is full, counted, hashed, kept, or led through a reader. Async, by asyncssh's callbacks; ``channels`` and
``tunnels`` build on it, and it knows nothing of what was asked for.

Nothing of either side is passed on before it is recorded, and nothing any more once the session has ended. Each
callback is guarded: an exception there would end the connection without a word in the record.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from enum import IntFlag
from typing import Any, Protocol

import asyncssh

from proxy.core.actions import Action
from proxy.core.records import Flow, Note, Outcome, Passed, Record, StatementStarted, Via
from proxy.core.steps import Close, Forward, Observe, Recorded, Reply, Side, Step, Tell
from proxy.protocols.ssh.content import Hashed
from proxy.protocols.ssh.ledger import Ledger
from proxy.protocols.ssh.scp import ScpReader
from proxy.protocols.ssh.screen import NOT_SEEN, Observed, Screen
from proxy.protocols.ssh.sftp import SftpReader
from proxy.protocols.ssh.statements import finished, started, warning
from proxy.protocols.ssh.upstream import TargetSide

REFUSED = 255
"""What ssh itself exits with where it could not do what was asked."""
DENIED_MOST = 1000
"""Statements of a session that were refused and have a record each."""


class Hold(IntFlag):
    """Why a channel is not read."""

    OTHER_FULL = 1
    DURABLE = 2
    RECORDER = 4


class Talk(Protocol):
    """The conversation, as one of its channels sees it. ``muted``: nothing of the target goes to the client any
    more; ``cut``: because the session was."""

    ledger: Ledger
    target: TargetSide
    muted: bool
    cut: bool

    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...
    def over(self, pair: "Pair") -> None: ...
    async def decided(self, action: Action) -> str:
        """Why it may not be; "" where it may."""
        ...


class Pair:
    """What a session channel and a tunnel have in common. ``seq`` is 0 until it is recorded; ``target`` is there
    while it is open, ``opening`` while something is started on it; ``waits``: for people, so that it is no work
    where nothing moves."""

    waits = True

    def __init__(self, talk: Talk, client: Any) -> None:
        self.talk = talk
        self.ledger = talk.ledger
        self.client = client
        self.target: Any = None
        self.opened = asyncio.Event()
        self.opened.set()
        self.seq = 0
        self.client_gone = False
        self.said_all: set[Side] = set()
        self._flows = [Hashed(), Hashed(), Hashed()]
        self._holds = {Side.CLIENT: Hold(0), Side.TARGET: Hold(0)}

    # -- what both sides say -------------------------------------------------------------------------------------

    def heard(self, side: Side, data: bytes, flow: Flow) -> None:
        """Bytes of one side, to be kept or counted, and passed on; none of either side once the session has ended:
        a channel that was not read for a while still has some."""
        if self.talk.muted or (side is Side.TARGET and self.client_gone):
            return
        self.ledger.moved += len(data)
        try:
            self._pass(side, data, flow)
        except Exception as error:
            self.ledger.failed(error)
        if self.ledger.behind and not self._holds[side] & Hold.RECORDER:
            self.hold(side, Hold.RECORDER)
            self.talk.spawn(self._catch_up(side))

    async def _catch_up(self, side: Side) -> None:
        await self.ledger.caught_up()
        self.release(side, Hold.RECORDER)

    def _pass(self, side: Side, data: bytes, flow: Flow) -> None:
        self._flows[flow].add(data)
        if self.ledger.keep_all:
            self.ledger.write(Passed(self.seq, flow, data))
        self._send(side, data, flow)

    def _send(self, side: Side, data: bytes, flow: Flow) -> None:
        try:
            if side is Side.CLIENT:
                if self.target is not None:
                    self.target.write(data)
            else:
                self.client.write(data, asyncssh.EXTENDED_DATA_STDERR if flow is Flow.ERRORS else None)
        except BrokenPipeError:  # the other side was closed for writing meanwhile
            return

    def ended(self, side: Side) -> None:
        """One side says no more."""
        self.said_all.add(side)
        other = self.target if side is Side.CLIENT else self.client
        if other is not None and not (side is Side.TARGET and self.client_gone):
            other.write_eof()

    # -- back-pressure -------------------------------------------------------------------------------------------

    def hold(self, side: Side, why: Hold) -> None:
        channel = self.client if side is Side.CLIENT else self.target
        self._holds[side] |= why
        if channel is not None:
            channel.pause_reading()

    def release(self, side: Side, why: Hold) -> None:
        channel = self.client if side is Side.CLIENT else self.target
        self._holds[side] &= ~why
        if channel is not None and not self._holds[side]:
            channel.resume_reading()

    # -- the end -------------------------------------------------------------------------------------------------

    @property
    def opening(self) -> bool:
        return not self.opened.is_set()

    def running(self) -> bool:
        return self.target is not None or self.opening

    def late(self) -> bool:
        """Whether the session has ended, so that nothing may begin any more."""
        return self.talk.muted

    def begin(self, via: Via, text: bytes) -> None:
        self.seq = self.ledger.next_seq()
        self.ledger.write(started(self.seq, via, text))

    def begin_refused(self, via: Via, text: bytes) -> None:
        """As ``begin``, for what may not be: where that has been so often already, it is a row among others."""
        if self.ledger.outcomes[Outcome.DENIED] < DENIED_MOST:
            self.begin(via, text)
        else:
            self.ledger.denied(via.name.lower(), text.decode(errors="replace"))

    def finish(self, outcome: Outcome, tag: bytes = b"", error: bytes = b"") -> Sequence[Record]:
        """The records that close it; none the second time."""
        if not self.seq:
            return []
        seq, self.seq = self.seq, 0
        size = sum(each.size for each in self._flows)
        return [*self._contents(seq), finished(seq, outcome, tag, error, size)]

    def _contents(self, seq: int) -> Sequence[Record]:
        return [each.content(seq, flow) for flow, each in enumerate(self._flows) if each.size]

    def conclude(self, outcome: Outcome, tag: bytes = b"", error: bytes = b"") -> None:
        """It is over: recorded, and let go."""
        try:
            for record in self.finish(outcome, tag, error):
                self.ledger.write(record)
        except Exception as broken:
            self.ledger.failed(broken)
        self.talk.over(self)

    def hang_up(self) -> None:
        """Make the target stop what it does here."""
        if self.target is not None:
            self.target.close()

    def stop(self) -> None:
        """The same because the session is cut: what the client said, but was not passed on, is not either."""
        self.hang_up()

    def signal(self, name: str) -> None:
        """Send it to what runs here, if anything does."""

    def kill(self) -> None:
        """For what did not stop."""


class Passage(Pair):
    """What a session channel passes: a terminal, a transfer that is read along, or bytes."""

    def __init__(self, talk: Talk, client: Any) -> None:
        super().__init__(talk, client)
        self.terminal: tuple[str, Any, Any] | None = None
        self._reader: SftpReader | ScpReader | None = None
        self._ends_later: set[Side] = set()
        self._screen: Screen | None = None

    def say(self, text: str) -> None:
        """Words of the gateway for the person, on a line of their own."""
        end = b"\r\n" if self.terminal is not None else b"\n"
        words = b"tidegate: " + text.encode() + end
        try:
            self.client.write(end + words if self.terminal else words, asyncssh.EXTENDED_DATA_STDERR)
        except BrokenPipeError:
            return

    def _pass(self, side: Side, data: bytes, flow: Flow) -> None:
        if self._reader is not None and flow is not Flow.ERRORS:
            if isinstance(self._reader, ScpReader):
                self._flows[flow].add(data)
            self._carry_out(side, self._reader.feed(side, data))
        elif self._screen is not None:
            self._terminal(side, data, flow)
        else:
            super()._pass(side, data, flow)

    def _terminal(self, side: Side, data: bytes, flow: Flow) -> None:
        ledger, screen = self.ledger, self._screen
        assert screen is not None  # noqa: S101
        self._flows[flow].add(data)
        if side is Side.TARGET or ledger.keep_input or ledger.keep_all:
            ledger.write(Passed(self.seq, flow, data))
        seen = screen.feed_output(data) if side is Side.TARGET else screen.feed_input(data)
        for each in seen:
            ledger.write(observed(self.seq, each))
        self._send(side, data, flow)

    def _carry_out(self, side: Side, steps: Sequence[Step]) -> bool:
        """Whether they are carried out; else ``side`` is held until the rest is."""
        flow = Flow.INPUT if side is Side.CLIENT else Flow.OUTPUT
        for index, step in enumerate(steps):
            match step:
                case Forward(data):
                    self._send(side, bytes(data), flow)
                case Reply(data):
                    self._send(Side.TARGET, data, Flow.OUTPUT)
                case Tell(data):
                    self._send(Side.CLIENT, data, Flow.INPUT)
                case Recorded(record, data):
                    self.ledger.write(record)
                    self._send(side, bytes(data), flow)
                case Observe(record):
                    self.ledger.write(record)
                    if self.ledger.durable and isinstance(record, StatementStarted):
                        self.hold(side, Hold.DURABLE)
                        self.talk.spawn(self._after_disk(side, steps[index + 1 :]))
                        return False
                case Close(_, detail):
                    self.say(detail)
                    self.hang_up()
                    self.client.exit(REFUSED)
                    break
        return True

    async def _after_disk(self, side: Side, rest: Sequence[Step]) -> None:
        await self.ledger.on_disk()
        if not self.late() and self._carry_out(side, rest):
            self.release(side, Hold.DURABLE)
            if side in self._ends_later:
                super().ended(side)

    def ended(self, side: Side) -> None:
        if self._holds[side] & Hold.DURABLE:  # asyncssh tells of an end though it is not read
            self._ends_later.add(side)
        else:
            super().ended(side)

    def _contents(self, seq: int) -> Sequence[Record]:
        if self._screen is not None:
            return []  # all of it is kept
        return super()._contents(seq)

    def finish(self, outcome: Outcome, tag: bytes = b"", error: bytes = b"") -> Sequence[Record]:
        reader, self._reader = self._reader, None
        left = list(reader.finish(Outcome.UNKNOWN if outcome is Outcome.DONE else outcome)) if reader else []
        if self._screen is not None and self.seq:
            left += [observed(self.seq, each) for each in self._screen.finish()]
        return [*left, *super().finish(outcome, tag, error)]


def observed(seq: int, seen: Observed) -> Note:
    """What was seen on the screen: never claimed to be exact."""
    if seen.source == NOT_SEEN:
        return warning(seq, seen.text)
    pairs = (("statement", seq), ("text", seen.text), ("source", seen.source), ("exit", seen.exit))
    return Note("command_observed", pairs)
