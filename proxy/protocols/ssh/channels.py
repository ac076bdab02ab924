"""One thing done over SSH: the client's channel, the target's channel for it, and the record of both. Async, by
asyncssh's callbacks; made by ``conversation``.

Nothing is opened at the target, and nothing of a client is passed on, before it is recorded. A client's request is
answered when the target has answered it; what the client says meanwhile waits in asyncssh's channel, its end too.
Each callback is guarded: an exception there would end the connection without a word in the record.
"""

from collections.abc import Awaitable, Sequence
from enum import IntFlag
from typing import Any, Protocol

import asyncssh

from proxy.core.actions import Action, Shell, Transfer
from proxy.core.records import Flow, Note, Outcome, Passed, Record, Resized, StatementStarted, Via
from proxy.core.steps import Close, Forward, Observe, Recorded, Reply, Side, Step, Tell
from proxy.protocols.ssh import commands
from proxy.protocols.ssh.content import Hashed
from proxy.protocols.ssh.ledger import Ledger
from proxy.protocols.ssh.lines import ServerChannel
from proxy.protocols.ssh.scp import ScpReader
from proxy.protocols.ssh.screen import NOT_SEEN, Observed, Screen
from proxy.protocols.ssh.sftp import SftpReader
from proxy.protocols.ssh.statements import finished, started, warning
from proxy.protocols.ssh.upstream import TargetSide

COMMAND_MOST = 256 * 1024
REFUSED = 255
"""What ssh itself exits with where it could not do what was asked."""
SFTP = "sftp"


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

    def spawn(self, work: Awaitable[None]) -> None: ...
    def over(self, pair: "Pair") -> None: ...
    async def decided(self, action: Action) -> str:
        """Why it may not be; "" where it may."""
        ...


class Pair:
    """What a session channel and a tunnel have in common. ``seq`` is 0 until it is recorded; ``target`` is there
    while it is open; ``waits``: for people, so that it is no work where nothing moves."""

    waits = True

    def __init__(self, talk: Talk, client: Any) -> None:
        self.talk = talk
        self.ledger = talk.ledger
        self.client = client
        self.target: Any = None
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

    def running(self) -> bool:
        return self.target is not None

    def late(self) -> bool:
        """Whether the session has ended, so that nothing may begin any more."""
        return self.talk.muted

    def begin(self, via: Via, text: bytes) -> None:
        self.seq = self.ledger.next_seq()
        self.ledger.write(started(self.seq, via, text))

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


