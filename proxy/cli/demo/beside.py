"""Programs that run beside the gateway, as its targets do: found again by whoever looks after the world next.

``Beside`` is the looking after; ``stay`` is the program's own side. A program holds a lock for as long as it lives,
and writes into that file who it is once it listens: no process id is believed that does not hold it. Blocking where
it is looked after. Called by ``box`` and ``supervisor``, and by ``echo`` and ``ssh_host``.
"""

import argparse
import asyncio
import concurrent.futures.thread
import ctypes
import encodings.idna
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proxy.cli.demo.lifeline import PR_SET_PDEATHSIG, alive, tell
from proxy.cli.demo.run_as import RunAs

LOOPBACK = "127.0.0.1"
ROOT = Path(__file__).parents[3]
START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02
# What Python would import only when it is needed: its own folder may be closed to whom a program becomes by then.
NEEDED_LATER = (concurrent.futures.thread, encodings.idna)


class NotRunning(RuntimeError):
    """A program could not be started; the message carries what it said."""


def nobody() -> RunAs:
    """Whom such a program runs as: we ourselves, or an unprivileged user where we are root."""
    return RunAs.for_shells()


@dataclass(slots=True)
class Beside:
    """One program, ``module`` of this package, on ``port`` of loopback. Its lock and log are in ``folder``.

    With ``dies_with_us`` it ends when this process disappears, however it does; otherwise it survives and ``start``
    takes it up again. Errors are ``NotRunning``.
    """

    module: str
    folder: Path
    port: int
    arguments: Sequence[str] = ()
    dies_with_us: bool = True
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.module.rpartition(".")[2]

    @property
    def lock(self) -> Path:
        return self.folder / f"{self.name}.lock"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """Its process id while it runs, whoever started it, else None."""
        running = self._running()
        return running[0] if running else None

    def start(self) -> None:
        """Start it and wait until it listens; one that runs already, as it should, is taken up instead."""
        running = self._running()
        if running and running[1:] == self._wanted():
            return
        if running:
            self.stop()
        self._launch()
        self._wait_until_it_listens()

    def _wanted(self) -> tuple[int, list[str]]:
        return self.port, list(self.arguments)

    def _running(self) -> tuple[int, int, list[str]] | None:
        """Process id, port and arguments of who holds the lock."""
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._told()
        finally:
            os.close(descriptor)
        return None

    def _told(self) -> tuple[int, int, list[str]] | None:
        text = self.lock.read_text()
        match json.loads(text) if text.endswith("\n") else None:
            case [int(pid), int(port), list(arguments)]:
                return pid, port, arguments
        return None

    def _launch(self) -> None:
        command = [sys.executable, "-m", self.module, str(self.lock), str(self.port)]
        if self.dies_with_us:
            command.append(f"--with={os.getpid()}")
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                (*command, *self.arguments),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C typed at the terminal is for us; we end it in our own order.
                start_new_session=True,
            )
        finally:
            os.close(log)

    def _wait_until_it_listens(self) -> None:
        process = self._process
        deadline = time.monotonic() + START_SECONDS
        while process is not None and not (self.lock.exists() and self._listens(process.pid)):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise NotRunning(f"{self.name} did not start:\n{self._last_words()}")
            time.sleep(POLL_SECONDS)

    def _listens(self, pid: int) -> bool:
        return self._told() == (pid, *self._wanted())

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def stop(self) -> None:
        """Ask it to end, then make it; returns when it is gone."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            if pid := self.pid:
                self._end(pid, how)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _end(self, pid: int, how: signal.Signals) -> None:
        tell(pid, how, lambda: self.pid == pid)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if self._process is not None:
                self._process.poll()
            if not alive(pid):
                return
            time.sleep(POLL_SECONDS)


def _environment() -> dict[str, str]:
    """Next to nothing of ours: what is in it can be read in a shell there."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "TZ", "PYTHONPATH")}
    path = [str(ROOT), *filter(None, kept.get("PYTHONPATH", "").split(os.pathsep))]
    return kept | {"PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Place:
    """What a program was told: its port, its own words, whom it must not outlive (0: nobody)."""

    port: int
    arguments: Sequence[str]
    parent: int
    lock: int

    def become_nobody(self) -> None:
        """Let go of what root may do, for good. All that only root can read has been read, all code imported: the
        folders this package is installed in may be closed to whom we become."""
        run_as = nobody()
        if run_as.uid is not None and run_as.gid is not None:
            os.setgroups([])
            os.setresgid(run_as.gid, run_as.gid, run_as.gid)
            os.setresuid(run_as.uid, run_as.uid, run_as.uid)
        os.umask(0o022)
        os.chdir("/")
        # Only now: the kernel forgets it when a process becomes somebody else (prctl(2)).
        if self.parent and sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != self.parent:
                sys.exit("whom to end with is gone already")

    def announce(self) -> None:
        """Say who we are, in the file we hold: we listen."""
        os.ftruncate(self.lock, 0)
        told = json.dumps([os.getpid(), self.port, self.arguments])
        os.pwrite(self.lock, f"{told}\n".encode(), 0)

    @asynccontextmanager
    async def until_asked(self) -> AsyncIterator[None]:
        """The body runs when SIGTERM has come."""
        asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
        await asked.wait()
        yield


@contextmanager
def stay(words: Sequence[str]) -> Iterator[Place]:
    """A program's place from its command line, held while the body runs. ``SystemExit`` where another holds it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("lock", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--with", dest="parent", type=int, default=0)
    told, arguments = parser.parse_known_args(words)
    descriptor = os.open(told.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"{told.lock} is held by another")
    # Whoever was here before us is no more, and its process id anybody's.
    os.ftruncate(descriptor, 0)
    try:
        yield Place(told.port, arguments, told.parent, descriptor)
    finally:
        os.close(descriptor)
