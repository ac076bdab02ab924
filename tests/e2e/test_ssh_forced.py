"""A host that runs one command for the account, whatever is asked for: a cut does not make it run once more."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_ssh_cuts import ENDED_WITHIN, word
from tests.peers.openssh import Door
from tests.peers.proof import until
from tests.peers.ssh_gateway import SshGateway, ssh_gateway
from tests.peers.sshd import ordinary, running, sshd

TOLD = """
[[resources]]
name = "told"
protocol = "ssh"
address = "127.0.0.1:{port}"
host_keys = ["{key}"]
[[resources.accounts]]
name = "{user}"
key = "secrets/box"
forced_command = true
"""


@pytest.fixture
def mark() -> str:
    return word()


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the host's user may write to."""
    with tempfile.TemporaryDirectory(prefix="tidegate-forced-") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture
def forced(place: Path, mark: str) -> Path:
    """The command: it leaves a line each time it begins, and does not care to be hung up."""
    path = place / "deploy"
    path.write_text(f"#!/bin/sh\ntrap '' HUP\necho began >>{place}/began\necho go\nsleep {mark}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(params=["key", "server", "ordinary"])
def gate(request: pytest.FixtureRequest, forced: Path) -> Iterator[tuple[SshGateway, str]]:
    """Forced by an option of root's key, which the server tells; by the server's configuration, which ours has to
    tell for root; and for somebody else, where the server delivers no signals."""
    by_key, user = request.param == "key", ordinary() if request.param == "ordinary" else None
    with sshd(settings={} if by_key else {"ForceCommand": str(forced)}, user=user) as host:
        if by_key:
            keys = host.folder / "authorized_keys"
            keys.write_text(f'command="{forced}" {keys.read_text()}')
        told = TOLD.format(port=host.port, key=host.host_key, user=host.user)
        with ssh_gateway(host, extra=told) as gate:
            yield gate, "told" if request.param == "server" else "box"


def test_a_forced_command_is_not_run_again(gate: tuple[SshGateway, str], forced: Path, mark: str) -> None:
    gateway, resource = gate
    grant = gateway.ssh_grant(resource)
    door: Door = gateway.door(resource, grant=grant)
    with door.running(door.line("ssh", "box", "anything")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        gateway.revoke(grant)
        process.communicate(timeout=ENDED_WITHIN)
    session = gateway.ended(grant, within=ENDED_WITHIN)
    assert session["end_reason"] == "grant_revoked"
    assert session["receipt"]["verified"] == ""
    assert (forced.parent / "began").read_text() == "began\n"
    for pid in running(f"sleep\0{mark}"):
        os.kill(pid, signal.SIGTERM)
    until(lambda: not running(f"sleep\0{mark}"))
