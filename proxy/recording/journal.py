"""Records one session: one memory copy per record on the session path, everything else in two threads.

``FileRecorder`` is ``core.ports.Recorder``; ``recorder.FileRecordings`` makes them. A record is copied into a
window (``window``); full windows go to the ``sealer``; the ``syncer`` puts things on disk. Used from one thread,
the loop's, but for what the syncer calls (``unsynced``, ``on_disk``, ``fail``). Whatever fails makes ``write``
raise ``Unavailable`` with the code ``recorder_failed``, from then on always: the session must not go on
unrecorded. Knows no protocol and no store.
"""

import asyncio
import contextlib
import json
import mmap
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from zlib import crc32

from proxy.core.errors import Unavailable
from proxy.core.ports import Clock
from proxy.core.records import Record
from proxy.recording import codec, places
from proxy.recording.container import Container, as_json
from proxy.recording.frames import HEAD, LONGEST
from proxy.recording.sealer import Job, Sealer
from proxy.recording.syncing import Released, Syncer
from proxy.recording.window import Spares, Window

ANCHOR = 60.0
"""Seconds after which the wall clock is noted again: it may be set, and the monotonic one stops while the machine
sleeps."""
LAG = 512 * 1024 * 1024
"""Bytes that may wait for the sealer; a session that wants to write more than that ends."""
BEHIND = LAG // 16
"""Bytes that wait for the sealer from which on a session that writes much should wait (``FileRecorder.behind``), so
that it does not end, and with it those that write little, at ``LAG``."""
GROWTH = 4
GROWTH_MOST = 64
"""How many times larger a busy session's later windows are than its first: making, sealing and deleting a file
costs more than compressing what is in it. In bulk (terminals, tunnels) it costs more than all else, so windows that
fill in less than half of ``FILLED`` seconds are followed by larger ones."""
FILLED = 0.05
CLOCK_ROOM = 256
"""Bytes that are enough for the first frame of a window (a key is at most 139 long)."""
_head = HEAD.pack
_SHORT = 512
_PUT = tuple(struct.Struct(f"{HEAD.format}{size}s").pack_into for size in range(_SHORT))
_ENCODERS = codec.ENCODERS


def failed(detail: str) -> Unavailable:
    """What the session is told when it cannot be recorded."""
    return Unavailable("the session cannot be recorded", code="recorder_failed", detail=detail)


class Home:
    """What all recorders of a process share: its folder of windows and the two threads."""

    def __init__(self, root: Path, folder: Path, clock: Clock, window: int, durability: str) -> None:
        self.root = root
        self.clock = clock
        self.size = window
        self.on_disk = durability == "disk"
        self.failures = 0
        self._spares = Spares(folder, window)
        self.syncer = Syncer(root, self._spares)
        self.sealer = Sealer(self.syncer)

    def start(self) -> None:
        self.syncer.start()
        self.sealer.start()
        self.sealer.later(self._spares.refill)

    def stop(self) -> None:
        """Returns when everything that was closed is sealed and on disk."""
        self.sealer.stop()
        self.syncer.stop()
        self._spares.discard()

    def window(self, name: str, size: int) -> Window:
        """A window for ``size`` bytes or more. ``OSError`` when there is no room, or the sealer is too far
        behind."""
        if self.sealer.lag_bytes > LAG:
            raise OSError("too much waits to be sealed")
        window = self._spares.take(name, size)
        if self._spares.wanted():
            self.sealer.later(self._spares.refill)
        return window


