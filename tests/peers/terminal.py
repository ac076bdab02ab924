"""A person at a terminal, for end-to-end tests: a program on a pty, what is typed and what is on the screen."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

WITHIN = 20.0


@dataclass
class Terminal:
    """A program whose terminal we hold. ``seen`` is all that it has written."""

    pid: int
    fd: int
    seen: bytes = b""
    status: int | None = None

    def type(self, data: bytes) -> None:
        """Everything, while what comes back is read: neither side waits for the other for ever."""
        deadline = time.monotonic() + WITHIN
        while data:
            readable, writable, _ = select.select([self.fd], [self.fd], [], 0.2)
            if readable:
                self._read()
            if writable:
                data = data[os.write(self.fd, data[:1024]) :]
            assert time.monotonic() < deadline, f"the program takes no more; it wrote {self.seen[-500:]!r}"

    def expect(self, text: bytes, since: int = 0, within: float = WITHIN) -> int:
        """Wait for ``text`` behind position ``since``; the position behind it."""
        deadline = time.monotonic() + within
        while (found := self.seen.find(text, since)) < 0:
            assert time.monotonic() < deadline, f"{text!r} did not come: {self.seen[-1000:]!r}"
            if select.select([self.fd], [], [], 0.2)[0] and not self._read():
                found = self.seen.find(text, since)
                assert found >= 0, f"it ended without {text!r}: {self.seen[-1000:]!r}"
        return found + len(text)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self, within: float = WITHIN) -> int:
        """Read until the program has gone; its return code (negative: the signal that ended it)."""
        deadline = time.monotonic() + within
        while self.status is None:
            assert time.monotonic() < deadline, f"it has not ended: {self.seen[-1000:]!r}"
            if select.select([self.fd], [], [], 0.05)[0]:
                self._read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        while select.select([self.fd], [], [], 0.05)[0] and self._read():
            pass
        return self.status

    def _read(self) -> bytes:
        try:
            data = os.read(self.fd, 65_536)
        except OSError:  # the other end of a pty is closed
            data = b""
        self.seen += data
        return data


@contextmanager
def terminal(
    command: Sequence[str], environment: Mapping[str, str], *, columns: int = 80, rows: int = 24
) -> Iterator[Terminal]:
    """``command`` on a terminal of its own; killed at the end if it is still there."""
    main, side = pty.openpty()
    fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    pid = os.posix_spawn(
        command[0],
        list(command),
        {"TERM": "xterm-256color", **environment},
        # Opened anew by the leader of a session of its own: so it is that session's terminal, and signals come.
        file_actions=[(os.POSIX_SPAWN_OPEN, each, os.ttyname(side), os.O_RDWR, 0) for each in (0, 1, 2)],
        setsid=True,
    )
    os.close(side)
    person = Terminal(pid, main)
    try:
        yield person
    finally:
        if person.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(main)
