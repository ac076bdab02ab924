"""The hostile line does what it says: otherwise tests on it prove nothing."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.peers.line import Line, Way, line

BLOB = bytes(range(256)) * 400


class Target:
    """An echo server that remembers how its connections began and ended."""

    def __init__(self) -> None:
        self.reads: list[bytes] = []
        self.ended_with: asyncio.Queue[str] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(CHUNK):
                self.reads.append(chunk)
                writer.write(chunk)
                await writer.drain()
            self.ended_with.put_nowait("end of file")
        except ConnectionError:
            self.ended_with.put_nowait("reset")
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


CHUNK = 65_536


@asynccontextmanager
async def echo(
    *, up: Way | None = None, down: Way | None = None, buffer: int = 0
) -> AsyncIterator[tuple[Target, Line, asyncio.StreamReader, asyncio.StreamWriter]]:
    target = Target()
    server = await asyncio.start_server(target.serve, "127.0.0.1", 0)
    async with server, line(*server.sockets[0].getsockname()[:2], up=up, down=down, buffer=buffer) as hostile:
        reader, writer = await asyncio.open_connection(hostile.host, hostile.port)
        try:
            yield target, hostile, reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def test_a_line_without_faults_carries_everything() -> None:
    async with echo() as (target, hostile, reader, writer):
        writer.write(BLOB)
        writer.write_eof()
        assert hashlib.sha256(await reader.read()).digest() == hashlib.sha256(BLOB).digest()
        assert (hostile.up.carried, hostile.down.carried, hostile.accepted) == (len(BLOB), len(BLOB), 1)
        assert await target.ended_with.get() == "end of file"


async def test_slices_arrive_one_by_one() -> None:
    async with echo(up=Way(slice=1, delay=0.001)) as (target, _, reader, writer):
        writer.write(b"abcdef")
        assert await reader.readexactly(6) == b"abcdef"
        assert len(target.reads) > 1
        assert max(map(len, target.reads)) < 6


async def test_slices_in_the_other_direction_only() -> None:
    async with echo(down=Way(slice=7)) as (_, hostile, reader, writer):
        writer.write(BLOB[:1000])
        assert await reader.readexactly(1000) == BLOB[:1000]
        assert hostile.up.slice == 0


async def test_bandwidth_bounds_the_rate() -> None:
    loop = asyncio.get_running_loop()
    async with echo(up=Way(bandwidth=20_000, slice=500)) as (_, _, reader, writer):
        started = loop.time()
        writer.write(BLOB[:4_000])
        await reader.readexactly(4_000)
        assert loop.time() - started >= 0.2


async def test_a_frozen_way_carries_nothing_until_it_thaws() -> None:
    async with echo() as (target, hostile, reader, writer):
        hostile.up.freeze()
        writer.write(b"held")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        assert target.reads == []
        hostile.up.thaw()
        assert await reader.readexactly(4) == b"held"


async def test_a_frozen_way_pushes_back_once_its_buffers_are_full() -> None:
    async with echo(buffer=4096) as (_, hostile, _, writer):
        hostile.up.freeze()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                for _ in range(1000):
                    writer.write(BLOB)
                    await writer.drain()
        assert hostile.up.carried <= CHUNK
        writer.transport.abort()


async def test_reset_after_so_many_bytes_is_a_reset_on_both_sides() -> None:
    async with echo(up=Way(reset_after=10)) as (target, hostile, reader, writer):
        writer.write(BLOB)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert await target.ended_with.get() == "reset"
        assert b"".join(target.reads) in (BLOB[:10], b"")  # a reset may overtake what was not read yet
        assert hostile.up.carried == 10


async def test_reset_now() -> None:
    async with echo() as (target, hostile, reader, writer):
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        hostile.reset()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert await target.ended_with.get() == "reset"
        assert hostile.live == 0


async def test_half_close_ends_one_direction_and_leaves_the_other() -> None:
    async with echo(up=Way(half_close_after=5)) as (target, _, reader, writer):
        writer.write(b"hello world")
        assert await reader.read() == b"hello"
        assert await target.ended_with.get() == "end of file"


async def test_a_target_that_is_not_there_is_a_reset() -> None:
    async with line("127.0.0.1", 1) as hostile:
        reader, writer = await asyncio.open_connection(hostile.host, hostile.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_the_end_of_the_line_closes_what_lives() -> None:
    async with line("127.0.0.1", 1):
        pass
    async with echo() as (target, hostile, reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        assert hostile.live == 1
    assert hostile.live == 0
    assert target.ended_with.qsize() == 1
