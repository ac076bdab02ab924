"""The supervisor: who stops last, how long anybody may take, what a signal does to who is not up yet."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway_config.loading import load
from proxy.app import serving
from proxy.cli.demo.lifeline import alive
from proxy.cli.demo.postgres import free_port

SUPERVISOR = """
import sys
from proxy.app.supervision import supervise
roles, patience, last = eval(sys.argv[1])
commands = {role: [sys.executable, "-c", script] for role, script in roles.items()}
sys.exit(supervise(commands, {"PATH": ""}, patience=lambda: patience, last=last))
"""
CHILD = """
import pathlib, signal, sys, time
folder = pathlib.Path({folder!r})
def say(word):
    # A handler that ends the process would cut short what another is saying.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP, signal.SIGTERM])
    with (folder / "said").open("a") as file:
        file.write({role!r} + " " + word + "\\n")
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
def stop(*_):
    say("stops")
    time.sleep({takes})
    say("gone")
    sys.exit()
signal.signal(signal.SIGTERM, stop)
say("up")
"""
WAIT = """
while True:
    time.sleep(0.01)
"""


ROOT = Path(__file__).parents[2]
CONTAINER = ("unshare", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture
def container() -> tuple[str, ...]:
    """What is run with these words before it is process 1."""
    if subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no namespace can be had here: unshare(1)")
    return CONTAINER


class Supervised:
    """A running supervisor; ``said`` is what its children have said so far."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.process = process

    def said(self) -> list[str]:
        path = self.folder / "said"
        return path.read_text().splitlines() if path.exists() else []

    def until(self, wanted: Callable[[list[str]], bool]) -> list[str]:
        deadline = time.monotonic() + 10
        while not wanted(said := self.said()):
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
        return said


def child(folder: Path, role: str, more: str = WAIT, takes: float = 0.0) -> str:
    return CHILD.format(folder=str(folder), role=role, takes=takes) + more


@contextmanager
def supervised(
    folder: Path, roles: dict[str, str], patience: float = 10, last: str = "", within: tuple[str, ...] = ()
) -> Iterator[Supervised]:
    command = [*within, sys.executable, "-c", SUPERVISOR, repr((roles, patience, (last,)))]
    process = subprocess.Popen(command, cwd=ROOT)
    running = Supervised(folder, process)
    try:
        running.until(lambda said: {f"{role} up" for role in roles} <= set(said))
        yield running
    finally:
        try:
            process.terminate()
            process.wait(20)
        finally:
            process.kill()
            process.wait()


def test_the_last_is_stopped_when_the_others_are_gone(tmp_path: Path) -> None:
    roles = {"worker": child(tmp_path, "worker", takes=0.3), "api": child(tmp_path, "api")}
    with supervised(tmp_path, roles, last="api") as running:
        running.process.terminate()
        assert running.process.wait(10) == 0
    assert running.said()[-4:] == ["worker stops", "worker gone", "api stops", "api gone"]


def test_who_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    roles = {"stubborn": child(tmp_path, "stubborn", takes=600), "worker": child(tmp_path, "worker")}
    with supervised(tmp_path, roles, patience=0.5) as running:
        running.process.terminate()
        assert running.process.wait(10) == 0
    assert "stubborn gone" not in running.said()


def test_when_one_dies_the_others_are_stopped(tmp_path: Path) -> None:
    mortal = child(tmp_path, "mortal", 'while not (folder / "die").exists(): time.sleep(0.01)\n')
    with supervised(tmp_path, {"mortal": mortal, "worker": child(tmp_path, "worker")}) as running:
        (tmp_path / "die").touch()
        assert running.process.wait(10) == 1
    assert running.said()[-1] == "worker gone"


def test_a_hangup_reaches_who_listens_and_ends_nobody_who_does_not_yet(tmp_path: Path) -> None:
    listens = 'signal.signal(signal.SIGHUP, lambda *_: say("heard"))\nsay("listens")\n' + WAIT
    starting = 'while not (folder / "go").exists(): time.sleep(0.01)\nsay("alive")\n' + WAIT
    roles = {"starting": child(tmp_path, "starting", starting), "worker": child(tmp_path, "worker", listens)}
    with supervised(tmp_path, roles) as running:
        running.until(lambda said: "worker listens" in said)
        running.process.send_signal(signal.SIGHUP)
        running.until(lambda said: "worker heard" in said)
        (tmp_path / "go").touch()
        running.until(lambda said: "starting alive" in said)
        assert running.process.poll() is None


def test_a_hangup_during_the_stop_is_passed_on(tmp_path: Path) -> None:
    """Sessions are waited for then: what a reload would end must end."""
    worker = """
def heard(*_):
    say("heard")
    sys.exit()
def stop(*_):
    say("waits")
signal.signal(signal.SIGHUP, heard)
signal.signal(signal.SIGTERM, stop)
say("listens")
"""
    hears = 'signal.signal(signal.SIGHUP, lambda *_: say("heard"))\nsay("listens")\n' + WAIT
    roles = {"worker": child(tmp_path, "worker", worker + WAIT), "api": child(tmp_path, "api", hears)}
    with supervised(tmp_path, roles, last="api") as running:
        running.until(lambda said: {"worker listens", "api listens"} <= set(said))
        running.process.terminate()
        running.until(lambda said: "worker waits" in said)
        running.process.send_signal(signal.SIGHUP)
        running.until(lambda said: {"worker heard", "api heard"} <= set(said))
        assert running.process.wait(10) == 0
    assert running.said()[-2:] == ["api stops", "api gone"]