class FileRecorder:
    """One session's recording. ``number`` frames are written, ``synced`` of them known to be on disk."""

    __slots__ = (
        "__weakref__",
        "_anchor",
        "_at",
        "_broken",
        "_closing",
        "_container",
        "_filling",
        "_first",
        "_growth",
        "_home",
        "_key",
        "_map",
        "_monotonic",
        "_room",
        "_session",
        "_unsynced",
        "_window",
        "_windows",
        "number",
        "synced",
    )

    def __init__(self, home: Home, session: str, key: str, header: Mapping[str, object]) -> None:
        """Begin the recording with its header. ``OSError`` when there is no room."""
        self._home = home
        self._session = session
        self._key = key
        self._monotonic = home.clock.monotonic
        self._container = Container(places.container(home.root, key))
        self._first = self.number = self.synced = 0
        self._windows = 1
        self._growth = GROWTH
        self._unsynced: list[Path] = []
        self._broken = ""
        self._closing = False
        self._at = self._room = 0
        now = self._filling = self._monotonic()
        body = codec.mapping(codec.HEADER, header, now, 0)
        self._take(home.window(places.window_name(session, 1), HEAD.size + len(body)))
        self._put(body)
        self._anchor = now + ANCHOR
        home.sealer.open(self._container, body[codec.BODY.size :], self._sealed_on_the_way)
        home.syncer.watch(self)

    # -- the session path ----------------------------------------------------------------------------------------

    def write(self, record: Record) -> None:
        """Hand the record to the operating system. ``Unavailable`` (``recorder_failed``) when it cannot be."""
        now = self._monotonic()
        if now > self._anchor:
            self._put_clock(now)
        try:
            body = _ENCODERS[type(record)](record, now, self.number)
        except Exception as error:
            raise self._refuse(error) from error
        size = len(body)
        at = self._at
        end = at + 8 + size
        if end > self._room:
            self._next_window(size)
            if self._room < 0:  # another thread has given up on it meanwhile
                raise failed(self._broken)
            self._put(codec.renumbered(body, self.number))
            return
        # The checksum tells a reader, or a restart after a power cut, whether the frame is whole.
        if size < _SHORT:
            _PUT[size](self._map, at, size, crc32(body), body)
        else:
            self._map[at + 8 : end] = body
            self._map[at : at + 8] = _head(size, crc32(body))
        self._at = end
        self.number += 1

    def _put(self, body: bytes) -> None:
        """``write``'s last lines, for bodies that are known to fit."""
        begin = self._at + HEAD.size
        end = begin + len(body)
        self._map[begin:end] = body
        self._map[self._at : begin] = _head(len(body), crc32(body))
        self._at = end
        self.number += 1

    def _put_clock(self, now: float) -> None:
        body = codec.clock(self._home.clock.now(), self._key, now, self.number)
        if self._at + HEAD.size + len(body) <= self._room:
            self._put(body)
        self._anchor = now + ANCHOR

    @property
    def behind(self) -> bool:
        """Whether so much waits to be sealed that who writes in bulk should read no more until ``caught_up``. Of
        all sessions of the process: each that is told so waits."""
        return self._home.sealer.lag_bytes > BEHIND

    async def caught_up(self) -> None:
        """Wait until all that waits now is sealed."""
        await _wait(lambda released: self._home.sealer.later(partial(released, None)))

    # -- windows -------------------------------------------------------------------------------------------------

    def _take(self, window: Window) -> None:
        self._window = window
        self._map: mmap.mmap = window.map
        self._unsynced.append(window.path)
        self._first = self.number
        self._at = 0
        self._room = window.size
        if self._broken:  # said by another thread meanwhile
            self._room = -1

    def _next_window(self, size: int) -> None:
        """Go on in a new window with room for a body of ``size`` bytes; the full one goes to the sealer.
        ``Unavailable`` when the recorder is broken or there is no room: then the old window stays as it is."""
        if self._broken or self._closing:
            raise failed(self._broken or "it is closed")
        if size > LONGEST:
            raise self._refuse(ValueError(f"a record of {size} bytes is too long"))
        try:
            name = places.window_name(self._session, self._windows + 1)
            window = self._home.window(name, max(size + HEAD.size + CLOCK_ROOM, self._grown() * self._home.size))
        except OSError as error:
            raise self._refuse(error) from error
        full = self._job(None, self._sealed_on_the_way)
        self._windows += 1
        self._take(window)
        # The new window tells whose it is before the old one can go.
        self._put_clock(self._monotonic())
        self._home.sealer.put(full)

    def _grown(self) -> int:
        """How many times larger than the first the next window is: it follows from how long this one took."""
        now = self._monotonic()
        took, self._filling = now - self._filling, now
        if self._windows > 1:
            if took < FILLED / 2:
                self._growth = min(2 * self._growth, GROWTH_MOST)
            elif took > FILLED * 2:
                self._growth = max(self._growth // 2, GROWTH)
        return self._growth

    def _job(self, end: bytes | None, done: Released) -> Job:
        count = self.number - self._first
        on_disk = self._home.on_disk and end is not None
        return Job(self._container, self._window, self._at, self._at, self._first, count, end, done, on_disk)

    def _sealed_on_the_way(self, failure: Exception | None) -> None:
        if failure is not None:
            self.fail(failure)

    # -- failing -------------------------------------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        """Nothing more is written. May be called from any thread."""
        if not self._broken:
            self._home.failures += 1
        self._broken = self._broken or str(error) or type(error).__name__
        self._room = -1

    def _refuse(self, error: Exception) -> Unavailable:
        self.fail(error)
        return failed(self._broken)

    # -- disk ----------------------------------------------------------------------------------------------------

    def unsynced(self) -> tuple[Path, ...]:
        """The windows that may hold frames which are not on disk, the current one last."""
        return tuple(self._unsynced)

    def on_disk(self, number: int, windows: tuple[Path, ...]) -> None:
        """All frames before ``number`` are on disk; of ``windows`` the last was being written."""
        for path in windows[:-1]:
            self._unsynced.remove(path)
        self.synced = number

    async def durable(self) -> None:
        """Wait until everything written is on disk. ``Unavailable`` (``recorder_failed``) when it never will be."""
        if self._broken:
            raise failed(self._broken)
        if self.synced != self.number:
            await _wait(self._home.syncer.wait)

    async def close(self, end: Mapping[str, object]) -> str:
        """Seal with a last record of JSON-able ``end``; the final digest (hex). A broken recorder is sealed as far
        as it came. ``Unavailable`` when that cannot be done now: the windows are kept, and sealed after the next
        start."""
        if self._closing:
            raise failed("it is closed already")
        last = {**end, "ended": self._home.clock.now(), "truncated": bool(self._broken), "problem": self._broken}
        with contextlib.suppress(Unavailable):
            self._make_room(last)
        self._closing = True
        job = self._last_job({**last, "frames": self.number})
        self._home.syncer.forget(self)
        await _wait(lambda released: self._home.sealer.put(job._replace(done=released)))
        return self._container.digest

    def _make_room(self, last: Mapping[str, object]) -> None:
        size = len(json.dumps(last)) + 64
        if self._at + size > self._room:
            self._next_window(size)

    def _last_job(self, last: Mapping[str, object]) -> Job:
        """The job that ends the recording. The end is put into the window too: it survives kill -9 from here on."""
        job = self._job(as_json(last), self._sealed_on_the_way)
        if not self._broken:
            self._put(codec.mapping(codec.END, last, self._monotonic(), self.number))
        self._room = -1
        return job._replace(written=self._at)


async def _wait(begin: Callable[[Released], None]) -> None:
    """Wait in the loop for something that another thread does. Its failure is ``Unavailable`` here."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle(failure: Exception | None) -> None:
        if future.done():
            return
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failed(str(failure) or type(failure).__name__))

    def released(failure: Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, failure)

    begin(released)
    await future