class SessionPair(Pair, asyncssh.SSHServerSession[bytes]):
    """A shell, a command or sftp. The client's callbacks; ``TargetEnd`` has the target's."""

    client: ServerChannel

    def __init__(self, talk: Talk, client: ServerChannel, variables: Sequence[str]) -> None:
        super().__init__(talk, client)
        self._variables = variables
        self._environment: dict[bytes, bytes] = {}
        self._scp: commands.ScpCommand | None = None
        self.terminal: tuple[str, Any, Any] | None = None
        self.exit: int | tuple[str, bool, str, str] | None = None
        self._begun = False
        self._signals = True
        self._reader: SftpReader | ScpReader | None = None
        self._screen: Screen | None = None
        self._hung_up = False

    # -- what the client asks for --------------------------------------------------------------------------------

    def pty_requested(self, term_type: str, term_size: Any, term_modes: Any) -> bool:
        if self._begun or len(term_type) > 128:
            return False
        self.terminal = term_type, term_size, dict(term_modes)
        return True

    def awaited(self) -> bool:
        """Whether all has been said but how it ended, which the target will say in a moment."""
        return self.target is not None and len(self.said_all) == len(Side) and not self._hung_up

    def variable(self, name: bytes, value: bytes) -> bool:
        """Whether a variable of the client's is passed on; those that are not are recorded by name."""
        shown, text = name.decode("utf-8", "replace"), value.decode("utf-8", "replace")
        why = commands.environment_refused(shown, text, self._variables, len(self._environment))
        if why or self._begun:
            self.ledger.denied("environment", f"{shown[:100]}: {why or 'too late'}")
            return False
        self._environment[name] = value
        return True

    def shell_requested(self) -> Any:
        return self._begin(Shell(self.terminal[0] if self.terminal else ""), Via.SHELL, b"", {})

    def exec_requested(self, command: str) -> Any:
        text = command.encode("utf-8", "surrogateescape")
        if not command or "\0" in command or len(text) > COMMAND_MOST:
            self.ledger.denied("command", "empty, too long, or with a NUL")  # an empty one would be a shell
            return False
        self._scp = commands.scp_command(text)
        return self._begin(commands.classify(text), Via.EXEC, text, {"command": text})

    def subsystem_requested(self, subsystem: str) -> Any:
        if subsystem != SFTP:
            self.ledger.denied("subsystem", subsystem)
            return False
        self._reader = SftpReader(self.ledger.next_seq)
        self._signals = False
        return self._begin(Transfer("", upload=False), Via.SFTP, b"sftp", {"subsystem": SFTP})

    def _begin(self, action: Action, via: Via, text: bytes, wanted: dict[str, Any]) -> bool | None:
        if self._begun:
            return False
        self._begun = True
        self.talk.spawn(self._open(action, via, text, wanted))
        return None

    async def _open(self, action: Action, via: Via, text: bytes, wanted: dict[str, Any]) -> None:
        """Decided, recorded, opened at the target, answered."""
        why = await self.talk.decided(action)
        if self.late():
            return
        self.begin(via, text)
        self.waits = via is not Via.EXEC
        if why:
            self._refuse(Outcome.DENIED, why)
            return
        if self._environment:
            pairs = [(each.decode(), value.decode()) for each, value in self._environment.items()]
            self.ledger.write(Note("environment", (("statement", self.seq), *pairs)))
        if self.terminal is not None:
            term, size, modes = self.terminal
            columns, rows = int(size[0]), int(size[1])
            self.ledger.write(Resized(self.seq, columns, rows))
            self._screen = Screen(columns, rows)
            wanted |= {"request_pty": True, "term_type": term, "term_size": size, "term_modes": modes}
        if self._scp is not None:
            self._reader = ScpReader(self.ledger.next_seq, self._scp, self.seq)
        await self.ledger.on_disk()
        if self.late():
            return
        try:
            target = await self.talk.target.line.session(lambda: TargetEnd(self), **wanted, env=self._environment)
        except (asyncssh.Error, OSError) as error:
            self._refuse(Outcome.FAILED, f"the target refused it: {getattr(error, 'reason', '') or 'closed'}")
            return
        if self.target is None:  # it has been closed again already
            return
        self.client.answer(True)
        target.resume_reading()
        if self.client_gone:
            self.hang_up()

    def _refuse(self, outcome: Outcome, why: str) -> None:
        """Words on stderr, and the exit status that ssh has for it."""
        self.conclude(outcome, b"", why.encode())
        if not self.client_gone:
            self.client.answer(True)
            self.say(why)
            self.client.exit(REFUSED)

    def say(self, text: str) -> None:
        """Words of the gateway for the person, on a line of their own."""
        end = b"\r\n" if self.terminal is not None else b"\n"
        words = b"tidegate: " + text.encode() + end
        try:
            self.client.write(end + words if self.terminal else words, asyncssh.EXTENDED_DATA_STDERR)
        except BrokenPipeError:
            return

    # -- the client's callbacks ----------------------------------------------------------------------------------

    def data_received(self, data: bytes, datatype: Any) -> None:
        self.heard(Side.CLIENT, data, Flow.INPUT)

    def eof_received(self) -> bool:
        self.ended(Side.CLIENT)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.client_gone = True
        if self.target is not None and self.exit is None:
            self.hang_up()

    def pause_writing(self) -> None:
        self.hold(Side.TARGET, Hold.OTHER_FULL)

    def resume_writing(self) -> None:
        self.release(Side.TARGET, Hold.OTHER_FULL)

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self.target is None or self._screen is None:
            return
        try:
            self.ledger.write(Resized(self.seq, width, height))
            self._screen.resize(width, height)
            self.target.change_terminal_size(width, height, pixwidth, pixheight)
        except Exception as error:
            self.ledger.failed(error)

    def signal_received(self, signal: str) -> None:
        if self.target is None:
            return
        try:
            self.ledger.write(Note("signal", (("statement", self.seq), ("signal", signal[:32]))))
            self.target.send_signal(signal)
        except ValueError:  # not a signal that asyncssh knows
            return
        except Exception as error:
            self.ledger.failed(error)

    def break_received(self, msec: int) -> bool:
        if self.target is not None:
            self.target.send_break(msec)
        return self.target is not None

    def reader_gone(self) -> None:
        """The client's own reader has gone away."""
        if self.target is not None:
            self.target.end_of_write()

    # -- what passes ---------------------------------------------------------------------------------------------

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

    def _carry_out(self, side: Side, steps: Sequence[Step]) -> None:
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
                        return
                case Close(_, detail):
                    self.say(detail)
                    self.hang_up()
                    self.client.exit(REFUSED)
                    return

    async def _after_disk(self, side: Side, rest: Sequence[Step]) -> None:
        await self.ledger.on_disk()
        if not self.late():
            self._carry_out(side, rest)
            self.release(side, Hold.DURABLE)

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

    # -- the end -------------------------------------------------------------------------------------------------

    def target_over(self) -> None:
        """The target has closed its channel: all it said has been passed on."""
        self.target = None
        outcome, tag = Outcome.UNKNOWN, b""
        if isinstance(self.exit, int):
            outcome, tag = Outcome.FAILED if self.exit else Outcome.DONE, b"exit %d" % self.exit
        elif self.exit is not None:
            outcome, tag = Outcome.FAILED, b"signal " + self.exit[0].encode()
        if self._hung_up:
            outcome = Outcome.CUT if self.talk.cut else Outcome.CANCELLED
        self.conclude(outcome, tag)
        if not self.client_gone and not self.talk.muted:
            self.client.close()

    def exited(self, how: int | tuple[str, bool, str, str]) -> None:
        """The target's process ended so; its last words may still come."""
        self.exit = how
        if not self.client_gone and not self.talk.muted:
            self.client.exited(how)

    def hang_up(self) -> None:
        """HUP, as a terminal that goes away would; sftp ends with its input. How it ended is still told after the
        channel is closed on our side (OpenSSH does so)."""
        target = self.target
        if target is None or self._hung_up:
            return
        self._hung_up = True
        if self._signals and self.exit is None:
            target.send_signal("HUP")
        target.close()


