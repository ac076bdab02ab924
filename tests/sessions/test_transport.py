"""The stream over real sockets: pull and push mode, TLS, half-close, back-pressure, and no plaintext injection."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import ClassVar

import pytest

from proxy.cli.demo.certificates import Authority
from proxy.core.errors import PeerError
from proxy.sessions.dialling import connect
from proxy.sessions.sizes import CALM, HIGH_WATER, READ_SIZE, SMALL_READ
from proxy.sessions.transport import Stream


def pair() -> tuple[Stream, Stream]:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    return Stream(loop, left), Stream(loop, right)


async def until(condition, patience: float = 5.0) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_reads_exactly_and_never_more() -> None:
    left, right = pair()
    await left.send(b"abcdef")
    assert await right.read_exactly(2) == b"ab"
    assert await right.peek() == b"c"
    assert await right.read_exactly(4) == b"cdef"
    left.close()
    with pytest.raises(PeerError):
        await right.read_exactly(1)
    right.close()


async def test_push_mode_hands_over_every_chunk_and_the_end_once() -> None:
    left, right = pair()
    got = bytearray()
    ends: list[Exception | None] = []
    right.attach(got.extend, ends.append, lambda: None)
    left.write(b"x" * 300_000)
    await until(lambda: len(got) == 300_000)
    left.close()
    await until(lambda: ends)
    assert ends == [None]
    right.close()


@pytest.mark.parametrize("size", [1, SMALL_READ - 1, SMALL_READ, SMALL_READ + 1, READ_SIZE, READ_SIZE + SMALL_READ])
async def test_what_was_sent_at_once_is_one_chunk_however_little_was_asked_for(size: int) -> None:
    left, right = pair()
    got: list[bytes] = []
    right.attach(got.append, lambda error: None, lambda: None)
    for number in range(2 * CALM):
        left.write(b"x" * (size if number % (CALM + 2) == 0 else 5))
        await until(lambda number=number: sum(map(len, got)) == left.bytes_written and len(got) == number + 1)
    assert right._read_size == (READ_SIZE if size >= SMALL_READ else SMALL_READ)
    left.close()
    right.close()


async def test_after_a_reset_what_came_before_is_handed_over_and_the_error_too() -> None:
    class Resets(socket.socket):
        """Gives a small read's worth, and then what a reset gives: an error once, and an end from then on."""

        answers: ClassVar[list[bytes | OSError]] = []

        def recv(self, size: int, flags: int = 0, /) -> bytes:
            answer = self.answers.pop(0) if self.answers else b""
            if isinstance(answer, OSError):
                raise answer
            return answer

    left, right = socket.socketpair()
    sock = Resets(fileno=right.detach())
    sock.answers += [b"x" * SMALL_READ, ConnectionResetError("reset")]
    stream, told = Stream(asyncio.get_running_loop(), sock), list[object]()
    stream.attach(told.append, told.append, lambda: None)
    left.send(b"go")
    await until(lambda: len(told) > 1)
    assert told[0] == b"x" * SMALL_READ and isinstance(told[1], ConnectionResetError)
    stream.close()
    left.close()


async def test_a_peer_that_does_not_read_congests_and_drains_in_order() -> None:
    left, right = pair()
    drained: list[bool] = []
    left.attach(lambda chunk: None, lambda error: None, lambda: drained.append(True))
    data = bytes(range(256)) * 8192
    left.write(data)
    assert left.congested
    assert left.stalled_since is not None
    assert await right.read_exactly(len(data)) == data
    await until(lambda: drained)
    assert left.stalled_since is None
    left.close()
    right.close()
    assert len(data) > HIGH_WATER


async def test_held_streams_are_not_read() -> None:
    left, right = pair()
    got = bytearray()
    right.attach(got.extend, lambda error: None, lambda: None)
    right.hold()
    left.write(b"later")
    await asyncio.sleep(0.02)
    assert not got
    right.release()
    await until(lambda: bytes(got) == b"later")
    left.close()
    right.close()


async def test_closing_while_waiting_wakes_the_reader() -> None:
    left, right = pair()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(refused(right))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        right.close()
    assert waiting.result()
    left.close()


async def refused(stream: Stream) -> bool:
    try:
        await stream.read_exactly(1)
    except PeerError:
        return True
    return False


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = Authority.create()
    certificate, key = authority.server().write(tmp_path, "gateway")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(authority.write(tmp_path)))
    return server, client


