"""Where inspectors have long work done: in another process, so that the loop keeps the interpreter to itself. A
thread would not do: one regular expression over a long text holds it from the first byte to the last.

One ``Workshop`` for each worker, owned by ``services``; used by ``relay`` for what an inspector's ``Think`` asks
for. It has two benches, one for short texts and one for long ones, each with a process that is started when it is
first needed and does one piece of work at a time. What is not done in time, or whose process dies, fails: the
session that asked ends, since what was not looked at cannot be recorded. The next gets a new process. Knows no
protocol.
"""

import asyncio
import contextlib
import json
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from proxy.core.errors import Unavailable
from proxy.sessions.workman import LENGTHS

PATIENCE = 60.0
"""Seconds that one piece of work may take."""
LONG = 64 * 1024
"""Bytes from which on a text is for the second bench: so short ones never wait for it."""
PIECE = 64 * 1024
"""Bytes that are copied in one turn of the loop."""
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from proxy.sessions.workman import main; main()"


class Workshop:
    """``do`` long work; ``close`` when nobody needs it any more."""

    def __init__(self) -> None:
        self._benches = (_Bench(), _Bench())

    async def do(self, work: Callable[[bytes], object], data: bytes) -> object:
        """``work(data)``, called in the other process: it must be a function of a module, or a partial of one with
        arguments that can be pickled. ``Unavailable`` when it could not be done."""
        return await self._benches[len(data) >= LONG].do(work, data)

    def close(self) -> None:
        """End the processes."""
        for bench in self._benches:
            bench.clear()


class _Bench:
    """One process, one piece of work at a time."""

    def __init__(self) -> None:
        self._free = asyncio.Lock()
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def do(self, work: Callable[[bytes], object], data: bytes) -> object:
        async with self._free:
            try:
                async with asyncio.timeout(PATIENCE):
                    done, result = await self._exchange(pickle.dumps(work, protocol=5), data)
            except BaseException as error:  # whatever it was, an answer would be taken for that of the next
                self.clear()
                if isinstance(error, OSError):  # TimeoutError is one
                    raise Unavailable("a long statement could not be looked at", detail=str(error)) from error
                raise
        if not done:
            raise Unavailable("a long statement could not be looked at", detail=str(result))
        return result

    async def _exchange(self, call: bytes, data: bytes) -> tuple[bool, object]:
        loop, line = asyncio.get_running_loop(), self._line or await self._start()
        await loop.sock_sendall(line, LENGTHS.pack(len(call), len(data)) + call)
        view = memoryview(data)
        for at in range(0, len(data), PIECE):
            await loop.sock_sendall(line, view[at : at + PIECE])
        size, _ = LENGTHS.unpack(await _read(line, LENGTHS.size))
        answer: tuple[bool, Any] = pickle.loads(await _read(line, size))  # noqa: S301 - our own process's
        return answer

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-I", "-c", _BOOT, json.dumps(sys.path)]
            loop = asyncio.get_running_loop()
            try:
                self._process = await loop.run_in_executor(None, lambda: _started(command, theirs))
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self._line = ours
        return ours

    def clear(self) -> None:
        """End the process, whatever it is at."""
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
        self._line = self._process = None


def _started(command: list[str], theirs: socket.socket) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)  # noqa: S603 - ourselves


async def _read(line: socket.socket, size: int) -> bytes:
    """``size`` bytes. ``ConnectionError`` when the process is gone."""
    loop, parts = asyncio.get_running_loop(), []
    while size:
        part = await loop.sock_recv(line, min(size, PIECE))
        if not part:
            raise ConnectionError("the process that looks at long statements has ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