class TargetEnd(asyncssh.SSHClientSession[bytes]):
    """The target's callbacks of a session channel."""

    def __init__(self, pair: SessionPair) -> None:
        self._pair = pair

    def connection_made(self, chan: Any) -> None:
        self._pair.target = chan

    def session_started(self) -> None:
        """Not read before the client has heard that it began."""
        self._pair.target.pause_reading()

    def data_received(self, data: bytes, datatype: Any) -> None:
        self._pair.heard(Side.TARGET, data, Flow.ERRORS if datatype else Flow.OUTPUT)

    def eof_received(self) -> bool:
        self._pair.ended(Side.TARGET)
        return True

    def exit_status_received(self, status: int) -> None:
        self._pair.exited(status)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._pair.exited((signal, core_dumped, msg, lang))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pair.target is not None:
            self._pair.target_over()

    def pause_writing(self) -> None:
        self._pair.hold(Side.CLIENT, Hold.OTHER_FULL)

    def resume_writing(self) -> None:
        self._pair.release(Side.CLIENT, Hold.OTHER_FULL)


def observed(seq: int, seen: Observed) -> Note:
    """What was seen on the screen: never claimed to be exact."""
    if seen.source == NOT_SEEN:
        return warning(seq, seen.text)
    pairs = (("statement", seq), ("text", seen.text), ("source", seen.source), ("exit", seen.exit))
    return Note("command_observed", pairs)
