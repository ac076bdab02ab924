"""``watch``: a live session as it goes on, as its terminal, as text, as JSON lines."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from proxy.api.services import Kept, Noted
from tests.api.world import ApiWorld
from tests.cli.conftest import Shell
from tests.cli.terminals import BEGAN, Scene, command, lines, running, shell, showed
from tests.cli.test_replaying import ran
from tests.peers.terminal import terminal

Step = Callable[[], object]


@pytest.fixture
def scene(world: ApiWorld) -> Scene:
    return Scene(world)


@pytest.fixture
def goes_on(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What happens between two looks, one after the other; more looks than that are a failure."""

    def given(*steps: Step) -> None:
        left = iter(steps)
        monkeypatch.setattr("proxy.cli.following.time.sleep", lambda _: next(left)())

    return given


def test_statements_are_told_as_they_begin_and_end(
    scene: Scene, tidegate: Shell, goes_on: Callable[..., None]
) -> None:
    def ends() -> None:
        scene.ran[0] = command(1, "sleep 5", 1)
        scene.ran.append(running(command(2, "sleep 6", 7)))
        scene.world.recordings.noted.append(Noted(BEGAN + 8, "denied", {"what": "agent"}))

    def cut() -> None:
        scene.ran[1] = command(2, "sleep 6", 7, outcome="cut", tag=None)
        scene.world.recordings.noted.append(Noted(BEGAN + 9, "farewell", {"text": "lunch"}))
        scene.end()

    scene.ran.append(running(command(1, "sleep 5", 1)))
    goes_on(lambda: None, ends, lambda: None, cut)
    done = tidegate("carol", "watch", "session-1")
    assert done.code == 0, done.err
    assert [line.partition("] ")[2] or line for line in done.out.splitlines()] == [
        "session session-1: alice as readonly@shop, from 10.1.2.3",
        "#1 exec sleep 5",
        "#2 exec sleep 6",
        "-- denied: what agent",
        f"    output: 5 bytes, sha256 {'ab' * 32}",
        "    #1 -> exit 0 in 1.5 ms",
        "-- session was cut: lunch",
        f"    output: 5 bytes, sha256 {'ab' * 32}",
        "    #2 -> cut after 1.5 ms",
        "ended, cut_by_admin: by dave: lunch",
    ]


def test_sql_is_followed_too(scene: Scene, tidegate: Shell, goes_on: Callable[..., None]) -> None:
    scene.ran += [ran(1, "select 1", 1), running(ran(2, "select pg_sleep(9)", 2))]

    def over() -> None:
        scene.ran[1] = ran(2, "select pg_sleep(9)", 2, outcome="failed", sqlstate="57014", error="cancelled")
        scene.end()

    goes_on(over)
    told = tidegate("carol", "watch", "session-1").out.splitlines()
    assert any(line.endswith("#1 select 1") for line in told)
    assert "    -> SELECT 1 in 1.5 ms" in told
    assert "    #2 -> failed after 1.5 ms: 57014 cancelled" in told


def test_a_session_that_is_over_is_told_at_once(
    scene: Scene, tidegate: Shell, goes_on: Callable[..., None]
) -> None:
    scene.ran.append(ran(1, "select 1", 1))
    scene.end()
    goes_on()
    told = tidegate("carol", "watch", "session-1").out
    assert "#1 select 1" in told
    assert "ended, cut_by_admin" in told


def test_json_lines_say_what_each_is(scene: Scene, tidegate: Shell, goes_on: Callable[..., None]) -> None:
    scene.ran.append(running(shell(1)))
    scene.kept += showed((1.5, b"$ \xff"))

    def over() -> None:
        scene.ran[0] = shell(1)
        scene.world.recordings.noted.append(Noted(BEGAN + 9, "signal", {"statement": 1, "signal": "HUP"}))
        scene.end()

    goes_on(over)
    told = lines(tidegate("carol", "watch", "session-1", "--json").out)
    assert all(len(each) == 1 for each in told)
    assert [next(iter(each)) for each in told] == [
        "session",
        "statement",
        "output",
        "output",
        "note",
        "statement",
        "ended",
    ]
    assert [each["statement"]["outcome"] for each in told if "statement" in each] == [None, "failed"]
    assert told[3]["output"]["data"] == "JCD/"
    assert told[-1]["ended"]["end_reason"] == "cut_by_admin"


