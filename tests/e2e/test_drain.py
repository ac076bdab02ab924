"""A node is taken out of service: nobody is cut before the time is over, nobody new comes, others serve on."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.peers.gateway import Gateway, Refused, gateway
from tests.peers.postgres import Cluster
from tests.peers.proof import until


@pytest.fixture
def pair(postgres15: Cluster) -> Iterator[Gateway]:
    """Two workers on one port."""
    with gateway(postgres15, head="workers = 2\n") as running:
        until(lambda: len(running.call("GET", "/v1/nodes")["items"]) == 2)
        yield running


def serving(gate: Gateway) -> str:
    """The node that serves a fresh connection."""
    grant = gate.grant()
    with psycopg.connect(gate.dsn(token=gate.token(grant=grant))):
        (session,) = gate.sessions(grant=grant)
    return str(session["node"])


def drain(gate: Gateway, node: str, seconds: float = 600.0) -> None:
    drained = gate.call("POST", "/v1/nodes/drain", {"node": node, "duration": seconds})["items"]
    assert [each["id"] for each in drained if each["drains"] is None] == []


def ready(gate: Gateway) -> list[str]:
    try:
        return list(gate.call("GET", "/readyz", user=None)["reasons"])
    except Refused as refused:
        return list(refused.problem["reasons"])


def closed(gate: Gateway) -> bool:
    try:
        psycopg.connect(gate.dsn(), connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return "refused" in str(error)
    return False


def test_one_worker_and_then_the_whole_host(pair: Gateway) -> None:
    grant = pair.grant()
    with psycopg.connect(pair.dsn(token=pair.token(grant=grant)), autocommit=True) as client:
        (session,) = pair.sessions(grant=grant)
        node = str(session["node"])
        with pytest.raises(Refused):
            pair.call("POST", "/v1/nodes/drain", {"node": node}, user="alice")
        drain(pair, node)
        until(lambda: f"{node}" in pair.log() and "draining" in pair.log())
        assert {serving(pair) for _ in range(10)} - {node} == {serving(pair)}
        assert ready(pair) == []
        assert client.execute("SELECT 1").fetchone() == (1,)

        host = node.rpartition("-")[0]
        drain(pair, host)
        until(lambda: closed(pair))
        assert any("this machine" in each for each in ready(pair))
        assert client.execute("SELECT 2").fetchone() == (2,)

        drain(pair, "", 0.5)
        assert pair.ended(grant, within=10)["end_reason"] == "shutdown"
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 3")
    nodes = pair.call("GET", "/v1/nodes")["items"]
    assert all(each["fresh"] and each["drains"] for each in nodes)
    ordered = pair.call("GET", "/v1/audit/events?kind=drain_ordered")["items"]
    assert [each["actor"] for each in ordered] == ["dave"] * 5

    pair.stop()
    pair.start()
    assert not closed(pair)
    assert all(each["drains"] is None for each in pair.call("GET", "/v1/nodes")["items"])
