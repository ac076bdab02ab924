"""The supervisor: who stops last, how long anybody may take, what a signal does to who is not up yet."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway_config.loading import load
from proxy.app import serving

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
    with (folder / "said").open("a") as file:
        file.write({role!r} + " " + word + "\\n")
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
def supervised(folder: Path, roles: dict[str, str], patience: float = 10, last: str = "") -> Iterator[Supervised]:
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, repr((roles, patience, (last,)))])
    running = Supervised(folder, process)
    try:
        running.until(lambda said: {f"{role} up" for role in roles} <= set(said))
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        process.wait(20)


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
