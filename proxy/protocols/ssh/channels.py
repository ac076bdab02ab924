"""What a client asks for on a session channel: a terminal, a shell, a command or sftp, decided, recorded, opened at
the target and answered, to its end. Async, by asyncssh's callbacks; made by ``conversation``. What then passes is
``passing``'s.

Nothing is opened at the target before it is recorded. A client's request is answered when the target has answered
it; what the client says meanwhile waits in asyncssh's channel, its end too.
"""

import asyncio
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import asyncssh

from proxy.core.actions import Action, Shell, Transfer
from proxy.core.records import Flow, Note, Outcome, Resized, Via
from proxy.core.steps import Side
from proxy.protocols.ssh import commands
from proxy.protocols.ssh.line_channels import ServerChannel
from proxy.protocols.ssh.passing import REFUSED, Hold, Passage, Talk
from proxy.protocols.ssh.scp import ScpReader
from proxy.protocols.ssh.screen import Screen
from proxy.protocols.ssh.sftp import SftpReader

COMMAND_MOST = 256 * 1024
SFTP = "sftp"
EARLY_MOST = 8
"""Signals and breaks that are kept for a command that the target has not begun yet."""
SIGNAL_MOST = 32


class Phase(IntEnum):
    """Of a session channel: nothing is asked for, or not answered by the target yet, or it runs, or is over."""

    IDLE = 0
    ASKED = 1
    RUNS = 2
    OVER = 3


