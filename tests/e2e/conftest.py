"""One gateway a run in front of each PostgreSQL and of an sshd; a test that needs one of its own makes it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.gateway import Gateway, gateway
from tests.peers.openssh import Door, direct
from tests.peers.postgres import VERSIONS, Cluster
from tests.peers.ssh_gateway import SshGateway, ssh_gateway
from tests.peers.sshd import Sshd, echo


@pytest.fixture(scope="session")
def gateway15(postgres15: Cluster) -> Iterator[Gateway]:
    with gateway(postgres15) as running:
        yield running


@pytest.fixture(scope="session")
def gateway16(postgres16: Cluster) -> Iterator[Gateway]:
    with gateway(postgres16) as running:
        yield running


@pytest.fixture(scope="session")
def gateway18(postgres18: Cluster) -> Iterator[Gateway]:
    with gateway(postgres18) as running:
        yield running


@pytest.fixture(params=VERSIONS)
def every_gateway(request: pytest.FixtureRequest) -> Gateway:
    """Each version of the target in turn."""
    running: Gateway = request.getfixturevalue(f"gateway{request.param}")
    return running


@pytest.fixture(scope="session")
def echo_port() -> Iterator[int]:
    """A TCP service that sessions of ``box`` may be forwarded to."""
    with echo() as port:
        yield port


@pytest.fixture(scope="session")
def box(host: Sshd, echo_port: int) -> Iterator[SshGateway]:
    """The gateway in front of the sshd."""
    with ssh_gateway(host, forward=[f"127.0.0.1:{echo_port}"]) as running:
        yield running


@pytest.fixture(scope="session")
def ordinary_box(ordinary_host: Sshd, echo_port: int) -> Iterator[SshGateway]:
    """The gateway in front of a host whose user is not root."""
    with ssh_gateway(ordinary_host, forward=[f"127.0.0.1:{echo_port}"]) as running:
        yield running


@pytest.fixture(params=["direct", "through"])
def ordinary_door(request: pytest.FixtureRequest, ordinary_host: Sshd, tmp_path: Path) -> Door:
    """As ``door``, to the host whose user is not root."""
    if request.param == "direct":
        return direct(ordinary_host, tmp_path / "door")
    gate: SshGateway = request.getfixturevalue("ordinary_box")
    return gate.door()


@pytest.fixture(params=["direct", "through"])
def door(request: pytest.FixtureRequest, host: Sshd, tmp_path: Path) -> Door:
    """Straight to the sshd, which proves what the test expects, and through the gateway."""
    if request.param == "direct":
        return direct(host, tmp_path / "door")
    gate: SshGateway = request.getfixturevalue("box")
    return gate.door()
