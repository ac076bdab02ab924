"""Starting processes and seeing that they end together. Knows commands, not what they do. Called by ``serving``."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

PR_SET_PDEATHSIG = 1
Child = subprocess.Popen[bytes]


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, kill -9 included (Linux; prctl(2))."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it died before we asked
            os._exit(1)


def supervise(
    commands: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    *,
    patience: Callable[[], float],
    last: Collection[str] = (),
) -> int:
    """Run all commands until a signal or the first death; then stop all, those named in ``last`` when the others
    are gone. 0 when the stop was wanted. Who is still there after ``patience()`` seconds is killed."""
    wanted = threading.Event()
    changed = threading.Event()
    reload = threading.Event()

    def on_stop(*_: object) -> None:
        wanted.set()
        changed.set()

    def on_reload(*_: object) -> None:
        reload.set()
        changed.set()

    signal.signal(signal.SIGTERM, on_stop)
    signal.signal(signal.SIGINT, on_stop)
    signal.signal(signal.SIGCHLD, lambda *_: changed.set())
    # That a signal is ignored is inherited: a SIGHUP that comes before a child listens must not be its end.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    children = {
        role: subprocess.Popen(command, env=dict(environment))  # noqa: S603
        for role, command in commands.items()
    }
    signal.signal(signal.SIGHUP, on_reload)
    try:
        while True:
            changed.wait(1.0)
            changed.clear()
            if reload.is_set():
                reload.clear()
                _send(children.values(), signal.SIGHUP)
            dead = [role for role, child in children.items() if child.poll() is not None]
            if dead and not wanted.is_set():
                print(f"tidegate: {dead[0]} has died; stopping", file=sys.stderr)
                return 1
            if wanted.is_set():
                return 0
    finally:
        _stop([child for role, child in children.items() if role not in last], patience())
        _stop([child for role, child in children.items() if role in last], patience())


def _send(children: Iterable[Child], number: int) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(number)


def _stop(children: Sequence[Child], patience: float) -> None:
    until = time.monotonic() + patience
    _send(children, signal.SIGTERM)
    for child in children:
        try:
            child.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
