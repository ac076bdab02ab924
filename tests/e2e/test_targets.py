"""How the gateway enters a real PostgreSQL: every way of logging in that it takes, and what it refuses to answer.

One gateway; each of its resources is a way to reach a server, and each of their accounts a way to log in (see
``tests/peers/postgres.py``). Servers that cheat in the log-in itself are in ``test_attacks.py``.
"""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from proxy.cli.demo.certificates import Authority
from tests.peers.gateway import Gateway, gateway
from tests.peers.middle import middle
from tests.peers.postgres import Cluster

BY_PASSWORD = ("readonly", "md5_role", "cleartext_role", "tls_role", "trusted_role")


def resource(name: str, port: int, settings: str, certificate: tuple[Path, Path] | None = None) -> str:
    accounts = "".join(
        f'[[resources.accounts]]\nname = "{role}"\n'
        f'password = "file:secrets/{"readonly" if role == "trusted_role" else role}"\n'
        for role in BY_PASSWORD
    )
    if certificate is not None:
        accounts += (
            '[[resources.accounts]]\nname = "cert_role"\n'
            f'client_certificate = "{certificate[0]}"\nclient_key = "{certificate[1]}"\n'
        )
    address = f'address = "127.0.0.1:{port}"'
    return f'[[resources]]\nname = "{name}"\nprotocol = "postgres"\n{address}\n{settings}\n{accounts}'


@pytest.fixture(scope="module")
def ways(postgres15: Cluster, postgres16: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("ways")
    Authority.create("A stranger").write(folder)
    client = postgres15.client_certificate().write(folder, "client")
    between = postgres15.authority.server().write(folder, "between")
    ca = f'tls_ca = "{postgres15.ca}"'
    full = f'tls_mode = "verify-full"\n{ca}'
    with (
        middle(between, postgres15.port) as other,
        middle(between, postgres15.port, strips=True) as stripping,
        middle(between, postgres16.port, secure=False) as in_front,
    ):
        made = {
            "full": resource("full", postgres15.port, full, client),
            "authority": resource("authority", postgres15.port, f'tls_mode = "verify-ca"\n{ca}', client),
            "require": resource("require", postgres15.port, 'tls_mode = "require"', client),
            "plain": resource("plain", postgres15.port, 'tls_mode = "disable"'),
            "old": resource("old", postgres16.port, 'tls_mode = "disable"\nprotocol_version = "3.0"'),
            "no-tls": resource("no-tls", postgres16.port, 'tls_mode = "require"'),
            "misnamed": resource("misnamed", postgres15.port, f'{full}\ntls_server_name = "other.example"'),
            "unknown": resource(
                "unknown", postgres15.port, f'tls_mode = "verify-ca"\ntls_ca = "{folder / "ca.crt"}"'
            ),
            "other": resource("other", other.port, full),
            "stripping": resource("stripping", stripping.port, full),
            "in-front": resource("in-front", in_front.port, full),
        }
        names = ", ".join(f'"{name}"' for name in made)
        policy = (
            f'[[policies]]\nname = "ways"\nwho = ["group:engineers"]\nresources = [{names}]\naccounts = ["*"]\n'
            'max_duration = "1h"\napproval = "automatic"\n'
        )
        with gateway(postgres15, extra="".join(made.values()) + policy) as running:
            yield running


def enter(ways: Gateway, name: str, role: str) -> tuple[object, ...]:
    """(user, whether the target sees TLS, the name in the client's certificate)"""
    dsn = ways.dsn(role, token=ways.token(role, resource=name))
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select current_user::text, ssl, client_dn from pg_stat_ssl where pid = pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("role", BY_PASSWORD)
@pytest.mark.parametrize("name", ["full", "authority"])
def test_every_log_in_is_answered_over_a_verified_line(ways: Gateway, name: str, role: str) -> None:
    assert enter(ways, name, role) == (role, True, None)


@pytest.mark.parametrize(
    ("name", "role", "encrypted"),
    [
        ("require", "readonly", True),
        ("require", "tls_role", True),
        ("require", "trusted_role", True),
        ("plain", "readonly", False),
        ("plain", "trusted_role", False),
        ("old", "readonly", False),
        ("old", "trusted_role", False),
    ],
)
def test_scram_and_trust_need_no_verified_line(ways: Gateway, name: str, role: str, encrypted: bool) -> None:
    assert enter(ways, name, role) == (role, encrypted, None)


@pytest.mark.parametrize("name", ["full", "authority", "require"])
def test_a_client_certificate_is_shown(ways: Gateway, name: str) -> None:
    user, encrypted, shown = enter(ways, name, "cert_role")
    assert (user, encrypted) == ("cert_role", True)
    assert "CN=cert_role" in str(shown)


@pytest.mark.parametrize("role", ["md5_role", "cleartext_role"])
@pytest.mark.parametrize("name", ["require", "plain", "old"])
def test_a_weak_log_in_over_a_line_that_is_not_verified_is_refused(ways: Gateway, name: str, role: str) -> None:
    assert "weak log-in over a line that is not verified" in refused(ways, name, role)


@pytest.mark.parametrize(
    ("name", "role", "words"),
    [
        ("plain", "tls_role", "does not let this account in"),
        ("no-tls", "readonly", "does not offer TLS"),
        ("misnamed", "readonly", "TLS handshake failed"),
        ("misnamed", "cleartext_role", "TLS handshake failed"),
        ("unknown", "readonly", "TLS handshake failed"),
        ("unknown", "cleartext_role", "TLS handshake failed"),
    ],
)
def test_a_target_that_is_not_what_was_configured(ways: Gateway, name: str, role: str, words: str) -> None:
    assert words in refused(ways, name, role)


def refused(ways: Gateway, name: str, role: str) -> str:
    """What the client is told: the reason, and neither address nor credential."""
    token = ways.token(role, resource=name)
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(ways.dsn(role, token=token))
    told = str(caught.value).split("FATAL:")[1]
    assert str(ways.cluster.port) not in told
    assert ways.cluster.passwords[role] not in told or not ways.cluster.passwords[role]
    return told


@pytest.mark.parametrize(
    ("name", "logged"),
    [
        # He relays both sides of SCRAM whole: but it is bound to the certificate the gateway saw, which is his.
        ("other", "SCRAM channel binding check failed"),
        # He takes -PLUS out: then the gateway says, and signs, that it could have bound.
        ("stripping", "SCRAM channel binding negotiation error"),
    ],
)
def test_channel_binding_finds_out_who_stands_between(ways: Gateway, name: str, logged: str) -> None:
    """His certificate is good: without the binding the target would let him in as the gateway."""
    before = len(ways.cluster.log())
    assert "does not let this account in" in refused(ways, name, "readonly")
    assert logged in ways.cluster.log()[before:]
    # Without SCRAM there is nothing to bind, and he gets through.
    assert enter(ways, name, "trusted_role") == ("trusted_role", True, None)


def test_a_target_behind_a_proxy_that_ends_tls_offers_no_binding(ways: Gateway) -> None:
    """A server that has no TLS of its own believes the gateway's "you do not offer it"."""
    assert enter(ways, "in-front", "readonly") == ("readonly", False, None)
