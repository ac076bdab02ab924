"""Turns full windows into chunks of the container, in one thread per process: compress, hash, append.

Jobs of a session come in order and are done in order. A job that fails marks its container broken, keeps the window
on disk (it is sealed after the next start) and tells its recorder. Called by ``journal``; ``orphans`` uses ``add``.
"""

import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import zstandard

from proxy.recording.codec import BODY
from proxy.recording.container import END, FRAMES, HEADER, LEVEL, Altered, Container, Piece
from proxy.recording.frames import HEAD
from proxy.recording.syncing import Released, Sealed, Syncer
from proxy.recording.window import Window


class Job(NamedTuple):
    """``used`` bytes of a window: ``frames`` of them from number ``first`` on; ``end``, the JSON of the end, with
    the last one, whose frame makes it ``written`` bytes. ``done`` is called in the sealer's thread, with what went
    wrong, if anything did; with ``on_disk`` only when the chunk is on disk."""

    container: Container
    window: Window
    used: int
    written: int
    first: int
    frames: int
    end: bytes | None
    done: Released
    on_disk: bool


class Sealer:
    """``lag_bytes``: written to windows that are full, and not yet sealed. ``failures`` counts jobs that failed."""

    def __init__(self, syncer: Syncer) -> None:
        self._syncer = syncer
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._thread = threading.Thread(target=self._run, name="recording-seal", daemon=True)
        # Two counters, each written by one thread only.
        self._put = 0
        self._taken = 0
        self.failures = 0

    @property
    def lag_bytes(self) -> int:
        return self._put - self._taken

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when all jobs are done."""
        self._work.put(None)
        self._thread.join()

    def put(self, job: Job) -> None:
        """Seal this window; never waits. Called from one thread only."""
        self._put += job.used
        self._work.put(partial(self._do, job))

    def open(self, container: Container, header: bytes, failed: Released) -> None:
        """Begin the container with its header, so that it is there for who looks for it."""
        self._work.put(partial(self._begin, container, header, failed))

    def _begin(self, container: Container, header: bytes, failed: Released) -> None:
        try:
            container.append(Piece(HEADER, 0, 1, header), compressor=self._compressor)
        except Exception as error:
            self.failures += 1
            failed(error)

    def later(self, work: Callable[[], None]) -> None:
        """Do something small between two jobs."""
        self._work.put(work)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception:  # the thread serves all sessions: it goes on, and ``ready`` tries the disk
                self.failures += 1

    def _do(self, job: Job) -> None:
        failure: Exception | None = None
        try:
            add(job.container, job.window.map[: job.used], job.first, job.frames, self._compressor, job.end)
        except Exception as error:  # whatever it is, this recording cannot go on
            failure = error
            self.failures += 1
            job.container.broken = job.container.broken or str(error) or type(error).__name__
        self._taken += job.used
        waits = job.on_disk and failure is None
        if failure is None:
            self._syncer.sealed(Sealed(job.container.path, job.window, job.written, job.done if waits else None))
        else:
            job.window.close()
        if not waits:
            job.done(failure)


def add(
    container: Container,
    data: bytes,
    first: int,
    count: int,
    compressor: zstandard.ZstdCompressor,
    end: bytes | None = None,
) -> None:
    """Append frames, and the ``end`` behind them: after it the container's digest is the recording's. The first
    frame of all is the header, a chunk of its own that may be there already. ``Altered`` when they do not follow
    what is there; ``OSError`` when the disk refuses."""
    pieces = []
    expected = container.next
    if first == 0 and count:
        size = HEAD.size + HEAD.unpack_from(data)[0]
        if expected == 0:
            pieces.append(Piece(HEADER, 0, 1, data[HEAD.size + BODY.size : size]))
            expected = 1
        data, first, count = data[size:], 1, count - 1
    if container.broken or first != expected:
        raise Altered(0, container.broken or f"frame {expected} is missing: {first} follows")
    if count:
        pieces.append(Piece(FRAMES, first, count, data))
    if end is not None:
        pieces.append(Piece(END, first + count, 1, end))
    if pieces:
        container.append(*pieces, compressor=compressor)
