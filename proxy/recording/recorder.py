"""``core.ports.Recordings`` over a folder: opens recorders, seals what dead processes left, says when it cannot.

One per process, used from the loop's thread between ``start`` and ``stop``. Knows no protocol and no store; made by
the composition root, called by the kernel.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from proxy.core.errors import Unavailable
from proxy.core.ports import Clock
from proxy.recording import places
from proxy.recording.journal import FileRecorder, Home, failed
from proxy.recording.locks import Owned
from proxy.recording.orphans import Orphan, seal_dead
from proxy.recording.reader import digest_of
from proxy.recording.syncing import make_folder, sync_file
from proxy.recording.window import SIZE, Window

MIN_FREE = 256 * 1024 * 1024
CHECKED_EVERY = 1.0


class FileRecordings:
    """``root``: the folder; ``window``: bytes of a journal's file; ``durability``: ``os`` or ``disk``;
    ``min_free``: bytes that must be free for a session to begin."""

    def __init__(
        self,
        root: Path,
        clock: Clock,
        window: int = SIZE,
        durability: str = "os",
        min_free: int = MIN_FREE,
    ) -> None:
        self._root = root
        self._clock = clock
        self._window = window
        self._durability = durability
        self._min_free = min_free
        self._home: Home | None = None
        self._owned: Owned | None = None
        self._checked = float("-inf")
        self._unready: Unavailable | None = None
        self._failures_seen = 0

    def start(self) -> None:
        """Take a folder of one's own and start the threads. ``Unavailable`` when the folder cannot be used."""
        try:
            make_folder(self._root)
            self._owned = Owned(self._root)
        except OSError as error:
            raise failed(str(error)) from error
        self._home = Home(self._root, self._owned.path, self._clock, self._window, self._durability)
        self._home.start()

    def stop(self) -> None:
        """Returns when all that was closed is sealed and on disk. Recorders still open are sealed after the next
        start, as if the process had died."""
        if self._home is not None and self._owned is not None:
            self._home.stop()
            self._owned.release()
            self._home = self._owned = None

    @property
    def lag_bytes(self) -> int:
        """Bytes in full windows that are not sealed yet."""
        return self._home.sealer.lag_bytes if self._home else 0

    @property
    def failures(self) -> int:
        """How often a recorder broke, or sealing or the disk refused, since the start."""
        home = self._home
        return home.failures + home.sealer.failures + home.syncer.failures if home else 0

    def open(self, session: str, header: Mapping[str, object]) -> tuple[str, FileRecorder]:
        """Begin to record a session: (key, recorder). ``Unavailable`` (``recorder_failed``) when it cannot be.
        ``header`` is JSON-able and tells a reader whose session it was and on what."""
        self.ready()
        home = self._started()
        now = self._clock.now()
        key = places.key_of(session, now)
        clocks = {"wall": now, "monotonic": self._clock.monotonic()}
        whole = {**header, **clocks, "format": 1, "session": session, "key": key}
        try:
            return key, FileRecorder(home, session, key, whole)
        except (OSError, TypeError, ValueError) as error:
            home.failures += 1
            raise failed(str(error)) from error

    def ready(self) -> None:
        """``Unavailable`` (``recorder_failed``) when no session can be recorded now: little space is left, or the
        disk refused something and still does. Looked at once a second at most."""
        now = self._clock.monotonic()
        if now - self._checked >= CHECKED_EVERY:
            self._checked = now
            self._unready = self._looked()
        if self._unready is not None:
            raise self._unready

    def refuses(self) -> bool:
        """Whether ``ready`` says no now."""
        try:
            self.ready()
        except Unavailable:
            return True
        return False

    def _looked(self) -> Unavailable | None:
        try:
            free = os.statvfs(self._root)
            available = free.f_bavail * free.f_frsize
            if available < self._min_free:
                return failed(f"{available} bytes are free, {self._min_free} are wanted")
            if self.failures != self._failures_seen:
                self._try_disk()
                self._failures_seen = self.failures
        except OSError as error:
            return failed(str(error))
        return None

    def _try_disk(self) -> None:
        """Whether a window can be made and synced. ``OSError`` when not."""
        if self._owned is not None:
            window = Window(self._owned.path / "tried", self._window)
            window.close()
            try:
                sync_file(window.path)
            finally:
                window.path.unlink()

    def seal_orphans(self, alive: Callable[[str], bool] = lambda _: False) -> list[Orphan]:
        """Seal what processes that are dead now left open, but for sessions that are ``alive`` all the same:
        (session, key, digest) of each. What living processes record is never touched. Another worker that starts
        now may have sealed some of the same dead process already: ``digest_of`` tells."""
        make_folder(self._root)
        return seal_dead(self._root, alive)

    def digest_of(self, key: str) -> str:
        """The digest of a sealed recording; "" when there is none, or it is not whole."""
        return digest_of(self._root, key) or ""

    def _started(self) -> Home:
        if self._home is None:
            raise failed("recording was not started")
        return self._home
