"""The doorbell: an empty datagram to every process of this machine that follows the feed.

Each follower binds ``<state_dir>/run/<name>.bell``; whoever has published rings all of them. Best effort on
purpose: the feed is in the store, so a lost ring costs one polling interval. Whoever rings takes no bell down: by
then its successor may have bound it anew. ``serve`` does, before it starts anybody. Used by ``adapters.store`` and
``adapters.feed``.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

SUFFIX = ".bell"
ADDRESS_MOST = 100
"""Bytes of a path; unix(7) has room for 107, other systems for 103."""


def bells(state_dir: Path) -> Path:
    """The folder of the sockets."""
    return state_dir / "run"


class UnixDoorbell:
    """``core.ports.Doorbell`` over unix datagram sockets in a folder (``bells(state_dir)``)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def ring(self) -> None:
        """Never raises and never waits."""
        try:
            found = [entry.path for entry in os.scandir(self._folder) if entry.name.endswith(SUFFIX)]
        except OSError:
            return
        for path in found:
            self._ring_one(path)

    def _ring_one(self, path: str) -> None:
        try:
            with _address(Path(path)) as address:
                self._socket.sendto(b"\0", address)
        except OSError:
            return  # full: it has been rung already; missing or deaf: whoever listened is no more

    def close(self) -> None:
        self._socket.close()


class Bell:
    """The listening side: a socket at ``path`` that becomes readable when rung. Use as ``with``."""

    def __init__(self, path: Path) -> None:
        if path.suffix != SUFFIX:
            raise ValueError(f"a bell's name ends in {SUFFIX}")
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove(path)  # a predecessor of the same name that was killed
        try:
            with _address(path) as address:
                self._socket.bind(address)
        except OSError:
            self._socket.close()
            raise
        self._bound = _identity(path)

    def fileno(self) -> int:
        return self._socket.fileno()

    def hush(self) -> None:
        """Take the rings that have come."""
        try:
            while True:
                self._socket.recv(16)
        except OSError:
            return

    def close(self) -> None:
        """Unlink first, so that nobody rings a bell that nobody hears; but not what a successor has bound there."""
        if _identity(self._path) == self._bound:
            _remove(self._path)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def listen(path: Path) -> Bell:
    """A bell at ``path``, which ends in ``.bell``. Errors: OSError."""
    return Bell(path)


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """``path`` in a form that fits a socket's address: by its folder's descriptor where it is too long (Linux)."""
    text = str(path)
    if len(os.fsencode(text)) <= ADDRESS_MOST:
        yield text
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        return
