"""The gateway's own command on a target tells the session's processes, and never those of anybody else."""

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.protocols.ssh.control import CONNECTIONS, TELL

PROJECT = Path(__file__).parents[3]


def beside(name: str, *more: str, within: tuple[str, ...] = ()) -> str:
    """What became of the process beside the command, under a parent of that name."""
    line = [*within, sys.executable, "-m", "tests.protocols.ssh.beside", name, TELL, *more]
    done = subprocess.run(line, cwd=PROJECT, capture_output=True, timeout=40, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@pytest.mark.parametrize("name", CONNECTIONS)
def test_what_the_server_runs_for_the_connection_is_told(name: str) -> None:
    assert beside(name) == "stopped"


def test_what_another_parent_runs_is_not() -> None:
    """A server that is one process for everybody, or whatever took the command up when its server was gone."""
    assert beside("python") == "runs"
    assert beside("systemd", "orphan") == "runs"


def test_init_has_the_whole_host_for_children() -> None:
    """Where sshd itself is init, as in a container: told from a connection's process by its number alone."""
    new_world = ("unshare", "--map-root-user", "--pid", "--fork", "--mount-proc")
    assert beside("sshd", within=new_world) == "runs"
    assert beside("sshd", "orphan", within=new_world) == "runs"


def test_a_shell_takes_it_as_one_line() -> None:
    """The account's own shell reads it first: in csh a quoted line must not be broken."""
    assert "\n" not in TELL
    assert TELL.count("'") == 2
