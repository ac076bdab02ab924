"""The local side of ``connect`` against a gateway: who gets in, with what, and what passes."""

import asyncio
import stat
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.cli.connect import wire
from proxy.cli.connect.local import local_port, private_socket
from proxy.cli.connect.postgres import Gateway, Pass, Relay, read_message
from proxy.cli.connect.wire import Startup
from proxy.cli.failures import DENIED, Failed
from tests.cli.gateway import AUTHENTICATED, READY, FakeGateway, fake_gateway

STARTUP = Startup(0x30000, {"user": "whoever", "database": "shop", "application_name": "psql"}).packed()
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Passes:
    """Gives a different token each time, and counts."""

    def __init__(self) -> None:
        self.given = 0
        self.failure: Failed | None = None

    async def __call__(self) -> Pass:
        self.given += 1
        if self.failure:
            raise self.failure
        return Pass("readonly", f"token-{self.given}")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[FakeGateway]:
    async with fake_gateway(tmp_path) as gateway:
        yield gateway


async def opened(port: int) -> Line:
    return await asyncio.open_connection("127.0.0.1", port)


async def logged_in(line: Line) -> None:
    reader, writer = line
    writer.write(STARTUP)
    assert await reader.readexactly(len(AUTHENTICATED + READY)) == AUTHENTICATED + READY


async def closed(line: Line) -> bytes:
    """What is still said until the other side ends."""
    reader, writer = line
    said = await reader.read()
    writer.close()
    return said


async def test_each_connection_is_the_account_with_a_token_of_its_own(gateway: FakeGateway) -> None:
    passes = Passes()
    async with local_port(Relay(gateway.reached(), passes), 0) as port:
        for _ in range(2):
            line = await opened(port)
            await logged_in(line)
            line[1].write(b"hello")
            assert await line[0].readexactly(5) == b"hello"
            line[1].close()
    assert gateway.passwords == [b"token-1", b"token-2"]
    assert gateway.startups[0].parameters == {
        "user": "readonly",
        "database": "shop",
        "application_name": "psql",
    }
    assert gateway.alpn == ["postgresql", "postgresql"]


async def test_much_passes_both_ways(gateway: FakeGateway) -> None:
    async with local_port(Relay(gateway.reached(), Passes()), 0) as port:
        reader, writer = line = await opened(port)
        await logged_in(line)
        sent = bytes(range(256)) * 8192
        async with asyncio.TaskGroup() as tasks:
            back = tasks.create_task(reader.readexactly(len(sent)))
            writer.write(sent)
            await writer.drain()
        assert back.result() == sent
        writer.close()


async def test_the_gateways_last_words_reach_the_client(gateway: FakeGateway) -> None:
    async with local_port(Relay(gateway.reached(), Passes()), 0) as port:
        line = await opened(port)
        await logged_in(line)
        line[1].write(b"end")
        assert b"C57P01\0Mcut" in await closed(line)


async def test_a_refused_token_is_told_in_the_gateways_words(gateway: FakeGateway) -> None:
    gateway.accepts = {b"another"}
    async with local_port(Relay(gateway.reached(), Passes()), 0) as port:
        line = await opened(port)
        line[1].write(STARTUP)
        said = await closed(line)
    assert b"the token is not valid" in said
    assert b"token-1" not in said


async def test_what_comes_before_the_question_is_passed_on(gateway: FakeGateway) -> None:
    gateway.greeting = wire.message(b"v", struct.pack("!II", 0x30000, 0))
    async with local_port(Relay(gateway.reached(), Passes()), 0) as port:
        reader, writer = await opened(port)
        writer.write(STARTUP)
        assert await read_message(reader) == (b"v", struct.pack("!II", 0x30000, 0))
        assert await read_message(reader) == (b"R", struct.pack("!I", 0))
        writer.close()


async def test_no_grant_is_told_as_such(gateway: FakeGateway) -> None:
    passes = Passes()
    passes.failure = Failed("you have no active grant for shop", hint="ask for one", code=DENIED)
    async with local_port(Relay(gateway.reached(), passes), 0) as port:
        line = await opened(port)
        line[1].write(STARTUP)
        said = await closed(line)
    assert b"C28000\0Mtidegate: you have no active grant for shop\0Hask for one\0" in said
    assert gateway.passwords == []


