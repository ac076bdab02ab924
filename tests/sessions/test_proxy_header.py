"""Who a load balancer speaks for: every form of the header, and nothing that is none; then with the kernel."""

import asyncio
import socket
import struct
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import PeerError
from proxy.sessions.proxy_header import SIGNATURE, announced, named_in_binary
from proxy.sessions.services import Settings
from proxy.sessions.transport import Stream
from tests.sessions.test_kernel import a_world, connected

SETTINGS = Settings(startup_timeout=0.3, login_timeout=2, shutdown_grace=0.1, pending_per_source=1)


def binary(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes((command, family)) + struct.pack(">H", len(body)) + body


V4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("10.0.0.1") + struct.pack(">HH", 1234, 5432)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") * 2 + struct.pack(">HH", 1234, 5432)


async def read_of(sent: bytes) -> tuple[str | None, bytes]:
    """What the header says, and what is left on the line after it."""
    here, there = socket.socketpair()
    stream = Stream(asyncio.get_running_loop(), here)
    try:
        there.sendall(sent)
        there.shutdown(socket.SHUT_WR)
        client = await announced(stream)
        rest = b""
        while chunk := here.recv(4096):
            rest += chunk
        return client, rest
    finally:
        stream.close()
        there.close()


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 1234 5432\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 1234 5432\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", ""),
        (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", ""),
        (binary(0x21, 0x11, V4), "192.0.2.7"),
        (binary(0x21, 0x11, V4 + b"\x04\0\x01\0"), "192.0.2.7"),
        (binary(0x21, 0x21, V6), "2001:db8::7"),
        (binary(0x20, 0x00, b""), None),
        (binary(0x21, 0x31, b"x" * 216), ""),
    ],
)
async def test_every_form_names_its_client_and_nothing_after_it_is_read(header: bytes, client: str | None) -> None:
    assert await read_of(header + b"after") == (client, b"after")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"PROXY TCP4 192.0.2.7",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1234\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1234 99999\r\n",
        b"PROXY TCP4 2001:db8::7 ::1 1234 5432\r\n",
        b"PROXY TCP5 192.0.2.7 10.0.0.1 1234 5432\r\n",
        b"PROXY TCP4 alice 10.0.0.1 1234 5432\r\n",
        b"PROXY " + b"x" * 200 + b"\r\n",
        b"PROXY TCP4 \xff 10.0.0.1 1234 5432\r\n",
        binary(0x22, 0x11, V4),
        binary(0x21, 0x11, V4[:-1]),
        SIGNATURE + b"\x21\x11\xff\xff" + b"x" * 65535,
        b"\0\0\0\x08\x04\xd2\x16\x2f" + b"x" * 8,
    ],
)
async def test_what_is_no_header_is_refused(header: bytes) -> None:
    with pytest.raises(PeerError):
        await read_of(header)


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=300))
def test_any_binary_body_gives_an_address_nothing_or_a_refusal(command: int, family: int, body: bytes) -> None:
    try:
        client = named_in_binary(command, family, body)
    except PeerError:
        return
    if client:
        socket.inet_pton(socket.AF_INET6 if ":" in client else socket.AF_INET, client)


async def test_the_session_has_the_clients_address_not_the_proxys() -> None:
    async with a_world(SETTINGS, proxies=("127.0.0.0/8",)) as world, connected(world, token="") as client:
        await client.say("PROXY TCP4 192.0.2.7 10.0.0.1 1234 5432\r\ngood")
        assert await client.hear() == "OK"
        (session,) = await world.sessions()
        assert session.source == "192.0.2.7"


async def test_a_client_the_proxy_does_not_know_is_not_taken_for_the_proxy() -> None:
    async with a_world(SETTINGS, proxies=("127.0.0.0/8",)) as world, connected(world, token="") as client:
        await client.say("PROXY UNKNOWN\r\ngood")
        assert await client.hear() == "OK"
        (session,) = await world.sessions()
        assert session.source == "", "which is inside no network that a grant may name"


async def test_the_header_has_no_time_of_its_own() -> None:
    """What is left of the time to the first message is all there is."""
    async with a_world(replace(SETTINGS, startup_timeout=60), proxies=("127.0.0.0/8",)) as world:
        here, there = socket.socketpair()
        with there:
            loop = asyncio.get_running_loop()
            session: Any = SimpleNamespace(
                source="127.0.0.1", client=Stream(loop, here), startup_by=loop.time() - 1
            )
            door: Any = SimpleNamespace(behind_proxy=lambda source: True)
            with pytest.raises(PeerError, match="in time"):
                await asyncio.wait_for(world.kernel._introduce(door, session, None), 5)
            session.client.close()


async def test_clients_of_one_proxy_are_bounded_by_their_own_addresses() -> None:
    header = "PROXY TCP4 192.0.2.7 10.0.0.1 1234 5432\r"
    waiting = replace(SETTINGS, startup_timeout=2)
    async with (
        a_world(waiting, proxies=("127.0.0.0/8",)) as world,
        connected(world, token="") as first,
        connected(world, token="") as second,
        connected(world, token="") as third,
    ):
        await first.say(header)
        await second.say(header)
        assert await second.rest() == b"", "of that address one may wait already"
        await third.say(header.replace(".7", ".8") + "\ngood")
        assert await third.hear() == "OK"
        await first.say("good")
        assert await first.hear() == "OK"


async def test_a_proxy_that_says_nothing_is_not_waited_for() -> None:
    async with a_world(SETTINGS, proxies=("127.0.0.0/8",)) as world, connected(world, token="") as client:
        assert b"OK" not in await client.rest()


async def test_a_header_from_elsewhere_is_not_believed() -> None:
    async with a_world(SETTINGS, proxies=("192.0.2.0/24",)) as world, connected(world, token="") as client:
        await client.say("PROXY TCP4 192.0.2.7 10.0.0.1 1234 5432\r\ngood")
        assert "OK" not in await client.hear()
        assert await world.sessions() == []


async def test_strangers_are_not_taken_where_only_proxies_are() -> None:
    only = a_world(SETTINGS, proxies=("192.0.2.0/24",), strangers=False)
    async with only as world, connected(world, token="") as client:
        assert await client.rest() == b""
