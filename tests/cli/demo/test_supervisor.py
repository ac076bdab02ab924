"""Who outlives whom: the table in ``proxy.cli.demo.supervisor``, with a stand-in for the gateway.

The stand-in reads the real configuration and listens where the gateway would; the demo around it is the real one,
in a process of its own. With the real gateway: ``tests/e2e``.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from proxy.cli.demo.box import erase_box
from proxy.cli.demo.lifeline import alive
from proxy.cli.demo.target import erase_target
from proxy.cli.demo.world import WRITTEN
from tests.peers.left_over import end_targets

ROOT = Path(__file__).parents[3]

DEMO = """
import sys
from proxy.cli.demo import supervisor
from proxy.cli.main import main
supervisor.SERVE = (sys.executable, sys.argv[1])
sys.exit(main(["demo", *sys.argv[2:]]))
"""

STAND_IN = """
import http.server, pathlib, socket, ssl, sys, tomllib
folder = pathlib.Path(sys.argv[1]).parent
config = tomllib.loads(pathlib.Path(sys.argv[1]).read_text())
print("the stand-in begins", flush=True)
def place(text):
    host, _, port = text.rpartition(":")
    return host, int(port)
listeners = [socket.create_server(place(each["address"])) for each in config["listeners"]]
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
server = http.server.ThreadingHTTPServer(place(config["api"]["listen"]), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder / config["api"]["tls"]["certificate"], folder / config["api"]["tls"]["key"])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""

BROKEN = "import sys; print('no such tide'); sys.exit(3)"