async def secured(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> tuple[Stream, Stream]:
    left, right = pair()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(left.start_tls(contexts[0], server_side=True))
        tasks.create_task(right.start_tls(contexts[1], server_side=False, server_name="localhost"))
    return left, right


async def test_tls_both_modes_and_a_farewell_that_arrives(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = await secured(contexts)
    assert server.tls is not None
    await client.send(b"hello")
    assert await server.read_exactly(5) == b"hello"
    got = bytearray()
    ends: list[Exception | None] = []
    client.attach(got.extend, ends.append, lambda: None)
    server.write(b"y" * 200_000 + b"farewell")
    assert await server.finish(2.0)
    await until(lambda: ends)
    assert got.endswith(b"farewell")
    assert ends == [None]
    client.close()
    server.close()


async def test_plaintext_sent_before_the_handshake_is_never_read_as_encrypted(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    """CVE-2021-3935: bytes smuggled in behind the request must meet the handshake and fail it."""
    left, right = pair()
    await right.send(b"SSLREQ!!INJECTED PLAINTEXT")
    assert await left.read_exactly(8) == b"SSLREQ!!"
    with pytest.raises(PeerError, match="TLS"):
        await left.start_tls(contexts[0], server_side=True)
    left.close()
    right.close()


async def test_connecting_to_nothing_names_no_address_in_public() -> None:
    from proxy.core.errors import Unreachable

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(Unreachable) as caught:
        await connect(asyncio.get_running_loop(), (("127.0.0.1", port),), 1.0)
    assert str(port) not in caught.value.public
    assert str(port) in caught.value.detail


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """A name that has these addresses."""

    async def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        resolving(monkeypatch, ("127.0.0.2", port), ("127.0.0.1", port))
        stream, reached = await connect(asyncio.get_running_loop(), (("db.internal", port),), 5.0)
        assert (reached.host, reached.port) == ("db.internal", port)
        assert reached.again == ("127.0.0.1", port), "the server that answered, not the first of the name"
        stream.close()


async def test_an_address_that_swallows_everything_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    tried: list[int] = []

    async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
        tried.append(address[1])
        if address[1] != 3:
            await asyncio.Event().wait()

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    resolving(monkeypatch, ("192.0.2.1", 1), ("192.0.2.1", 2), ("192.0.2.1", 3))
    stream, _ = await connect(loop, (("db.internal", 5432),), 0.3)
    assert tried == [1, 2, 3]
    stream.close()


async def test_a_name_whose_addresses_are_all_silent_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.core.errors import Unreachable

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "sock_connect", lambda *_: asyncio.Event().wait())
    resolving(monkeypatch, ("192.0.2.1", 1), ("192.0.2.1", 2))
    with pytest.raises(Unreachable) as caught:
        await connect(loop, (("db.internal", 5432),), 0.1)
    assert "timed out" in caught.value.detail


async def test_reads_one_after_the_other_and_hands_over_the_rest() -> None:
    left, right = pair()

    def size(taken: bytearray) -> int:
        """Told by the first byte, before the rest is there."""
        return taken[0]

    await left.send(b"\x03ab\x04cd")
    assert await right.read_one(size, 10) == b"\x03ab"
    async with asyncio.TaskGroup() as tasks:
        second = tasks.create_task(right.read_one(size, 10))
        await asyncio.sleep(0.01)
        await left.send(b"e\x02fghi")
    assert second.result() == b"\x04cde"
    assert right.bytes_read == 7
    assert await right.read_one(size, 10) == b"\x02f"
    seen: list[bytes] = []
    right.attach(seen.append, lambda _: None, lambda: None)
    await until(lambda: seen)
    await left.send(b"jk")
    await until(lambda: len(seen) > 1)
    assert (b"".join(seen), right.bytes_read) == (b"ghijk", 14)
    left.close()
    right.close()


async def test_what_is_too_long_is_refused_as_soon_as_it_says_so() -> None:
    left, right = pair()
    await left.send(b"\x0bab")
    with pytest.raises(PeerError) as refusal:
        await right.read_one(lambda taken: taken[0], 10)
    assert refusal.value.code == "too_long"
    left.close()
    right.close()
