"""A window: one preallocated file of a live session's journal, mapped into memory.

Copying bytes into the map is handing them to the operating system: they survive kill -9 of this process without a
system call. The space is allocated first (posix_fallocate(3)), so a full disk shows here and not as a SIGBUS later.
"""

import mmap
import os
from collections import deque
from pathlib import Path

SIZE = 64 * 1024
SPARES = 16


class Window:
    """``map`` is written by the recorder, front to back; zeros behind what was written are the end."""

    __slots__ = ("map", "path", "size")

    def __init__(self, path: Path, size: int) -> None:
        """Make the file. ``OSError`` when there is no room; then nothing is left behind."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            self.map = mmap.mmap(descriptor, size)
            # Without read-ahead only the pages that are written count as this process's memory.
            self.map.madvise(mmap.MADV_RANDOM)
            # The first fault costs ten times a later one: it is taken here, off the session path.
            self.map[0] = 0
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        self.path = path
        self.size = size

    def rename(self, path: Path) -> None:
        """Be the window of that name. ``FileExistsError`` where there is one: rename(2) would have replaced it."""
        os.link(self.path, path)
        os.unlink(self.path)  # noqa: PTH108  Path.unlink costs more, on the way to a log-in
        self.path = path

    def close(self) -> None:
        """Give the memory back; the file stays."""
        self.map.close()


class Spares:
    """Windows made in advance by another thread: making one takes 200 µs, renaming a ready one 25."""

    def __init__(self, folder: Path, size: int, most: int = SPARES) -> None:
        self._folder = folder
        self._size = size
        self._most = most
        self._made = 0
        self._ready: deque[Window] = deque()
        self._asked = False

    def take(self, name: str, size: int) -> Window:
        """A window of at least ``size`` bytes under that name. ``OSError`` when there is no room."""
        path = self._folder / name
        if size <= self._size and self._ready:
            window = self._ready.popleft()
            try:
                window.rename(path)
            except OSError:
                self._ready.append(window)
                raise
            return window
        return Window(path, max(size, self._size))

    def wanted(self) -> bool:
        """Whether ``refill`` should be called soon: said once, until it was."""
        if self._asked or len(self._ready) > self._most // 2:
            return False
        self._asked = True
        return True

    def refill(self) -> None:
        """Make windows in advance. On a full disk it just stops: ``take`` will say so to who needs one."""
        try:
            while len(self._ready) < self._most:
                self._made += 1
                self._ready.append(Window(self._folder / f"spare-{self._made}", self._size))
        except OSError:
            pass
        self._asked = False

    def discard(self) -> None:
        """Delete those that nobody took."""
        while self._ready:
            window = self._ready.popleft()
            window.close()
            window.path.unlink(missing_ok=True)
