"""Who owns a folder of live recordings: whoever holds its lock (flock(2)), which the kernel drops at kill -9.

Called by ``recorder`` for its own folder and by ``orphans`` for those of the dead.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from proxy.recording import places
from proxy.recording.syncing import make_folder

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Owned:
    """A folder that is this process's own until ``release``, or until it dies."""

    def __init__(self, root: Path) -> None:
        """Make one under ``root``, while nobody looks for folders without an owner."""
        self.path = root / places.LIVE / f"{os.getpid()}-{secrets.token_hex(6)}"
        with sealing(root):
            self.path.mkdir(mode=0o700)
            self._descriptor = os.open(self.path / places.LOCK, _FLAGS, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def release(self) -> None:
        """Give it up; an empty one is removed."""
        if not places.windows_in(self.path):
            (self.path / places.LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # somebody looks into it: then it is he who removes it
                self.path.rmdir()
        os.close(self._descriptor)


@contextmanager
def sealing(root: Path) -> Iterator[None]:
    """Be the only one who seals what others left; waits for who does it now."""
    make_folder(root / places.LIVE)
    descriptor = os.open(root / places.LIVE / places.SEALING, _FLAGS, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def dead(owner: Path) -> Iterator[bool]:
    """Whether the process that owned this folder is dead; while the context lasts the folder is ours then."""
    try:
        descriptor = os.open(owner / places.LOCK, _FLAGS, 0o600)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)
