"""A window: one preallocated file of a live session's journal, mapped into memory.

Copying bytes into the map is handing them to the operating system: they survive kill -9 of this process without a
system call. The space is allocated first (posix_fallocate(3)), so a full disk shows here and not as a SIGBUS later.
"""

import itertools
import mmap
import os
from collections import deque
from pathlib import Path

SIZE = 64 * 1024
SPARES = 16
KEPT = 128
"""Cleared windows that wait for their next session: as many as a busy process uses in one round of the syncer."""
KEPT_USED = 16 * 1024
"""A window of which more was written is deleted instead: the pages it touched count as this process's memory."""


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

    def clear(self, used: int) -> None:
        """Be as when it was made; ``used`` bytes were written."""
        self.map[:used] = bytes(used)

    def close(self) -> None:
        """Give the memory back; the file stays."""
        self.map.close()

    def delete(self) -> None:
        """Give memory and file back."""
        self.close()
        self.path.unlink(missing_ok=True)


class Spares:
    """Windows in advance, made by another thread or cleared after use: making one takes 200 µs, and deleting it as
    long again in file systems that give a number no second time so soon; renaming a ready one takes 25."""

    def __init__(self, folder: Path, size: int, most: int = SPARES) -> None:
        self._folder = folder
        self._size = size
        self._most = most
        self._numbers = itertools.count(1)
        self._ready: deque[Window] = deque()
        self._cleared: list[Window] = []
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
                self._ready.append(Window(self._name(), self._size))
        except OSError:
            pass
        self._asked = False

    def _name(self) -> Path:
        return self._folder / f"spare-{next(self._numbers)}"

    def give_back(self, window: Window, used: int) -> None:
        """A window whose frames are kept elsewhere. It loses its name first: whoever reads it by that name
        meanwhile finds the name gone, and does not believe it. Called by the syncer, as the next two are."""
        if window.size != self._size or used > KEPT_USED or len(self._ready) + len(self._cleared) >= KEPT:
            window.delete()
            return
        try:
            window.rename(self._name())
        except OSError:  # a full disk has no room for a name either; who needs a window will be told so
            window.delete()
            return
        window.clear(used)
        self._cleared.append(window)

    @property
    def unready(self) -> bool:
        """Whether some that were given back are still to be made ready."""
        return bool(self._cleared)

    def cleared(self) -> list[Window]:
        """Those given back since the last call. Until that they are empty is on disk, a power cut could have the
        frames of one session come back under the name of the next."""
        cleared, self._cleared = self._cleared, []
        return cleared

    def keep(self, cleared: list[Window]) -> None:
        """They are on disk: have them taken again."""
        self._ready.extend(cleared)

    def discard(self) -> None:
        """Delete those that nobody took."""
        for window in (*self._ready, *self._cleared):
            window.delete()
        self._ready.clear()
        self._cleared.clear()
