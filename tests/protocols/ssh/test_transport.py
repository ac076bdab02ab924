"""A line of the kernel's under asyncssh: in order, in slices, and never so long that the others wait."""

import asyncio
import time
from typing import Any, cast

import pytest

from proxy.protocols.ssh import transport as transports
from proxy.protocols.ssh.transport import SLICE, TURN, StreamTransport
from proxy.sessions.transport import Stream


class Line:
    """Stands for a stream: what is called, and whether it is read."""

    closed = congested = False

    def __init__(self) -> None:
        self.read = False

    def attach(self, on_data: Any, on_end: Any, on_drain: Any) -> None:
        self.data, self.end, self.drain = on_data, on_end, on_drain
        self.read = True

    def hold(self) -> None:
        self.read = False

    def release(self) -> None:
        self.read = True


class Listener(asyncio.Protocol):
    """Takes so long over each slice."""

    def __init__(self, takes: float) -> None:
        self.takes = takes
        self.heard = b""
        self.lost: Exception | None = None
        self.resumed = 0

    def resume_writing(self) -> None:
        self.resumed += 1

    def data_received(self, data: bytes) -> None:
        assert self.lost is None and len(data) <= SLICE
        self.heard += data
        time.sleep(self.takes)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc


READ = bytes(range(256)) * 1024


def talk(takes: float, may_pass: Any = None) -> tuple[Line, Listener, StreamTransport]:
    line, listener = Line(), Listener(takes)
    transport = StreamTransport(asyncio.get_running_loop(), cast(Stream, line), may_pass)
    transport.start(listener)
    return line, listener, transport


async def turns(line: Line) -> int:
    """Turns of the loop until the line is read again."""
    for number in range(100):
        if line.read:
            return number
        await asyncio.sleep(0)
    return 100


async def test_a_read_that_is_dealt_with_at_once_takes_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "TURN", 60.0)  # this process may have to wait for its own turn
    line, listener, _ = talk(0)
    line.data(READ)
    assert listener.heard == READ and line.read


async def test_what_takes_long_lets_the_others_have_their_turn() -> None:
    line, listener, _ = talk(TURN * 1.5)
    line.data(READ)
    assert listener.heard == READ[:SLICE] and not line.read
    assert await turns(line) == len(READ) // SLICE - 1
    assert listener.heard == READ


async def test_a_line_that_is_full_or_held_is_not_read_for_it() -> None:
    line, listener, transport = talk(TURN * 1.5)
    line.data(READ)
    line.drain()  # what was written has gone, but a chunk is still being dealt with
    assert not line.read
    line.congested = True
    assert await turns(line) == 100 and listener.heard == READ
    line.congested = False
    line.drain()
    assert line.read and listener.resumed == 2
    line.data(READ)
    transport.freeze()
    assert await turns(line) == 100 and len(listener.heard) == len(READ) + SLICE


async def test_what_is_left_is_not_heard_when_the_line_is_gone_or_may_not_pass() -> None:
    line, listener, _ = talk(TURN * 1.5)
    line.data(READ)
    line.end(OSError("gone"))
    await turns(line)
    assert listener.heard == READ[:SLICE] and isinstance(listener.lost, OSError)
    answers = iter((True, False))
    line, listener, _ = talk(TURN * 1.5, lambda: next(answers))
    line.data(READ)
    assert await turns(line) == 100 and listener.heard == READ[:SLICE]
