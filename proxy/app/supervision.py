"""Starting processes and seeing that they end together. Knows commands, not what they do. Called by ``serving``."""

import ctypes
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import FrameType

PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 1.0
STOPS = (signal.SIGTERM, signal.SIGINT)
Child = subprocess.Popen[bytes]


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies, kill -9 included (Linux; prctl(2)). ``parent`` is
    who started it: in a container that is process 1, as init is for orphans elsewhere."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)


class _Heard:
    """Signals in the order they came. A handler may run between any two steps of its own process, so it only puts
    them where even it may (``SimpleQueue.put`` is re-entrant; ``threading.Event.set`` is not)."""

    def __init__(self) -> None:
        self._numbers: queue.SimpleQueue[int] = queue.SimpleQueue()

    def listen(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._numbers.put(number)

    def next(self, within: float) -> int | None:
        try:
            return self._numbers.get(timeout=max(0.0, within))
        except queue.Empty:
            return None

    def stop(self) -> bool:
        """Whether a stop is among what has come already."""
        while (number := self.next(0.0)) is not None:
            if number in STOPS:
                return True
        return False


def supervise(
    commands: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    *,
    patience: Callable[[], float],
    last: Collection[str] = (),
) -> int:
    """Run all commands until a signal or the first death; then stop all, those named in ``last`` when the others
    are gone. 0 when the stop was wanted. Who is still there after ``patience()`` seconds is killed. SIGHUP is
    passed on, also while others are still being waited for."""
    heard = _Heard()
    heard.listen((*STOPS, signal.SIGCHLD))
    # That a signal is ignored is inherited: a SIGHUP that comes before a child listens must not be its end.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    children: dict[str, Child] = {}
    try:
        for role, command in commands.items():
            children[role] = subprocess.Popen(command, env=dict(environment))  # noqa: S603
        heard.listen((signal.SIGHUP,))
        return _until_stopped(children, heard)
    finally:
        everyone = children.values()
        for part in (False, True):
            stopping = [child for role, child in children.items() if (role in last) is part]
            _stop(stopping, everyone, heard, patience)


def _until_stopped(children: Mapping[str, Child], heard: _Heard) -> int:
    while True:
        number = heard.next(LOOK_SECONDS)
        if number in STOPS:
            return 0
        if number == signal.SIGHUP:
            _send(children.values(), signal.SIGHUP)
        dead = [role for role, child in children.items() if child.poll() is not None]
        if dead:
            if heard.stop():
                return 0
            print(f"tidegate: {dead[0]} has died; stopping", file=sys.stderr)
            return 1
        if os.getpid() == 1:
            _bury({child.pid for child in children.values()})


def _bury(children: Collection[int]) -> None:
    """Process 1 of a container is the parent of all orphans there: what a health check or ``docker exec`` leaves
    would stay as zombies. Our own are not taken: how they ended is asked of each."""
    try:
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if found.si_pid in children:
                return
            os.waitpid(found.si_pid, os.WNOHANG)
    except ChildProcessError:
        return


def _send(children: Iterable[Child], number: int) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(number)


def _stop(
    stopping: Sequence[Child], everyone: Iterable[Child], heard: _Heard, patience: Callable[[], float]
) -> None:
    _send(stopping, signal.SIGTERM)
    until = time.monotonic() + patience()
    while any(child.poll() is None for child in stopping):
        left = until - time.monotonic()
        if left <= 0:
            break
        if heard.next(min(left, LOOK_SECONDS)) == signal.SIGHUP:
            _send(everyone, signal.SIGHUP)
    for child in stopping:
        child.kill()
        child.wait()
