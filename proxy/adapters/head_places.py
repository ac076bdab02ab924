"""Other places that signed heads of the trail are kept in: a folder, and whoever takes them by HTTPS.

Heads in the store can be taken away with the store, and what this host remembers with this host: a head that lies
elsewhere shows both. ``HeadPlaces`` hands each place the newest head and no other, since a head vouches for all
rows before it: what could not be handed over while a place was away is made good by the next one. So nothing waits
but one head a place, and no place keeps the gateway or another place waiting. Made and run by the composition root.

A line of the file, and the body of a request, is a head as ``GET /v1/audit/heads`` gives it, which is what
``tidegate audit verify --against`` reads.
"""

import asyncio
import contextlib
import json
import os
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from proxy.core.ports import Metrics
from proxy.core.trail import TrailHead

TIMEOUT = 10.0
"""Seconds that a place may take before it is told of as one that does not answer."""
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 300.0
ANSWER_MOST = 64 * 1024

Sleep = Callable[[float], Awaitable[None]]


class HeadPlace(Protocol):
    """``name``: a word for log and figures. ``put`` is called in a thread, with one head at a time, and returns
    when it is kept; ``OSError``, ``HTTPException`` or ``ValueError`` where it is not."""

    name: str

    def put(self, head: TrailHead) -> None: ...


class HeadFolder:
    """A file in a folder, one for each host, that is only ever appended to: a line of JSON for each head, on disk
    when it is told so. ``host`` is a part of the file's name."""

    name = "folder"

    def __init__(self, folder: Path, host: str) -> None:
        self.path = folder / f"heads-{host}.jsonl"

    def put(self, head: TrailHead) -> None:
        line = json.dumps(shown(head)).encode() + b"\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o640)
        try:
            # A line that a full disk cut short is ended first, so that it spoils no other.
            line = b"\n" + line if _torn(self.path) else line
            if os.write(descriptor, line) != len(line):
                raise OSError(f"{self.path} took a part of a line")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _torn(path: Path) -> bool:
    """Whether the file ends in the middle of a line."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


class HeadWebhook:
    """POSTs each head to an ``https`` URL; any answer of 200 to 299 says that it is kept. Redirects are not
    followed: they would take the token along. ``ca``: the file of the authority that is believed, or the system's
    (None); ``token`` is sent as a bearer's, where there is one."""

    name = "webhook"

    def __init__(self, url: str, ca: Path | None = None, token: Callable[[], str] = str) -> None:
        self._url = urlsplit(url)
        self._ca = ca
        self._token = token

    def put(self, head: TrailHead) -> None:
        context = ssl.create_default_context(cafile=str(self._ca) if self._ca else None)
        connection = HTTPSConnection(
            self._url.hostname or "", self._url.port or 443, timeout=TIMEOUT, context=context
        )
        headers = {"Content-Type": "application/json"}
        token = self._token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        path = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        try:
            connection.request("POST", path, json.dumps(shown(head)).encode(), headers)
            answer = connection.getresponse()
            answer.read(ANSWER_MOST)
            if not 200 <= answer.status < 300:
                raise OSError(f"it answered {answer.status}")
        finally:
            connection.close()


def shown(head: TrailHead) -> dict[str, Any]:
    """Return a head as the API gives it, and its instant to the last bit, which is what is signed."""
    at = datetime.fromtimestamp(head.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    names = ("seq", "digest", "kid", "signature", "origin")
    return {**{name: getattr(head, name) for name in names}, "at": at, "at_epoch": head.at}


class HeadPlaces:
    """``offer`` is called with each head that is committed; ``run`` hands them over, until cancelled."""

    def __init__(
        self, places: Sequence[HeadPlace], metrics: Metrics, log: Any, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._places = places
        self._metrics = metrics
        self._log = log
        self._sleep = sleep
        self._newest: TrailHead | None = None
        self._offered = asyncio.Event()

    def offer(self, head: TrailHead) -> None:
        """Have this head kept. One that was offered before is not handed over again."""
        if head != self._newest:
            self._newest = head
            offered, self._offered = self._offered, asyncio.Event()
            offered.set()

    async def run(self) -> None:
        """Hand heads over, each place at its own pace."""
        async with asyncio.TaskGroup() as tasks:
            for place in self._places:
                tasks.create_task(self._serve(place), name=f"heads to the {place.name}")

    async def _serve(self, place: HeadPlace) -> None:
        kept: TrailHead | None = None
        while True:
            offered = self._offered  # before what is newest is looked at: none can come unseen
            if self._newest is None or self._newest == kept:
                await offered.wait()
                continue
            kept = await self._handed(place)

    async def _handed(self, place: HeadPlace) -> TrailHead:
        """Try until a head is kept: the newest there is by then, which is returned."""
        pause = FIRST_BACKOFF
        while True:
            head = self._newest
            assert head is not None  # noqa: S101 (one was offered, and is never taken back)
            wrong = await self._tried(place, head)
            self._metrics.count("tidegate_heads_kept_total", place=place.name, result="failed" if wrong else "kept")
            if not wrong:
                return head
            self._log.error("a signed head is not kept elsewhere", place=place.name, problem=wrong, again_in=pause)
            await self._sleep(pause)
            pause = min(pause * 2, LONGEST_BACKOFF)

    async def _tried(self, place: HeadPlace, head: TrailHead) -> str:
        """What was wrong, "" where it is kept. One that hangs (a folder on a network) is told of and waited for:
        another try beside it would hang too."""
        work = apart(place.put, head)
        try:
            done, _ = await asyncio.wait({work}, timeout=TIMEOUT)
            if not done:
                self._log.error("a signed head is not kept elsewhere", place=place.name, problem="it hangs")
            await work
        except (OSError, HTTPException, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        return ""


def apart(put: Callable[[TrailHead], None], head: TrailHead) -> "asyncio.Future[None]":
    """Call ``put`` in a thread of its own, which keeps neither the pool's others nor the process's end waiting."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def run() -> None:
        failure = None
        try:
            put(head)
        except Exception as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=run, name="keep a head elsewhere", daemon=True).start()
    return future
