"""Programs that an SSH host runs for its clients: each a session of its own, with pipes or with a terminal.

It reaps every child by itself, those left behind by other children included (Linux), so that nothing outlives it.
It knows no SSH. Called by ``ssh_host``.
"""

import asyncio
import ctypes
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from proxy.cli.demo.lifeline import PR_SET_PDEATHSIG

PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 0.5
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: by itself with ``code``, or by the signal named ``signal`` (``KILL``)."""

    code: int
    signal: str = ""
    core: bool = False

    @classmethod
    def of(cls, status: int) -> "Ended":
        """From what waitpid(2) says."""
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            name = signal.Signals(number).name.removeprefix("SIG") if number in signal.valid_signals() else "KILL"
            return cls(255, name, os.WCOREDUMP(status))
        return cls(os.WEXITSTATUS(status))


@dataclass(slots=True)
class Child:
    """A running program. ``stderr`` None: it has a terminal, which is both of the others. ``ended`` resolves when
    it is reaped; others that it has started may still run then."""

    pid: int
    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes] | None
    ended: "asyncio.Future[Ended]"

    def signal(self, name: str) -> None:
        """Send the signal of that name (``INT``) to what runs in the foreground; unknown names say nothing."""
        number = getattr(signal.Signals, f"SIG{name}", None)
        if number is not None and not self.ended.done():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._foreground(), number)

    def _foreground(self) -> int:
        if self.stderr is None:
            with suppress(OSError, ValueError):
                return os.tcgetpgrp(self.stdout.fileno())
        return self.pid

    def hang_up(self) -> None:
        """Tell every process of its session that the client is gone; stopped ones wake up to hear it."""
        for group in _groups_of_session(self.pid):
            for number in (signal.SIGHUP, signal.SIGCONT):
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, number)

    def silent(self) -> bool:
        """Whether nothing more is there to be read just now."""
        if self.stdout.closed:
            return True
        waiting = select.poll()
        waiting.register(self.stdout, select.POLLIN)
        return not waiting.poll(0)


class Children:
    """All children of this process. One per process, on its loop."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._running: dict[int, Child] = {}
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

    def start(
        self, command: Sequence[str], env: Mapping[str, str], *, terminal: tuple[int, int, int, int] | None
    ) -> Child:
        """Run ``command``; ``terminal``: columns, rows and both in pixels, where it is to have one."""
        child = self._on_pipes(command, env) if terminal is None else self._on_terminal(command, env, terminal)
        self._running[child.pid] = child
        return child

    def _on_pipes(self, command: Sequence[str], env: Mapping[str, str]) -> Child:
        pipe = subprocess.PIPE
        process = self._popen(command, env, (pipe, pipe, pipe), _ends_with_us(signal.SIGKILL))
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a pipe is missing")
        return Child(process.pid, process.stdin, process.stdout, process.stderr, _future())

    def _on_terminal(
        self, command: Sequence[str], env: Mapping[str, str], size: tuple[int, int, int, int]
    ) -> Child:
        master, slave = os.openpty()
        columns, rows, width, height = (min(each, 0xFFFF) for each in size)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))
        ends_with_us = _ends_with_us(signal.SIGHUP)

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            ends_with_us()

        try:
            process = self._popen(command, env, (slave, slave, slave), take_terminal)
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        reading = os.fdopen(os.dup(master), "rb", buffering=0)
        return Child(process.pid, os.fdopen(master, "wb", buffering=0), reading, None, _future())

    def _popen(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        streams: tuple[int, int, int],
        before: Callable[[], None],
    ) -> "subprocess.Popen[bytes]":
        stdin, stdout, stderr = streams
        process = subprocess.Popen(  # noqa: S603 - giving a shell is what it is for
            command,
            bufsize=0,
            cwd=self._home,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=before,  # noqa: PLW1509 - takes no lock
        )
        process.returncode = 0  # ours to reap, not its
        return process

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._running.pop(pid, None)
            if child is not None and not child.ended.done():
                child.ended.set_result(Ended.of(status))

    async def end(self) -> None:
        """Hang up on all there are, then kill what is left: whatever they have started, too."""
        for child in list(self._running.values()):
            child.hang_up()
        for number in (signal.SIGHUP, signal.SIGKILL):
            until = asyncio.get_running_loop().time() + GRACE_SECONDS
            while (left := list(_children_of(os.getpid()))) and asyncio.get_running_loop().time() < until:
                for pid in left:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
                await asyncio.sleep(POLL_SECONDS)
                self._reap()


def _future() -> "asyncio.Future[Ended]":
    return asyncio.get_running_loop().create_future()


def _ends_with_us(number: signal.Signals) -> Callable[[], None]:
    if sys.platform != "linux":
        return lambda: None
    libc = ctypes.CDLL(None)

    def ask_for_signal() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)

    return ask_for_signal


def _processes() -> Iterator[tuple[int, int, int, int]]:
    """Process id, parent, group and session of every process that can be seen (proc(5))."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            parent, group, session = path.read_bytes().rpartition(b")")[2].split()[1:4]
            yield int(path.parent.name), int(parent), int(group), int(session)


def _groups_of_session(session: int) -> set[int]:
    """Its process groups: each job of a shell has its own."""
    found = {group for _, _, group, of in _processes() if of == session}
    return found or {session}


def _children_of(parent: int) -> Iterator[int]:
    for pid, of, _, _ in _processes():
        if of == parent:
            yield pid