def test_one_statement_is_followed_alone(scene: Scene, tidegate: Shell, goes_on: Callable[..., None]) -> None:
    scene.ran += [running(shell(1)), running(shell(2)), command(3, "ls", 3)]
    scene.kept += [*showed((1.5, b"first\r\n")), *showed((1.6, b"second\r\n"), seq=2, first=20)]

    def over() -> None:
        scene.ran[0], scene.ran[1] = shell(1), shell(2)
        scene.end()

    goes_on(over)
    told = tidegate("carol", "watch", "session-1", "--statement", "2").out
    assert "    #2 | second" in told
    assert "    #2 -> failed after 9000 ms: exit 7" in told
    assert "first" not in told
    assert "exec" not in told


def test_many_pages_are_caught_up_without_waiting(
    scene: Scene, tidegate: Shell, goes_on: Callable[..., None]
) -> None:
    scene.ran.append(shell(1))
    scene.kept += showed(*((1.0 + n / 1000, b"line %d\r\n" % n) for n in range(2500)))
    scene.end()
    goes_on()
    told = tidegate("carol", "watch", "session-1").out.splitlines()
    assert [line for line in told if " | line " in line] == [f"    #1 | line {n}" for n in range(2500)]


def test_ctrl_c_ends_the_watching_and_nothing_else(
    scene: Scene, tidegate: Shell, goes_on: Callable[..., None]
) -> None:
    def stop() -> Any:
        raise KeyboardInterrupt

    scene.ran.append(running(command(1, "sleep 5", 1)))
    goes_on(stop)
    done = tidegate("carol", "watch", "session-1")
    assert done.code == 0
    assert "the session goes on" in done.err


def test_somebody_elses_session_is_1(scene: Scene, tidegate: Shell) -> None:
    assert tidegate("eve", "watch", "session-1").code == 1


# -- in a terminal -----------------------------------------------------------------------------------------------


def watching(tidegate: Shell) -> tuple[list[str], dict[str, str]]:
    tidegate("carol", "whoami")
    environment = {**os.environ, "TIDEGATE_HOME": str(tidegate.home("carol")), "LANG": "C.UTF-8"}
    return [sys.executable, "-m", "proxy.cli", "watch", "session-1"], environment


def test_the_only_terminal_is_shown_until_more_runs(scene: Scene, tidegate: Shell) -> None:
    words, environment = watching(tidegate)
    with terminal(words, environment) as person:
        person.expect(b"session session-1")
        scene.ran.append(running(shell(1)))
        scene.kept += showed((1.5, b"$ \x1b]0;t\x07\x1b[?1049h\x1b[1mbold\x1b[0m"))
        at = person.expect(b"$ \x1b[?1049h\x1b[1mbold\x1b[0m")
        scene.kept.append(Kept(30, 2.0, 1, "output", b"\x1b[6nmore\n"))
        at = person.expect(b"more\n", at)
        scene.ran.append(running(command(2, "id", 3)))
        at = person.expect(b"\x1b[?1049l", at)
        at = person.expect(b"more runs in this session", at)
        at = person.expect(b"#2 exec id", at)
        scene.kept.append(Kept(31, 4.0, 1, "output", b"as text\r\n"))
        at = person.expect(b"    #1 | ", at)
        at = person.expect(b"as text", at)
        scene.ran[:] = [shell(1), command(2, "id", 3)]
        scene.end()
        at = person.expect(b"#1 -> failed after 9000 ms: exit 7", at)
        person.expect(b"ended, cut_by_admin: by dave: lunch", at)
        assert person.end() == 0
        assert b"\x1b]0" not in person.seen
        assert b"\x1b[6n" not in person.seen


def test_ctrl_c_in_a_terminal_leaves_it_usable(scene: Scene, tidegate: Shell) -> None:
    scene.ran.append(running(shell(1)))
    scene.kept += showed((1.5, b"\x1b[?1049hshown"))
    words, environment = watching(tidegate)
    with terminal(words, environment) as person:
        at = person.expect(b"shown")
        left = 0
        while not left:  # one was lost once, it is not known where: one presses again
            person.type(b"\x03")
            with contextlib.suppress(AssertionError):
                left = person.expect(b"\x1b[?1049l", at, within=5)
        at = left
        person.expect(b"the session goes on", at)
        assert person.end() == 0


def test_a_terminal_that_ends_says_how(scene: Scene, tidegate: Shell) -> None:
    scene.ran.append(shell(1))
    scene.kept += showed((1.5, b"bye\r\n"))
    scene.end()
    words, environment = watching(tidegate)
    with terminal(words, environment) as person:
        assert person.end() == 0
        assert b"bye\r\n" in person.seen
        assert b"    #1 -> failed after 9000 ms: exit 7" in person.seen
