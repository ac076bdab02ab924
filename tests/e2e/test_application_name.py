"""What a session is called on the target, and what its client is told of that: as without the gateway, unless the
resource says that our mark stands in it."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from proxy.protocols.postgres import messages
from tests.peers.gateway import Gateway, gateway
from tests.peers.postgres import VERSIONS, Cluster
from tests.peers.wire import Wire, log_in_directly

NAMES = ["my program", "n" * 63, "n" * 64, "\u00e9" * 40, "caf\u00e9 \u20ac"]
Said = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module", params=VERSIONS)
def marking(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """In front of each server, by two more resources, whose sessions have a mark."""
    cluster: Cluster = request.getfixturevalue(f"postgres{request.param}")
    tls = f'tls_mode = "verify-full"\ntls_ca = "{cluster.ca}"' if cluster.tls else 'tls_mode = "disable"'
    extra = "".join(
        f'[[resources]]\nname = "{manner}"\nprotocol = "postgres"\naddress = "127.0.0.1:{cluster.port}"\n{tls}\n'
        f'application_name = "{manner}"\n[[resources.accounts]]\nname = "readonly"\n'
        'password = "file:secrets/readonly"\n'
        for manner in ("prefix", "suffix")
    )
    extra += (
        '[[policies]]\nname = "marked"\nwho = ["group:engineers"]\nresources = ["prefix", "suffix"]\n'
        'accounts = ["*"]\nmax_duration = "1h"\napproval = "automatic"\n'
    )
    with gateway(cluster, extra=extra) as running:
        yield running


def welcome(gate: Gateway, resource: str, **named: str) -> tuple[Said, str]:
    """What a client hears at its log-in, and what the target calls it then; without a resource directly."""
    wire = Wire(gate, port=None if resource else gate.cluster.port, direct=bool(resource))
    with closing(wire.sock):
        wire.start(**named)
        if resource:
            assert wire.message()[0] == b"R"
            wire.say(messages.password(gate.token(resource=resource)))
            said = wire.until(b"Z")
        else:
            said = log_in_directly(wire)
        wire.say(messages.query("select current_setting('application_name')"))
        row = next(body for kind, body in wire.until(b"Z") if kind == b"D")
        return [each for each in said if each[0] in b"SN"], row[6:].decode()


@pytest.mark.parametrize("name", NAMES)
def test_by_default_the_name_is_the_clients_own(every_gateway: Gateway, name: str) -> None:
    """ParameterStatus, the NOTICE of a name too long, and SHOW."""
    for named in ({"application_name": name}, {"options": "-c application_name=" + name.replace(" ", "\\ ")}):
        assert welcome(every_gateway, "shop", **named) == welcome(every_gateway, "", **named)


def test_where_the_client_has_no_name_it_is_ours(every_gateway: Gateway) -> None:
    said, name = welcome(every_gateway, "shop")
    assert name.startswith("tidegate:alice:sess-")
    assert (b"S", f"application_name\0{name}\0".encode()) in said


@pytest.mark.parametrize("manner", ["prefix", "suffix"])
@pytest.mark.parametrize("name", ["", *NAMES])
def test_with_a_mark_the_client_is_told_what_it_would_be_without(marking: Gateway, manner: str, name: str) -> None:
    named = {"application_name": name} if name else {}
    (said, called), (expected, _) = welcome(marking, manner, **named), welcome(marking, "", **named)
    assert said == [each for each in expected if each[0] != b"N"]  # what would be cut fits now
    words = called.split(":")
    assert "tidegate:alice:sess-" in called
    if name.isascii() and name:
        assert name.startswith(words[-1] if manner == "prefix" else words[0])