def test_signals_that_come_in_a_storm_do_not_hold_it_up(tmp_path: Path) -> None:
    """A handler that takes a lock waits for ever for the very code it interrupted."""
    deaf = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\nsay('listens')\n" + WAIT
    with supervised(tmp_path, {"worker": child(tmp_path, "worker", deaf)}) as running:
        running.until(lambda said: "worker listens" in said)
        for _ in range(20_000):
            running.process.send_signal(signal.SIGHUP)
        running.process.terminate()
        assert running.process.wait(20) == 0
    assert running.said()[-1] == "worker gone"


HALF_WAY = """
import pathlib, sys, time
from proxy.app.supervision import supervise
class Commands(dict):
    def items(self):
        yield "worker", [sys.executable, "-c", sys.argv[1]]
        while not pathlib.Path(sys.argv[2]).exists():
            time.sleep(0.01)
        yield "api", ["/nonexistent"]
supervise(Commands(), {"PATH": ""}, patience=lambda: 10)
"""


def test_who_was_started_is_stopped_when_another_cannot_be(tmp_path: Path) -> None:
    said = tmp_path / "said"
    worker = child(tmp_path, "worker", f'import os\nsay(f"is {{os.getpid()}}")\n{WAIT}')
    command = [sys.executable, "-c", HALF_WAY, worker, str(said)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20, check=False)
    assert b"No such file or directory: '/nonexistent'" in done.stderr
    for pid in (int(line.split()[-1]) for line in said.read_text().splitlines() if " is " in line):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
            pytest.fail("it runs on")


def test_nothing_stays_as_a_zombie_where_it_is_process_1(tmp_path: Path, container: tuple[str, ...]) -> None:
    """What a health check or ``docker exec`` has left is its child then."""
    orphan = """
import os, subprocess
subprocess.run(["/bin/sh", "-c", "sleep 0.1 & echo $! >" + str(folder / "orphan")])
path = "/proc/" + (folder / "orphan").read_text().strip()
say("left one")
while os.path.exists(path):
    time.sleep(0.01)
say("it is gone")
"""
    roles = {"worker": child(tmp_path, "worker", orphan + WAIT)}
    with supervised(tmp_path, roles, within=container) as running:
        running.until(lambda said: "worker it is gone" in said)
        os.kill(process_1(running.process), signal.SIGTERM)
        assert running.process.wait(10) == 0
    assert running.said()[-1] == "worker gone"


def process_1(unshare: "subprocess.Popen[bytes]") -> int:
    """The first process of the container, by the id it has here."""
    return int(Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text())


def test_the_gateway_runs_as_process_1_of_a_container(tmp_path: Path, container: tuple[str, ...]) -> None:
    """Its processes took themselves for orphans of a supervisor that had died: their parent was process 1."""
    file, port = tmp_path / "gateway.toml", free_port()
    file.write_text(f'[api]\nlisten = "127.0.0.1:{port}"\n')
    command = [*container, sys.executable, "-m", "proxy.cli", "serve", "--config", str(file)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 40
        while not healthy(port):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
        os.kill(process_1(process), signal.SIGTERM)
        assert process.wait(20) == 0
        assert "has died" not in (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()


def healthy(port: int) -> bool:
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as told,
    ):
        return bool(told.status == 200)
    return False


def test_who_started_after_its_parent_s_death_ends_at_once(tmp_path: Path) -> None:
    code = "from proxy.app.supervision import die_with_parent\ndie_with_parent({parent})\nprint('lives on')"
    for parent, told in ((os.getpid(), b"lives on\n"), (2**22 + 1, b"")):
        command = [sys.executable, "-c", code.format(parent=parent)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20, check=False)
        assert (done.stdout, done.returncode) == (told, int(not told))


def test_a_configuration_that_cannot_be_read_at_all_keeps_nobody_from_being_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(MINIMAL.format(grace="60s"))
    started_with = load(file)

    def fails(_: Path) -> None:
        raise RecursionError

    monkeypatch.setattr(serving, "load", fails)
    assert serving.patience(file, started_with) == 60 + serving.CONCLUDING


@pytest.mark.parametrize(("now", "longest"), [("5m", 300.0), ("2s", 60.0), ("broken", 60.0)])
def test_a_stop_waits_for_the_grace_there_was_and_the_one_there_is(
    tmp_path: Path, now: str, longest: float
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(MINIMAL.format(grace="60s"))
    started_with = load(file)
    file.write_text(MINIMAL.format(grace=now))
    assert serving.patience(file, started_with) == longest + serving.CONCLUDING


MINIMAL = """
[limits]
shutdown_grace = "{grace}"
[api]
listen = "127.0.0.1:8443"
"""