@dataclass
class Demos:
    """Starts demos, and leaves none behind."""

    scripts: Path
    running: list["subprocess.Popen[str]"] = field(default_factory=list)
    worlds: list[Path] = field(default_factory=list)

    def start(self, *arguments: str, gateway: str = STAND_IN) -> "subprocess.Popen[str]":
        script = self.scripts / "gateway.py"
        script.write_text(gateway)
        demo = subprocess.Popen(
            [sys.executable, "-c", DEMO, str(script), *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.append(demo)
        return demo

    def end(self) -> None:
        for demo in self.running:
            if demo.poll() is None:
                demo.send_signal(signal.SIGTERM)
            demo.communicate(timeout=40)
        for folder in self.worlds:
            end_targets(folder)
            erase_target(folder)
            erase_box(folder)


@pytest.fixture
def demos(tmp_path: Path) -> Iterator[Demos]:
    started = Demos(tmp_path)
    yield started
    started.end()


def until(condition: Callable[[], bool], demo: "subprocess.Popen[str] | None" = None) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        if demo is not None and demo.poll() is not None:
            raise AssertionError(f"the demo has ended: {demo.communicate()[0]}")
        assert time.monotonic() < deadline
        time.sleep(0.02)


def env_of(folder: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder / "demo.env").read_text().splitlines())


def target_pid(folder: Path) -> int:
    return int((folder / "postgres" / "server" / "data" / "postmaster.pid").read_text().splitlines()[0])


def box_pids(folder: Path) -> list[int]:
    """The SSH host's and the echo service's."""
    return [int(json.loads((folder / f"{name}.lock").read_text())[0]) for name in ("ssh_host", "echo")]


def count(uri: str) -> int:
    with psycopg.connect(uri) as connection:
        row = connection.execute("SELECT count(*) FROM customers").fetchone()
    assert row is not None
    return int(row[0])


def started_in(folder: Path, demos: Demos) -> "subprocess.Popen[str]":
    demos.worlds.append(folder)
    demo = demos.start("--dir", str(folder))
    until((folder / "ready").exists, demo)
    return demo


def test_a_world_that_is_kept(tmp_path: Path, demos: Demos) -> None:
    """In ``tmp_path``, which PostgreSQL's own user cannot enter when we are root."""
    folder = tmp_path / "a world"
    (tmp_path / "elsewhere").mkdir()
    first = started_in(tmp_path / "elsewhere" / ".." / "a world", demos)
    before = env_of(folder)
    assert count(before["TIDEGATE_TARGET_PG"]) == 200

    second = demos.start("--dir", str(folder))
    out, _ = second.communicate(timeout=20)
    assert second.returncode == 2
    assert "a demo is running in" in out
    assert (folder / "ready").exists()

    target, others = target_pid(folder), box_pids(folder)
    os.kill(int(before["TIDEGATE_PID"]), signal.SIGKILL)
    out, _ = first.communicate(timeout=20)
    assert first.returncode == 1
    assert "the gateway ended by itself (killed by SIGKILL)" in out
    assert f"tidegate demo --dir '{folder}'" in out  # what to do next
    assert not (folder / "ready").exists()
    assert count(before["TIDEGATE_TARGET_PG"]) == 200  # the target runs on

    third = started_in(folder, demos)
    after = env_of(folder)
    assert target_pid(folder) == target
    assert box_pids(folder) == others
    assert {**after, "TIDEGATE_PID": ""} == {**before, "TIDEGATE_PID": ""}
    third.send_signal(signal.SIGINT)
    out, _ = third.communicate(timeout=40)
    assert third.returncode == 0
    assert not any(map(alive, (target, *others, int(after["TIDEGATE_PID"]))))
    assert {each.name for each in folder.iterdir()} <= {*WRITTEN, "lock"}
    assert "Traceback" not in out
    assert "to take it up again: tidegate demo --dir" in out

    broken = demos.start("--dir", str(folder), gateway=BROKEN)
    out, _ = broken.communicate(timeout=40)
    assert broken.returncode == 1
    assert "the gateway did not start (exit code 3)" in out
    assert "no such tide" in out
    assert "the stand-in begins" in (folder / "gateway.log.1").read_text()
    assert not (folder / "postgres" / "server" / "data" / "postmaster.pid").exists()


def test_somebody_s_folder_is_left_as_it_is(tmp_path: Path, demos: Demos) -> None:
    folder = tmp_path / "theirs"
    (folder / "postgres" / "server").mkdir(parents=True)
    for name in ("postgres/server/kept", "gateway.toml", "gateway.key", "ca.key", "ready"):
        (folder / name).write_text("somebody's")
    before = sorted(folder.rglob("*"))
    demo = demos.start("--dir", str(folder))
    out, _ = demo.communicate(timeout=40)
    assert demo.returncode == 2, out
    assert "holds no world, but ready, postgres, ca.key, gateway.toml, gateway.key" in out
    assert sorted(folder.rglob("*")) == before
    assert all(each.read_text() == "somebody's" for each in before if each.is_file())


def world_of(demo: "subprocess.Popen[str]") -> Path:
    """The folder of a temporary world, from what is printed."""
    assert demo.stdout is not None
    for line in demo.stdout:
        if found := re.search(r"with its world in (\S+) ", line):
            return Path(found.group(1))
    raise AssertionError("the demo printed no folder")


def test_a_temporary_world_tells_its_gateways_last_words(demos: Demos) -> None:
    """Its log goes with it."""
    demo = demos.start()
    folder = world_of(demo)
    os.kill(int(env_of(folder)["TIDEGATE_PID"]), signal.SIGKILL)
    out, _ = demo.communicate(timeout=40)
    assert demo.returncode == 1
    assert "the stand-in begins" in out
    assert not folder.exists()


def test_a_temporary_world_is_gone_after_it(demos: Demos) -> None:
    demo = demos.start("--postgres", "16")
    folder = world_of(demo)
    assert folder.parent == Path(tempfile.gettempdir())
    pids = [target_pid(folder), *box_pids(folder), int(env_of(folder)["TIDEGATE_PID"])]
    demo.send_signal(signal.SIGTERM)
    out, _ = demo.communicate(timeout=40)
    assert demo.returncode == 0
    assert "The world is gone." in out
    assert not folder.exists()
    assert not any(map(alive, pids))


@pytest.mark.skipif(sys.platform != "linux", reason="needs the parent-death signal of Linux")
def test_a_killed_demo_leaves_no_process(demos: Demos) -> None:
    demo = demos.start()
    folder = world_of(demo)
    pids = [target_pid(folder), *box_pids(folder), int(env_of(folder)["TIDEGATE_PID"])]
    demo.kill()
    demo.communicate(timeout=20)
    until(lambda: not any(map(alive, pids)))
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.mark.parametrize("base", ["0", "65530"])
def test_ports_that_do_not_exist_are_wrong_usage(demos: Demos, base: str) -> None:
    demo = demos.start("--port-base", base)
    out, _ = demo.communicate(timeout=20)
    assert demo.returncode == 2
    assert "is no port with 6 more after it" in out


def test_a_version_that_is_not_there_is_wrong_usage(demos: Demos) -> None:
    demo = demos.start("--postgres", "12")
    out, _ = demo.communicate(timeout=20)
    assert demo.returncode == 2
    assert "there is no embedded PostgreSQL 12" in out
    assert "one of: 16, 18" in out
