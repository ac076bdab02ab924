"""Puts on disk what was handed to the operating system: in groups, in a thread of its own. Knows files, no records.

``durability = "os"``: what was written is on disk within a second. ``"disk"``: whoever waits is released by the
sync of his group. It also gives windows back, once the container that holds their frames is on disk. Called by
``journal`` (from the loop) and ``sealer`` (from its thread).
"""

import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from proxy.recording.window import Spares, Window

INTERVAL = 0.5
FEW = 8
"""Up to so many files are synced one by one; more by one syncfs(2), which costs about as much as four of them."""

Released = Callable[[Exception | None], None]
"""Called when the wait is over, in the syncer's thread; with what went wrong, if it did."""


class Journal(Protocol):
    """What the syncer sees of a recorder. ``number`` counts the frames written, ``synced`` those on disk."""

    number: int
    synced: int

    def unsynced(self) -> tuple[Path, ...]:
        """The windows that may hold frames which are not on disk; they may be gone already."""
        ...

    def on_disk(self, number: int, windows: tuple[Path, ...]) -> None:
        """All frames before ``number`` are on disk."""
        ...

    def fail(self, error: Exception) -> None:
        """The disk refused; nothing more may be written."""
        ...


class Sealed(NamedTuple):
    """A window whose ``used`` bytes of frames the container holds now."""

    container: Path
    window: Window
    used: int
    released: Released | None


class Syncer:
    """One per process; ``failures`` counts refusals of the disk."""

    def __init__(self, folder: Path, spares: Spares) -> None:
        self.failures = 0
        self._disk = Disk(folder)
        self._spares = spares
        # Weak: a recorder that somebody dropped must not live on here; its windows are sealed after the next start.
        self._journals: dict[int, weakref.ref[Journal]] = {}
        self._sealed: list[Sealed] = []
        self._waiting: list[Released] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._work = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="recording-sync", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when everything is on disk."""
        self._stopping = True
        self._wake.set()
        self._work.set()
        self._thread.join()

    def watch(self, journal: Journal) -> None:
        """From now on keep this journal's windows on disk."""
        key = id(journal)
        self._journals[key] = weakref.ref(journal, lambda _: self._journals.pop(key, None))
        self._work.set()

    def forget(self, journal: Journal) -> None:
        self._journals.pop(id(journal), None)

    def wait(self, released: Released) -> None:
        """Have everything synced that was written until now."""
        with self._lock:
            self._waiting.append(released)
        self._wake.set()
        self._work.set()

    def sealed(self, sealed: Sealed) -> None:
        """Sync the container, then give the window back."""
        with self._lock:
            self._sealed.append(sealed)
        self._work.set()
        if sealed.released is not None:
            self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            self._work.wait()  # where no session lives, nobody writes: no round, and no waking up for it
            self._wake.wait(INTERVAL)
            self._wake.clear()
            self._round()
            self._work.clear()  # before the look: what comes in between says so itself
            if self._busy():
                self._work.set()
        self._round()

    def _busy(self) -> bool:
        return bool(self._journals or self._waiting or self._sealed or self._spares.unready)

    def _round(self) -> None:
        """One group: what came while the last one was being synced."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            sealed, self._sealed = self._sealed, []
        dirty = [(each, each.number, each.unsynced()) for each in self._dirty()]
        cleared = self._spares.cleared()
        paths = {path for _, _, windows in dirty for path in windows}
        paths |= {each.container for each in sealed} | {each.path for each in cleared}
        failure: Exception | None = None
        try:
            self._disk.sync(paths)
            for each in sealed:
                self._spares.give_back(each.window, each.used)
            self._spares.keep(cleared)
        except Exception as error:  # whatever it is: nobody may wait for this thread in vain
            failure = error
            self.failures += 1
            for window in cleared:  # a sync that fails once proves nothing when it is tried again
                window.delete()
        for journal, number, windows in dirty:
            if failure is None:
                journal.on_disk(number, windows)
            else:
                journal.fail(failure)
        for released in (*waiting, *(each.released for each in sealed)):
            if released is not None:
                released(failure)

    def _dirty(self) -> list[Journal]:
        journals = [reference() for reference in tuple(self._journals.values())]
        return [each for each in journals if each is not None and each.number != each.synced]


class Disk:
    """Syncs files of one file system, that of ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._syncfs = _syncfs()

    def sync(self, paths: Collection[Path]) -> None:
        """Returns when these files, and their names, are on disk. ``OSError`` when they may not be."""
        if not paths:
            return
        if len(paths) <= FEW or self._syncfs is None:
            for path in (*paths, *{path.parent for path in paths}):
                sync_file(path)
            return
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if self._syncfs(descriptor) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(self._folder))
        finally:
            os.close(descriptor)


def make_folder(path: Path) -> None:
    """The folder and those above it that are missing, for the owner alone."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        sync_file(path.parent)


def sync_file(path: Path) -> None:
    """fsync(2) of a file or folder by name; one that is gone needs none (it was sealed meanwhile)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _syncfs() -> Any:
    """syncfs(2), which Python does not offer; None where the C library has none."""
    try:
        return ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        return None
