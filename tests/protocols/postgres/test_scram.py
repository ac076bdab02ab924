"""The client's half of SCRAM: the RFC's own example, scramp's server as the peer, and servers that cheat."""

import base64
import hashlib

import pytest
from scramp import ScramMechanism

from proxy.core.errors import Unreachable
from proxy.protocols.postgres.scram import MAX_ITERATIONS, MAX_MESSAGE, SALT_MOST, Challenge, Exchange, salted

NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = f"r={NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"  # RFC 7677, section 3


def exchange(binding: bytes | None = None, could_bind: bool = False) -> Exchange:
    return Exchange(NONCE, binding=binding, could_bind=could_bind)


def named(client: Exchange) -> Exchange:
    """PostgreSQL takes the name from the startup packet, so ours is empty; the RFC's server wants one."""
    client._bare = f"n=user,r={NONCE}"
    return client


def refused(message: bytes) -> str:
    with pytest.raises(Unreachable) as caught:
        exchange().challenge(message)
    assert "SCRAM" not in caught.value.public
    return caught.value.detail


def test_the_example_of_rfc_7677() -> None:
    client = named(exchange())
    assert client.first() == f"n,,n=user,r={NONCE}".encode()
    challenge = client.challenge(SERVER_FIRST.encode())
    assert (challenge.iterations, len(challenge.salt)) == (4096, 16)
    final = client.final(challenge, salted("pencil", challenge)).decode()
    assert final == (
        f"c=biws,r={NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    client.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


@pytest.mark.parametrize("password", ["pencil", "пароль", "I\u00adX", "a\u00a0b", "\u2168"])
@pytest.mark.parametrize("bound", [False, True])
def test_scramps_server_is_convinced_and_convinces(password: str, bound: bool) -> None:
    mechanism = ScramMechanism("SCRAM-SHA-256-PLUS" if bound else "SCRAM-SHA-256")
    known = mechanism.make_auth_info(password, iteration_count=4096)
    server = mechanism.make_server(
        lambda name: known, channel_binding=("tls-server-end-point", b"hash") if bound else None
    )
    client = named(exchange(b"hash" if bound else None, could_bind=bound))
    server.set_client_first(client.first().decode())
    challenge = client.challenge(server.get_server_first().encode())
    server.set_client_final(client.final(challenge, salted(password, challenge)).decode())
    client.verify(server.get_server_final().encode())


@pytest.mark.parametrize(
    ("binding", "could_bind", "header"),
    [
        (None, False, "n,,"),
        (None, True, "y,,"),
        (b"hash", True, "p=tls-server-end-point,,"),
    ],
)
def test_the_header_says_what_was_possible_and_is_proved(
    binding: bytes | None, could_bind: bool, header: str
) -> None:
    """The flag is part of what both sides sign: who takes the offer of -PLUS out on the way is found out."""
    client = exchange(binding, could_bind)
    assert client.first() == f"{header}n=,r={NONCE}".encode()
    final = client.final(client.challenge(SERVER_FIRST.encode()), b"x" * 32).decode()
    channel = dict(part.split("=", 1) for part in final.split(","))["c"]
    assert base64.b64decode(channel) == header.encode() + (binding or b"")


@pytest.mark.parametrize(
    "iterations",
    [str(MAX_ITERATIONS + 1), "2000000000", "9" * 400, "0", "-1", "4096x", "", "4_096", " 4096", "+4096", "0x10"],
)
def test_iterations_are_a_number_with_a_cap(iterations: str) -> None:
    """Each costs the gateway time: PBKDF2 of two thousand million rounds takes a quarter of an hour."""
    refused(f"r={NONCE}x,s=c2FsdA==,i={iterations}".encode())


def test_as_many_iterations_as_the_cap_are_taken() -> None:
    message = f"r={NONCE}x,s=c2FsdA==,i={MAX_ITERATIONS}"
    assert exchange().challenge(message.encode()) == Challenge(f"{NONCE}x", b"salt", MAX_ITERATIONS, message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"r",
        b"\xff",
        b"s=c2FsdA==,i=4096",
        f"r={NONCE}x,i=4096".encode(),
        f"r={NONCE}x,s=c2FsdA==".encode(),
        f"r={NONCE}x,s=not base64,i=4096".encode(),
        f"r={NONCE},s=c2FsdA==,i=4096".encode(),
        f"r=x{NONCE}x,s=c2FsdA==,i=4096".encode(),
        b"r=other,s=c2FsdA==,i=4096",
        f"m=unknown,r={NONCE}x,s=c2FsdA==,i=4096".encode(),
        f"r={NONCE}x,s={base64.b64encode(b'x' * (SALT_MOST + 1)).decode()},i=4096".encode(),
        f"r={NONCE}{'x' * MAX_MESSAGE},s=c2FsdA==,i=4096".encode(),
        b"e=other-error",
    ],
)
def test_a_first_message_that_is_none_is_refused(message: bytes) -> None:
    refused(message)


@pytest.mark.parametrize(
    "message", [b"", b"v=", b"e=invalid-proof", b"v=" + base64.b64encode(b"x" * 32), b"v=%%%", b"x"]
)
def test_a_server_that_does_not_know_the_password_is_found_out(message: bytes) -> None:
    client = exchange()
    client.final(client.challenge(SERVER_FIRST.encode()), b"x" * 32)
    with pytest.raises(Unreachable, match="did not prove"):
        client.verify(message)


def test_the_salted_password_depends_on_all_three() -> None:
    first = Challenge("n", b"salt", 1000, "")
    expected = hashlib.pbkdf2_hmac("sha256", b"pencil", b"salt", 1000)
    assert salted("pencil", first) == expected
    others = {
        salted("pencil2", first),
        salted("pencil", Challenge("n", b"salu", 1000, "")),
        salted("pencil", Challenge("n", b"salt", 1001, "")),
    }
    assert len(others | {expected}) == 4


def test_a_password_that_saslprep_forbids_is_taken_as_it_is() -> None:
    challenge = Challenge("n", b"salt", 1000, "")
    assert salted("a\u0007b", challenge) == hashlib.pbkdf2_hmac("sha256", b"a\x07b", b"salt", 1000)
