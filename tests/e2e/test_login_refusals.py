"""A log-in that the target refuses: through the gateway a client reads the SQLSTATE it would get around it, and the
target's own words where they echo what the client sent. Those about the gateway's credential it never reads."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.protocols.postgres import messages
from tests.peers.gateway import Gateway, gateway, keep_secret
from tests.peers.postgres import Cluster
from tests.peers.wire import Wire, log_in_directly

Fields = dict[bytes, str]


def fields(wire: Wire) -> Fields:
    """What the refusal says, without where in the server's source that was and without our reference."""
    kind, body = next(each for each in wire.until(b"E") if each[0] in (b"E", b""))
    assert kind == b"E"
    wire.close()
    found = {kind: text.decode() for kind, text in messages.error_fields(body).items() if kind in b"SVCMDH"}
    detail = re.sub(r" ?Reference: .*", "", found.pop(b"D", ""))
    return found | ({b"D": detail} if detail else {})


def through(gate: Gateway, **parameters: str) -> Fields:
    wire = Wire(gate, direct=True)
    wire.start(**parameters)
    assert wire.message()[0] == b"R"
    wire.say(messages.password(gate.token()))
    return fields(wire)


def around(gate: Gateway, **parameters: str) -> Fields:
    wire = Wire(gate, port=gate.cluster.port)
    wire.start(**parameters)
    said = log_in_directly(wire)
    wire.close()
    body = next(body for kind, body in said if kind == b"E")
    return {kind: text.decode() for kind, text in messages.error_fields(body).items() if kind in b"SVCMDH"}


@contextmanager
def changed(cluster: Cluster, change: str, back: str) -> Iterator[None]:
    cluster.execute(change)
    try:
        yield
    finally:
        cluster.execute(back)


ECHOED = [
    ("3D000", {"database": "nosuch"}),
    ("3D000", {"database": "Grüße; drop"}),
    ("42704", {"options": "-c nosuch_setting=1"}),
    ("42704", {"nosuch_setting": "1"}),
    ("22023", {"options": "-c statement_timeout=abc"}),
    ("22023", {"options": "--work-mem=1XB"}),
    ("22023", {"DateStyle": "Klingon"}),
    ("22023", {"TimeZone": "Mars/Olympus"}),
    ("22023", {"options": "-c role=nobody_at_all"}),
]


@pytest.mark.parametrize(("state", "parameters"), ECHOED)
def test_what_echoes_the_client_is_told_as_the_target_tells_it(
    every_gateway: Gateway, state: str, parameters: dict[str, str]
) -> None:
    told = through(every_gateway, **parameters)
    assert told == around(every_gateway, **parameters)
    assert told[b"C"] == state


def test_limits_and_closed_databases_too(every_gateway: Gateway) -> None:
    cluster = every_gateway.cluster
    with changed(cluster, "alter role readonly connection limit 0", "alter role readonly connection limit -1"):
        told = through(every_gateway)
        assert told == around(every_gateway)
    assert told[b"C"] == "53300"
    with cluster.fresh_database() as name:
        close = f'alter database "{name}" allow_connections '
        with changed(cluster, close + "false", close + "true"):
            told = through(every_gateway, database=name)
            assert told == around(every_gateway, database=name)
    assert told[b"C"] == "55000"


@pytest.mark.parametrize(
    ("state", "parameters"),
    [("42501", {"options": "-c session_preload_libraries=x"}), ("55P02", {"options": "-c max_connections=5"})],
)
def test_of_others_the_state_goes_through_and_no_word(
    every_gateway: Gateway, state: str, parameters: dict[str, str]
) -> None:
    told, direct = through(every_gateway, **parameters), around(every_gateway, **parameters)
    assert told[b"C"] == direct[b"C"] == state
    assert told[b"M"] != direct[b"M"]
    assert parameters["options"].split()[1].split("=")[0] not in told[b"M"]


def test_a_role_that_may_not_log_in_is_no_failing_connection(gateway15: Gateway) -> None:
    """Of class 08 programs try again and again."""
    cluster = gateway15.cluster
    with changed(cluster, "alter role readonly nologin", "alter role readonly login"):
        told = through(gateway15)
    assert told[b"C"] == "28000"
    assert "does not let this account in" in told[b"M"] and "permitted" not in told[b"M"]


def test_a_credential_that_is_wrong_is_the_operators_alone(postgres15: Cluster) -> None:
    with gateway(postgres15) as gate:
        keep_secret(gate.folder, "readonly", "not-the-password")
        gate.stop()
        gate.start()
        told = through(gate)
        assert told[b"C"] == "28000"  # not 28P01: the client's password, the token, was right
        assert "authentication failed" not in "".join(told.values())
        assert "authentication failed" in gate.log()
        assert "not-the-password" not in gate.log()
