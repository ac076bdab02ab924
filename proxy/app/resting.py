"""uvicorn's server without its ten looks a second: it is told when to stop, and the date is made when it is needed.

Made once, by ``api``. Knows no route.
"""

import asyncio
from email.utils import formatdate
from types import FrameType

import uvicorn
from uvicorn.server import ServerState

Headers = list[tuple[bytes, bytes]]


class DatedState(ServerState):
    """What uvicorn's protocols share, with the headers of an answer as of now."""

    @property
    def default_headers(self) -> Headers:
        """The date (RFC 9110, section 6.6.1) and what the server says besides."""
        return [(b"date", formatdate(usegmt=True).encode()), *self._others]

    @default_headers.setter
    def default_headers(self, headers: Headers) -> None:
        """Called at every tick, of which there are two, with a date that will be old."""
        self._others = [each for each in headers if each[0] != b"date"]


class RestingServer(uvicorn.Server):
    """As ``uvicorn.Server``; once it serves, only ``handle_exit`` stops it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.server_state = DatedState()
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        """Serve until told to stop."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            await self._told.wait()
            self._told.clear()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See ``uvicorn.Server``. A signal's handler: it may come between any two lines of the loop's."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._told.set)
