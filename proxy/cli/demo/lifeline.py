"""Children that do not outlive us, and one demo a folder.

Called by ``postgres`` and ``supervisor``.
"""

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PR_SET_PDEATHSIG = 1


def signalled_when_we_die(number: signal.Signals) -> Callable[[], None] | None:
    """For ``preexec_fn``: on Linux the kernel sends the child ``number`` when we are gone, however (prctl(2));
    elsewhere None."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def ask_for_signal() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)

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