class SessionPair(Passage, asyncssh.SSHServerSession[bytes]):
    """A shell, a command or sftp. The client's callbacks; ``TargetEnd`` has the target's. ``taken``: whether the
    target has delivered a HUP, once it has answered; it does not for root, nor where a command is forced."""

    client: ServerChannel

    def __init__(self, talk: Talk, client: ServerChannel, variables: Sequence[str]) -> None:
        super().__init__(talk, client)
        self._variables = variables
        self._environment: dict[bytes, bytes] = {}
        self._scp: commands.ScpCommand | None = None
        self.exit: int | tuple[str, bool, str, str] | None = None
        self._phase = Phase.IDLE
        self._signals = True
        self._size: tuple[int, int, int, int] | None = None
        self._early: list[str | int] = []  # signals by name, breaks by their length in ms
        self._ended_early = False
        self._hung_up = False
        self.taken: asyncio.Future[bool] | None = None

    # -- what the client asks for --------------------------------------------------------------------------------

    def pty_requested(self, term_type: str, term_size: Any, term_modes: Any) -> bool:
        if self._phase is not Phase.IDLE or len(term_type) > 128:
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
        if why or self._phase is not Phase.IDLE:
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
        if self._phase is not Phase.IDLE:
            return False
        self._phase = Phase.ASKED
        self.talk.spawn(self._open(action, via, text, wanted))
        return None

    async def _open(self, action: Action, via: Via, text: bytes, wanted: dict[str, Any]) -> None:
        """Decided, recorded, opened at the target, answered."""
        why = await self.talk.decided(action)
        if self.late():
            return
        self.waits = via is not Via.EXEC
        if why:
            self.begin_refused(via, text)
            self._refuse(Outcome.DENIED, why)
            return
        self.begin(via, text)
        if self._environment:
            pairs = [(each.decode(), value.decode()) for each, value in self._environment.items()]
            self.ledger.write(Note("environment", (("statement", self.seq), *pairs)))
        if self.terminal is not None:
            (term, size, modes), self._size = self._terminal_now(), None
            columns, rows = int(size[0]), int(size[1])
            self.ledger.write(Resized(self.seq, columns, rows))
            self._screen = Screen(columns, rows)
            wanted |= {"request_pty": True, "term_type": term, "term_size": size, "term_modes": modes}
        if self._scp is not None:
            self._reader = ScpReader(self.ledger.next_seq, self._scp, self.seq)
        await self.ledger.on_disk()
        if self.late():
            return
        self.opened.clear()
        try:
            target = await self.talk.target.line.session(lambda: TargetEnd(self), **wanted, env=self._environment)
        except (asyncssh.Error, OSError) as error:
            outcome = Outcome.CUT if self.talk.cut else Outcome.FAILED
            self._refuse(outcome, f"the target refused it: {getattr(error, 'reason', '') or 'closed'}")
            return
        finally:
            self.opened.set()
        if self.target is None:  # it has been closed again already
            return
        if self.late():  # meanwhile: nobody hears the answer
            self.stop()
            return
        if self.client_gone:
            self.hang_up()
            return
        self._answered()
        target.resume_reading()

    def _refuse(self, outcome: Outcome, why: str) -> None:
        """Words on stderr, and the exit status that ssh has for it."""
        self._phase = Phase.OVER
        self.conclude(outcome, b"", why.encode())
        if not self.client_gone:
            self.client.answer(True)
            self.say(why)
            self.client.exit(REFUSED)

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

    def _terminal_now(self) -> tuple[str, Any, Any]:
        """The terminal that was asked for, of the size it has meanwhile."""
        assert self.terminal is not None  # noqa: S101
        term, size, modes = self.terminal
        return term, self._size or size, modes

    def _answered(self) -> None:
        """The client hears that it runs; and then what came, on either side, while the target was opening it."""
        self._phase = Phase.RUNS
        self._say_what_came_early()
        self.client.answer(True)
        if self.exit is not None:
            self.exited(self.exit)
        if self._ended_early:
            super().ended(Side.TARGET)

    def ended(self, side: Side) -> None:
        if side is Side.TARGET and self._phase is Phase.ASKED:
            self._ended_early = True
        else:
            super().ended(side)

    def _say_what_came_early(self) -> None:
        """What the client changed meanwhile; before the target's answer it would have been lost."""
        size, early = self._size, list(self._early)
        self._size, self._early = None, []
        if size is not None:
            self.terminal_size_changed(*size)
        for each in early:
            if isinstance(each, str):
                self.signalled(each)
            else:
                self.break_received(each)

    def _kept_until_it_runs(self, each: str | int, what: str) -> bool:
        """Whether a signal or break is kept for later; what is not is told."""
        why = "" if self._phase is Phase.ASKED else "nothing runs yet"
        if len(self._early) >= EARLY_MOST:
            why = f"more than {EARLY_MOST} before anything runs"
        if why:
            self.ledger.denied(what, f"{each}: {why}")
            return False
        self._early.append(each)
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._phase <= Phase.ASKED:
            self._size = width, height, pixwidth, pixheight
            return
        if self.target is None or self._screen is None:
            return
        try:
            self.ledger.write(Resized(self.seq, width, height))
            self._screen.resize(width, height)
            self.target.change_terminal_size(width, height, pixwidth, pixheight)
        except Exception as error:
            self.ledger.failed(error)

    def signalled(self, name: str) -> bool:
        """Whether a signal is passed on, or will be. Which there are is the target's to know."""
        if len(name) > SIGNAL_MOST or not name.isprintable() or not name:
            self.ledger.denied("signal", "a name that is no signal's")
            return False
        if self._phase <= Phase.ASKED:
            return self._kept_until_it_runs(name, "signal")
        if self.target is None:
            return False
        try:
            self.ledger.write(Note("signal", (("statement", self.seq), ("signal", name))))
            self.target.pass_signal(name)
        except Exception as error:
            self.ledger.failed(error)
        return True

    def break_received(self, msec: int) -> bool:
        """Whether a break is passed on, or will be."""
        if self._phase <= Phase.ASKED:
            return self._kept_until_it_runs(msec, "break")
        if self.target is None:
            return False
        try:
            self.ledger.write(Note("signal", (("statement", self.seq), ("signal", f"break of {msec} ms"))))
            self.target.send_break(msec)
        except Exception as error:
            self.ledger.failed(error)
        return True

    def reader_gone(self) -> None:
        """The client's own reader has gone away."""
        if self.target is not None:
            self.target.end_of_write()

    # -- the end -------------------------------------------------------------------------------------------------

    def target_over(self) -> None:
        """The target has closed its channel: all it said has been passed on."""
        if self._phase is Phase.ASKED and self.exit is not None and not (self.client_gone or self.late()):
            self._answered()
        self.target, self._phase = None, Phase.OVER
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
        if self._phase is not Phase.ASKED and not self.client_gone and not self.talk.muted:
            self.client.exited(how)

    def hang_up(self) -> None:
        """HUP, as a terminal that goes away would; sftp ends with its input. How it ended is still told after the
        channel is closed on our side (OpenSSH does so)."""
        if self._hangs_up():
            self.signal("HUP")
            self.target.close()

    def stop(self) -> None:
        """As ``hang_up``; the channel of a command stays open for ``signal`` and ``kill``. A terminal's is closed,
        which hangs up on all that runs there. What is still being opened is stopped when it is there."""
        if self.opening:
            if self.target is not None:
                self.target.given_up = True
        elif self._hangs_up():
            self.target.forget_unsent()
            self.signal("HUP")
            if self.taken is None or self.terminal is not None:
                self.target.close()
            else:
                self.target.write_eof()
                self.target.resume_reading()  # its end comes behind what was not read

    def signal(self, name: str) -> None:
        if self.target is not None and self.target.may_ask and self._signals and self.exit is None:
            self.taken = self.target.signal(name)

    def kill(self) -> None:
        self.signal("KILL")
        if self.target is not None and not self.opening:
            self.target.close()

    def _hangs_up(self) -> bool:
        """Whether it has to be told so: once."""
        due = self.target is not None and not self._hung_up
        self._hung_up = self._hung_up or due
        return due


class TargetEnd(asyncssh.SSHClientSession[bytes]):
    """The target's callbacks of a session channel."""

    def __init__(self, pair: SessionPair) -> None:
        self._pair = pair

    def connection_made(self, chan: Any) -> None:
        self._pair.target = chan
        chan.given_up = self._pair.late()

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
