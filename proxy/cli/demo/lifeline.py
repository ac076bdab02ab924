"""Children that do not outlive us, signals that reach who is meant, and one demo a folder.

Called by ``beside``, ``postgres`` and ``supervisor``.
"""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1


def signalled_when_we_die(number: signal.Signals) -> Callable[[], None] | None:
    """For ``preexec_fn``: on Linux the kernel sends the child ``number`` when we are gone, however (prctl(2));
    elsewhere None."""
    if sys.platform != "linux":
        return None
    libc, us = ctypes.CDLL(None), os.getpid()

    def ask_for_signal() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != us:  # gone before it was asked
            os._exit(1)

    return ask_for_signal


def alive(pid: int) -> bool:
    """Whether a process of that id exists and has not ended: in a container nobody may be there to reap it, and it
    stays as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        # The state stands after the name, which is in brackets and may hold anything (proc(5)).
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in (b"Z", b"X")


def tell(pid: int, number: signal.Signals, meant: Callable[[], bool]) -> None:
    """Send a signal to process ``pid``, which is not a child of ours, if it is who is ``meant``. On Linux that is
    asked when the id can no longer become somebody else's (pidfd_open(2))."""
    handle = None
    if sys.platform == "linux":
        with suppress(OSError):  # gone, which `meant` will say; or a kernel that has none
            handle = os.pidfd_open(pid)
    try:
        if meant():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number) if handle is not None else os.kill(pid, number)
    finally:
        if handle is not None:
            os.close(handle)


def runs(pid: int, uid: int, words: Sequence[str]) -> bool:
    """Whether process ``pid`` is that user's and its command line begins with ``words``. Only what everybody may
    see is looked at: in a container root may not ask which file or folder another user's process has."""
    try:
        if sys.platform == "linux":
            place = Path(f"/proc/{pid}")
            found = place.stat().st_uid, place.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()
        else:
            command = ("ps", "-ww", "-o", "uid=,command=", "-p", str(pid))
            told = subprocess.run(command, capture_output=True, check=True).stdout.decode().split(maxsplit=1)  # noqa: S603
            found = int(told[0]), told[1]
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return False
    return found[0] == uid and f"{found[1].rstrip()} ".startswith(" ".join((*words, "")))


@contextmanager
def held(lock: Path) -> Iterator[bool]:
    """Hold the file ``lock`` for as long as we live; False where another process holds it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