async def test_encryption_is_declined_and_asked_for_only_so_often(gateway: FakeGateway) -> None:
    async with local_port(Relay(gateway.reached(), Passes()), 0) as port:
        line = reader, writer = await opened(port)
        for code in (wire.GSS_REQUEST, wire.SSL_REQUEST):
            writer.write(struct.pack("!II", 8, code))
            assert await reader.readexactly(1) == b"N"
        await logged_in(line)
        writer.close()
        reader, writer = line = await opened(port)
        writer.write(struct.pack("!II", 8, wire.SSL_REQUEST) * 3)
        assert b"again and again" in await closed(line)


async def test_a_cancel_travels_on_a_connection_of_its_own_and_ends_when_it_was_dealt_with(
    gateway: FakeGateway,
) -> None:
    packet = struct.pack("!IIII", 16, wire.CANCEL_REQUEST, 7, 1234)
    async with local_port(Relay(gateway.reached(), Passes(), secret="not asked of a cancel"), 0) as port:
        line = await opened(port)
        line[1].write(packet)
        assert await closed(line) == b""
    assert gateway.cancels == [packet]
    assert gateway.startups == []


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n\r\n", struct.pack("!II", 3, 0), struct.pack("!II", 9999999, 0)]
)
async def test_other_protocols_are_sent_away(gateway: FakeGateway, first: bytes) -> None:
    async with local_port(Relay(gateway.reached(), Passes()), 0) as port:
        line = await opened(port)
        line[1].write(first)
        assert b"no PostgreSQL startup packet" in await closed(line)
    assert gateway.startups == []


@pytest.mark.parametrize(("given", "in_"), [("s3cret", True), ("s3cre", False), ("", False)])
async def test_the_local_secret_is_asked_before_anything_is_dialled(
    gateway: FakeGateway, given: str, in_: bool
) -> None:
    async with local_port(Relay(gateway.reached(), Passes(), secret="s3cret"), 0) as port:
        reader, writer = line = await opened(port)
        writer.write(STARTUP)
        assert await reader.readexactly(9) == wire.CLEARTEXT
        writer.write(wire.password(given))
        if in_:
            assert await reader.readexactly(len(AUTHENTICATED)) == AUTHENTICATED
            writer.close()
        else:
            assert b"C28P01" in await closed(line)
    assert len(gateway.startups) == int(in_)


async def test_a_gateway_with_a_foreign_certificate_gets_nothing(gateway: FakeGateway, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with fake_gateway(other) as foreign:
        mixed = Gateway(foreign.host, foreign.port, gateway.reached().tls)
        async with local_port(Relay(mixed, Passes()), 0) as port:
            line = await opened(port)
            line[1].write(STARTUP)
            assert b"not trusted" in await closed(line)
        assert foreign.startups == []


async def test_a_gateway_that_is_away_is_told_as_such(gateway: FakeGateway) -> None:
    nowhere = Gateway("127.0.0.1", 1, gateway.reached().tls)
    async with local_port(Relay(nowhere, Passes()), 0) as port:
        line = await opened(port)
        line[1].write(STARTUP)
        assert b"cannot be reached" in await closed(line)


async def test_a_gateway_that_asks_for_another_log_in_gets_no_token(gateway: FakeGateway) -> None:
    gateway.greeting = wire.message(b"R", struct.pack("!I", 5) + b"salt")
    async with local_port(Relay(gateway.reached(), Passes()), 0) as port:
        line = await opened(port)
        line[1].write(STARTUP)
        assert b"does not know" in await closed(line)
    assert gateway.passwords in ([], [b""])


async def test_the_socket_is_private_and_goes(gateway: FakeGateway) -> None:
    async with private_socket(Relay(gateway.reached(), Passes())) as folder:
        path = folder / ".s.PGSQL.5432"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        line = await asyncio.open_unix_connection(path)
        await logged_in(line)
    assert await line[0].read() == b""
    line[1].close()
    assert not folder.exists()


async def test_a_port_in_use_is_said_plainly(gateway: FakeGateway) -> None:
    with pytest.raises(Failed, match="cannot be used"):
        async with local_port(Relay(gateway.reached(), Passes()), gateway.port):
            pass
