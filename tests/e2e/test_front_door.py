"""What stands before the log-in, on the wire: encryption requests in any order, plaintext injection, odd versions,
cancels by those who may and those who guess, and a hostile line in between.
"""

import asyncio
import ssl
import struct
import time

import psycopg
import pytest

from proxy.protocols.postgres import messages
from tests.peers.gateway import Gateway
from tests.peers.line import Way, line
from tests.peers.proof import until
from tests.peers.wire import Wire, log_in

SSL = struct.pack("!II", 8, 80877103)
GSS = struct.pack("!II", 8, 80877104)


@pytest.mark.parametrize("order", [[SSL], [GSS, SSL], [SSL, GSS]])
def test_encryption_requests_in_any_order(gateway15: Gateway, order: list[bytes]) -> None:
    wire = Wire(gateway15)
    for request in order:
        wire.say(request)
        if request == SSL:
            assert wire.hear(1) == b"S"
            wire.secure()
        else:
            assert wire.hear(1) == b"N"
    wire.start()
    log_in(wire)
    wire.close()


def test_direct_tls_needs_its_protocol_named(gateway15: Gateway) -> None:
    wire = Wire(gateway15, direct=True)
    wire.start()
    log_in(wire)
    wire.close()
    wire = Wire(gateway15, direct=True, alpn=False)
    wire.start()
    assert wire.message()[0] in (b"E", b"")
    wire.close()


# Python's own ssl leaves a socket open when the peer has reset the line before the handshake.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_plaintext_smuggled_behind_the_request_is_never_used(gateway15: Gateway) -> None:
    """CVE-2021-3935: a startup packet injected in plaintext must not be read as if it had come over TLS. That it
    was tried is in the trail, whenever it comes before the handshake."""
    for source, later in (("127.0.0.91", False), ("127.0.0.92", True)):
        wire = Wire(gateway15, source=source)
        injected = messages.startup_packet({"user": "injected"})
        wire.say(SSL + (b"" if later else injected))
        assert wire.hear(1) == b"S"
        if later:
            wire.say(injected)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            wire.secure()
        wire.close()
        until(lambda source=source: told(gateway15, source) == [("plaintext", 1)])  # type: ignore[misc]


def told(gate: Gateway, source: str) -> list[tuple[str, int]]:
    """What the trail says of who was refused from there."""
    events = gate.call("GET", "/v1/audit/events?kind=admission_refused&limit=200", user="carol")["items"]
    bodies = [each["body"] for each in events]
    return [(each["why"], each["times"]) for each in bodies if each["source"] == source]


@pytest.mark.parametrize(
    ("version", "options", "answered"),
    [
        (3 << 16, {}, None),
        (3 << 16 | 2, {}, None),
        (3 << 16 | 9999, {"_pq_.test_protocol_negotiation": ""}, (3 << 16 | 2, ["_pq_.test_protocol_negotiation"])),
        (3 << 16, {"_pq_.x": "1"}, (3 << 16, ["_pq_.x"])),
    ],
)
def test_versions_are_negotiated_exactly(
    gateway15: Gateway, version: int, options: dict[str, str], answered: tuple[int, list[str]] | None
) -> None:
    wire = Wire(gateway15, direct=True)
    wire.start(version, **options)
    kind, body = wire.message()
    if answered is None:
        assert kind == b"R"
    else:
        assert kind == b"v"
        assert struct.unpack("!II", body[:8]) == (answered[0], len(answered[1]))
        assert body[8:].rstrip(b"\0").decode().split("\0") == answered[1]
    wire.close()


def test_protocol_2_is_refused_in_words(gateway15: Gateway) -> None:
    wire = Wire(gateway15, direct=True)
    wire.start(2 << 16)
    kind, body = wire.message()
    assert kind == b"E"
    assert b"FATAL" in body
    wire.close()


@pytest.mark.parametrize("length", [0, 4, 7, 10_005, 2**31 - 1])
def test_impossible_lengths_end_the_connection(gateway15: Gateway, length: int) -> None:
    wire = Wire(gateway15, direct=True)
    wire.say(struct.pack("!I", length) + b"\0" * 16)
    assert wire.message()[0] in (b"E", b"")
    wire.close()


