"""One side ends and the other goes on: over plain sockets and TLS, by the stream alone and by the relay."""

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from proxy.cli.demo.certificates import Authority
from proxy.core.errors import PeerError
from proxy.core.states import EndReason
from proxy.core.steps import Forward, Side, Step
from proxy.sessions import relay as relaying
from proxy.sessions.measures import up_to
from proxy.sessions.relay import Relay
from proxy.sessions.transport import Stream
from tests.fakes.echo import EchoInspector

VERSIONS = [None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
NAMES = ["plain", "TLS 1.2", "TLS 1.3"]


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority.create()
    authority.server().write(folder, "server")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.crt", folder / "server.key")
    return server, ssl.create_default_context(cafile=str(authority.write(folder)))


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


async def pair(contexts: Contexts, version: ssl.TLSVersion | None) -> tuple[Stream, Stream]:
    """Two ends of a TCP connection: the server's, the client's."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        far = socket.create_connection(listening.getsockname())
        near, _ = listening.accept()
    server, client = Stream(loop, near), Stream(loop, far)
    if version is not None:
        for context in contexts:
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, version
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.start_tls(contexts[0], server_side=True))
            tasks.create_task(client.start_tls(contexts[1], server_side=False, server_name="localhost"))
    return server, client


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@dataclass
class End:
    """One end that keeps what it is told."""

    stream: Stream
    got: bytearray = field(default_factory=bytearray)
    ends: list[Exception | None] = field(default_factory=list)
    told: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stream.attach(self.got.extend, self.ends.append, lambda: None)

    def shut(self) -> None:
        self.stream.shut(lambda: self.told.append(True))


@pytest.mark.parametrize("version", VERSIONS, ids=NAMES)
async def test_what_comes_after_our_end_is_whole(contexts: Contexts, version: ssl.TLSVersion | None) -> None:
    """The peer's bytes lie unread while our end is said, and go on after it: not one is lost."""
    server, client = await pair(contexts, version)
    far = End(client)
    for piece in (b"one ", b"two ", b"three "):
        client.write(piece)
    await asyncio.sleep(0.05)
    near = End(server)
    near.stream.hold()
    near.shut()
    await until(lambda: far.ends)
    client.write(b"four")
    far.shut()
    near.stream.release()
    await until(lambda: near.ends)
    assert bytes(near.got) == b"one two three four"
    assert (near.ends, far.ends, near.told, far.told) == ([None], [None], [True], [True])
    server.close()
    client.close()


@pytest.mark.parametrize("version", VERSIONS, ids=NAMES)
async def test_the_end_comes_after_all_that_was_kept(contexts: Contexts, version: ssl.TLSVersion | None) -> None:
    server, client = await pair(contexts, version)
    near, far = End(server), End(client)
    client.hold()
    data = bytes(range(256)) * 40_000
    server.write(data)
    near.shut()
    assert server.congested
    assert not near.told
    client.release()
    await until(lambda: far.ends)
    assert hashlib.sha256(far.got).digest() == hashlib.sha256(data).digest()
    assert (far.ends, near.told) == ([None], [True])
    server.close()
    client.close()


async def test_an_end_without_close_notify_is_an_error(contexts: Contexts) -> None:
    """Anybody on the way can make a FIN: half a message must not be taken for the whole."""
    server, client = await pair(contexts, ssl.TLSVersion.TLSv1_3)
    near = End(server)
    client.write(b"half")
    client.close()
    await until(lambda: near.ends)
    assert bytes(near.got) == b"half"
    assert isinstance(near.ends[0], OSError)
    server.close()


async def test_an_error_after_the_end_is_told_too(contexts: Contexts) -> None:
    server, client = await pair(contexts, None)
    near = End(server)
    client.close()
    await until(lambda: near.ends)
    while len(near.ends) == 1:
        server.write(b"x")
        await asyncio.sleep(0.001)
    assert near.ends[0] is None
    assert isinstance(near.ends[1], OSError)
    server.close()


async def test_a_reset_that_the_loop_did_not_tell_is_found_and_is_no_end(contexts: Contexts) -> None:
    """libuv watches a socket no more once it has an error; what came before it is read, and the error told."""
    server, client = await pair(contexts, None)
    near = End(server)
    asyncio.get_running_loop().remove_reader(server._sock.fileno())
    client.write(b"last words")
    await asyncio.sleep(0.02)
    server.look()
    await until(lambda: near.got == b"last words")
    client.close(reset=True)
    await asyncio.sleep(0.02)
    assert near.ends == []
    server.look()
    await until(lambda: near.ends)
    assert isinstance(near.ends[0], ConnectionResetError)
    server.close()


# -- reading ahead


@pytest.mark.parametrize("version", VERSIONS, ids=NAMES)
@pytest.mark.parametrize("held", [False, True])
async def test_what_stands_behind_a_head_comes_first(
    contexts: Contexts, version: ssl.TLSVersion | None, held: bool
) -> None:
    server, client = await pair(contexts, version)
    await client.send(b"head\r\n\r\nearly " + b"x" * 30_000)
    assert await server.read_one(up_to(b"\r\n\r\n"), 100) == b"head\r\n\r\n"
    assert server.bytes_read == 8
    near = End(server)
    if held:
        server.hold()
        await asyncio.sleep(0.02)
        assert not near.got
        server.release()
    await client.send(b" late")
    await until(lambda: near.got.endswith(b" late"))
    assert bytes(near.got) == b"early " + b"x" * 30_000 + b" late"
    assert server.bytes_read == 8 + len(near.got)
    server.close()
    client.close()


async def test_a_head_may_come_byte_by_byte_and_may_not_be_too_long(contexts: Contexts) -> None:
    server, client = await pair(contexts, None)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(server.read_one(up_to(b"\r\n\r\n"), 10))
        for byte in b"123456\r\n\r\n":
            await client.send(bytes([byte]))
            await asyncio.sleep(0.001)
    assert reading.result() == b"123456\r\n\r\n"
    server.close()
    client.close()
    server, client = await pair(contexts, None)
    await client.send(b"1234567\r\n\r\n")
    with pytest.raises(PeerError) as refusal:
        await server.read_one(up_to(b"\r\n\r\n"), 10)
    assert refusal.value.code == "too_long"
    server.close()
    client.close()


async def test_no_tls_after_something_was_read_ahead(contexts: Contexts) -> None:
    server, client = await pair(contexts, None)
    await client.send(b"head\n and more")
    await server.read_one(up_to(b"\n"), 100)
    with pytest.raises(PeerError):
        await server.start_tls(contexts[0], server_side=True)
    server.close()
    client.close()


# -- the relay


class Bytes(EchoInspector):
    """Any bytes, and both sides outlive each other."""

    def feed(self, side: Side, chunk: bytes) -> Sequence[Step]:
        return [Forward(chunk)]

    def outlives(self, side: Side) -> bool:
        return True


class Recorder:
    def write(self, record: object) -> None: ...


@dataclass
class Between:
    """A relay between ``client`` and ``target``, which are the far ends."""

    client: End
    target: End
    relay: Relay
    ended: list[tuple[EndReason, str]]
    near: tuple[Stream, Stream]

    def close(self) -> None:
        for each in (*self.near, self.client.stream, self.target.stream):
            each.close()


async def between(contexts: Contexts, version: ssl.TLSVersion | None) -> Between:
    near_client, client = await pair(contexts, version)
    near_target, target = await pair(contexts, None)
    ended: list[tuple[EndReason, str]] = []
    relay = Relay(
        Bytes(), cast(Any, Recorder()), near_client, near_target, lambda *end: ended.append(end), lambda: 0.0
    )
    relay.start(cast(Any, None))
    return Between(End(client), End(target), relay, ended, (near_client, near_target))


@pytest.mark.parametrize("version", VERSIONS, ids=NAMES)
@pytest.mark.parametrize("first", [Side.CLIENT, Side.TARGET])
async def test_the_other_side_goes_on_until_it_ends_too(
    contexts: Contexts, version: ssl.TLSVersion | None, first: Side
) -> None:
    line = await between(contexts, version)
    one, other = (line.client, line.target) if first is Side.CLIENT else (line.target, line.client)
    data = bytes(range(256)) * 20_000
    one.stream.write(data)
    one.shut()
    await until(lambda: other.ends)
    assert (bytes(other.got) == data, other.ends, line.ended) == (True, [None], [])
    assert not line.relay.target_gone
    other.stream.write(data[::-1])
    other.shut()
    await until(lambda: line.ended)
    await until(lambda: one.ends)
    assert bytes(one.got) == data[::-1]
    reason = EndReason.CLIENT_CLOSED if first is Side.CLIENT else EndReason.TARGET_CLOSED
    assert line.ended == [(reason, "")]
    assert line.relay.target_gone
    line.relay.freeze(None)
    line.close()


async def test_a_reset_between_the_ends_ends_it(contexts: Contexts) -> None:
    line = await between(contexts, ssl.TLSVersion.TLSv1_3)
    line.client.stream.write(b"x")
    line.client.shut()
    await until(lambda: line.target.ends)
    line.target.stream.close(reset=True)
    await until(lambda: line.ended)
    assert line.ended[0][0] is EndReason.TARGET_CLOSED
    line.relay.freeze(None)
    line.close()


async def test_a_client_that_leaves_without_a_word_after_the_target_has_ended(contexts: Contexts) -> None:
    line = await between(contexts, ssl.TLSVersion.TLSv1_3)
    line.target.shut()
    await until(lambda: line.client.ends)
    line.client.stream.close()
    await until(lambda: line.ended)
    assert line.ended[0][0] is EndReason.TARGET_CLOSED
    line.relay.freeze(None)
    line.close()


async def test_a_side_that_has_nothing_to_say_is_not_waited_for(
    contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "LINGER", 0.05)
    line = await between(contexts, None)
    line.client.shut()
    await until(lambda: line.ended)
    ((reason, detail),) = line.ended
    assert reason is EndReason.CLIENT_CLOSED
    assert "nothing moved" in detail
    line.relay.freeze(None)
    line.close()


async def test_a_side_that_still_speaks_is(contexts: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "LINGER", 0.2)
    line = await between(contexts, None)
    line.client.shut()
    for _ in range(20):
        line.target.stream.write(b"x")
        await asyncio.sleep(0.03)
    assert line.ended == []
    line.target.shut()
    await until(lambda: line.ended)
    assert line.ended == [(EndReason.CLIENT_CLOSED, "")]
    line.relay.freeze(None)
    line.close()


async def test_after_the_end_a_sides_end_is_its_end(contexts: Contexts) -> None:
    """Cut: nobody waits for a half any more."""
    line = await between(contexts, None)
    line.relay.freeze(None)
    line.target.stream.close()
    await until(lambda: line.relay.target_gone)
    line.close()