@pytest.mark.parametrize("tls", [True, False])
def test_a_cancel_by_key_stops_the_running_statement_only(gateway15: Gateway, tls: bool) -> None:
    gateway15.token("postgres")
    wire = Wire(gateway15, direct=True)
    wire.start()
    pid, key = log_in(wire)
    wire.say(messages.query("select pg_sleep(20)"))
    time.sleep(0.3)
    cancel = Wire(gateway15, direct=tls)
    cancel.say(messages.cancel_request(pid, key))
    assert cancel.hear(1) == b""
    cancel.close()
    assert b"57014" in b"".join(body for _, body in wire.until(b"Z"))
    again = Wire(gateway15)
    again.say(messages.cancel_request(pid, key))
    assert again.hear(1) == b""
    again.close()
    wire.say(messages.query("select 1"))
    assert [kind for kind, _ in wire.until(b"Z")] == [b"T", b"D", b"C", b"Z"]
    wire.close()


def test_a_session_of_3_2_is_cancelled_by_its_whole_key_only(every_gateway: Gateway) -> None:
    """32 bytes, also where the target speaks 3.0; their beginning, or the key that 3.0 would have, is worth
    nothing."""
    wire = Wire(every_gateway, direct=True)
    wire.start(messages.PROTOCOL_3_2, user="postgres")
    pid, key = log_in(wire, every_gateway.token("postgres"))
    assert len(key) == 32
    mark = f"key of {pid}"
    wire.say(messages.query(f"select pg_sleep(30) /* {mark} */"))
    running = f"select 1 from pg_stat_activity where query like '%{mark}%' and pid <> pg_backend_pid()"
    while not every_gateway.cluster.execute(f"{running} and state = 'active'"):
        time.sleep(0.01)
    for part in (key[:4], key[:31], key + b"x", key):
        assert every_gateway.cluster.execute(f"{running} and state = 'active'")
        cancel = Wire(every_gateway, direct=True, source="127.0.0.6")
        cancel.say(messages.cancel_request(pid, part))
        assert cancel.hear(1) == b""
        cancel.close()
    assert b"57014" in b"".join(body for _, body in wire.until(b"Z"))
    wire.close()


def test_a_guessed_key_cancels_nothing_and_is_recorded(gateway15: Gateway) -> None:
    wire = Wire(gateway15, direct=True)
    wire.start()
    pid, key = log_in(wire)
    wire.say(messages.query("select pg_sleep(1)"))
    guess = Wire(gateway15)
    guess.say(messages.cancel_request(pid, bytes(byte ^ 1 for byte in key)))
    assert guess.hear(1) == b""
    guess.close()
    assert [kind for kind, _ in wire.until(b"Z")] == [b"T", b"D", b"C", b"Z"]
    wire.close()
    events = gateway15.call("GET", "/v1/audit/events?kind=cancel_refused", user="carol")["items"]
    assert events


def test_function_calls_are_refused_and_the_session_lives(gateway15: Gateway) -> None:
    wire = Wire(gateway15, direct=True)
    wire.start()
    log_in(wire)
    wire.say(messages.frame(b"F", struct.pack("!IHHH", 1598, 0, 0, 1)))
    found = wire.until(b"Z")
    assert found[0][0] == b"E"
    assert b"0A000" in found[0][1]
    wire.say(messages.query("select 1"))
    assert [kind for kind, _ in wire.until(b"Z")] == [b"T", b"D", b"C", b"Z"]
    wire.close()


async def test_one_byte_at_a_time_changes_nothing(gateway15: Gateway) -> None:
    token = await asyncio.to_thread(gateway15.token, "postgres")
    ways = Way(slice=1), Way(slice=1)
    async with line("127.0.0.1", gateway15.port, up=ways[0], down=ways[1]) as hostile:
        dsn = gateway15.dsn("postgres", token=token, port=str(hostile.port))
        rows = await asyncio.to_thread(fetch, dsn, "select id, name from customers order by id limit 20")
    assert rows == await asyncio.to_thread(
        fetch,
        gateway15.cluster.uri("postgres", sslmode="prefer"),
        "select id, name from customers order by id limit 20",
    )


def fetch(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


async def test_a_reset_line_ends_the_session_and_its_record(gateway15: Gateway) -> None:
    grant = await asyncio.to_thread(gateway15.grant, "postgres")
    token = await asyncio.to_thread(gateway15.token, grant=grant)
    async with line("127.0.0.1", gateway15.port, down=Way(reset_after=20_000)) as hostile:
        dsn = gateway15.dsn("postgres", token=token, port=str(hostile.port))
        with pytest.raises(psycopg.Error):
            await asyncio.to_thread(fetch, dsn, "select repeat('x', 1000) from generate_series(1, 1000)")
    ended = await asyncio.to_thread(gateway15.ended, grant)
    assert ended["end_reason"] == "client_closed"
