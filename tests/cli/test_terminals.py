"""``replay`` of sessions that have terminals: played in one, told as text, made casts of."""

import os
import shutil
import sys
import termios
from pathlib import Path

import pytest

from proxy.api.services import Kept, Noted
from tests.api.world import ApiWorld
from tests.cli.conftest import Shell
from tests.cli.terminals import BEGAN, Scene, command, lines, shell, showed
from tests.peers.terminal import terminal

TORN = b"\x1b]52;c;aGk=\x07\x1b[31mred\x1b[0m \xe2\x82"


def observed(second: float, text: str, source: str, exit: int | None) -> Noted:
    data = {"statement": 1, "text": text, "source": source, "exit": exit}
    return Noted(BEGAN + second, "command_observed", data)


@pytest.fixture
def scene(world: ApiWorld) -> Scene:
    """A shell that has ended, and a command beside it."""
    made = Scene(world)
    made.end()
    made.ran += [shell(1), command(2, "rm -rf /tmp/\x1b[2Jx", 3)]
    made.kept += showed((1.5, b"$ "), (2.5, b"l"), (2.75, b"s\r\n" + TORN), (7.75, b"\xac\r\n$ exit\r\n"))
    made.kept.append(Kept(20, 8.0, 2, "output", b"bytes of a pipe\r\n"))
    world.recordings.noted = [
        observed(3, "ls\x1b[2J", "screen", None),
        observed(3.5, "true", "osc133", 0),
        Noted(BEGAN + 4, "denied", {"what": "agent", "detail": "nobody may"}),
    ]
    return made


def test_a_pipe_gets_text_with_the_commands_seen_and_the_lines_shown(scene: Scene, tidegate: Shell) -> None:
    done = tidegate("carol", "replay", "session-1")
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    told = done.out.splitlines()
    expected = [
        "] #1 shell in a terminal of 100x30",
        "    -> failed after 9000 ms: exit 7",
        "    #1 | $ ls",
        "] #2 exec rm -rf /tmp/\\x1b[2Jx",
        f"    output: 5 bytes, sha256 {'ab' * 32}",
        "    -> exit 0 in 1.5 ms",
        "] -- in #1 perhaps: ls\\x1b[2J  (seen: screen)",
        "] -- in #1 perhaps: true  (seen: osc133, exit 0)",
        "] -- denied: what agent, detail nobody may",
        "    #1 | red \u20ac",
        "    #1 | $ exit",
    ]
    places = [next(at for at, line in enumerate(told) if line.endswith(each)) for each in expected]
    assert places == sorted(places)
    assert told[-1].endswith("ended, cut_by_admin: by dave: lunch")
    assert "bytes of a pipe" not in done.out, "what has no terminal may be anything"


def test_one_statement_of_several(scene: Scene, tidegate: Shell) -> None:
    told = tidegate("carol", "replay", "session-1", "--statement", "2").out
    assert "exec rm" in told
    assert "shell" not in told
    assert "perhaps" not in told
    one = tidegate("carol", "replay", "session-1", "--statement", "1", "--json").json
    assert [each["seq"] for each in one["items"]] == [1]
    missing = tidegate("carol", "replay", "session-1", "--statement", "3")
    assert (missing.code, "there is no statement 3" in missing.err) == (1, True)


def test_json_is_one_object_a_statement_as_ever(scene: Scene, tidegate: Shell) -> None:
    told = lines(tidegate("carol", "replay", "session-1", "--format", "json").out)
    assert [each["seq"] for each in told] == [1, 2]
    assert told[0]["terminal"] == {"columns": 100, "rows": 30}


def test_a_terminal_is_played_at_its_pace_without_what_drives_one(
    scene: Scene, tidegate: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("proxy.cli.playing.time.sleep", waited.append)
    done = tidegate("carol", "replay", "session-1", "--format", "terminal")
    assert done.code == 0, done.err
    assert "\x1b]52" not in done.out
    assert "$ ls\r\n\x1b[31mred\x1b[0m \u20ac\r\n$ exit\r\n" in done.out
    assert "#1 -> failed after 9000 ms: exit 7" in done.out
    assert [each for each in waited if each] == [0.5, 1.0, 0.25, 2.0], "nobody waits longer than two seconds"
    waited.clear()
    tidegate("carol", "replay", "session-1", "--format", "terminal", "--speed", "2", "--idle", "1")
    assert [each for each in waited if each] == [0.25, 0.5, 0.125, 1.0]
    waited.clear()
    tidegate("carol", "replay", "session-1", "--format", "terminal", "--speed", "0")
    assert [each for each in waited if each] == []


def test_several_terminals_are_played_one_after_the_other(scene: Scene, tidegate: Shell) -> None:
    scene.ran.append(shell(3))
    scene.kept += showed((9.0, b"\x1b[?1049hthird"), seq=3, first=30)
    told = tidegate("carol", "replay", "session-1", "--format", "terminal", "--speed", "0").out
    assert told.index("$ exit") < told.index("#3 shell") < told.index("third")
    assert told.index("third") < told.index("\x1b[?1049l"), "the alternate screen is left"
    only = tidegate("carol", "replay", "session-1", "--format", "terminal", "--speed", "0", "--statement", "3").out
    assert "third" in only
    assert "$ exit" not in only


def test_what_has_no_terminal_cannot_be_played(scene: Scene, tidegate: Shell) -> None:
    done = tidegate("carol", "replay", "session-1", "--format", "terminal", "--statement", "2")
    assert (done.code, "has no terminal" in done.err) == (1, True)


# -- in a terminal -----------------------------------------------------------------------------------------------


def environment(tidegate: Shell) -> dict[str, str]:
    tidegate("carol", "whoami")
    return {**os.environ, "TIDEGATE_HOME": str(tidegate.home("carol")), "LANG": "C.UTF-8"}


def test_in_a_terminal_it_plays_by_itself_and_leaves_it_as_it_was(scene: Scene, tidegate: Shell) -> None:
    scene.kept += [Kept(31, 9.0, 1, "output", b"\x1b[?1049h\x1b[?25l\x1b[2;5r\x1b[7mend\nx")]
    words = [sys.executable, "-m", "proxy.cli", "replay", "session-1", "--speed", "0"]
    with terminal(words, environment(tidegate), columns=80) as person:
        before = termios.tcgetattr(person.fd)
        assert person.end() == 0
        seen = person.seen
        assert termios.tcgetattr(person.fd) == before
    assert b"it had 100x30 characters, this terminal has 80x24" in seen
    assert b"$ ls\r\n\x1b[31mred" in seen
    assert b"end\nx" in seen, "the terminal adds no carriage returns of its own"
    left = seen[seen.index(b"end\nx") :]
    for undone in (b"\x1b[?1049l", b"\x1b[r", b"25h", b"\x1b[m"):
        assert undone in left
    assert left.rstrip().endswith(b"ended, cut_by_admin: by dave: lunch")


def test_ctrl_c_leaves_the_terminal_as_it_was(scene: Scene, tidegate: Shell) -> None:
    scene.kept += [
        Kept(31, 9.0, 1, "output", b"\x1b[?1049hshown"),
        Kept(32, 9999.0, 1, "output", b"never shown"),
    ]
    words = [sys.executable, "-m", "proxy.cli", "replay", "session-1", "--idle", "60", "--speed", "10"]
    with terminal(words, environment(tidegate)) as person:
        before = termios.tcgetattr(person.fd)
        person.expect(b"shown")
        assert termios.tcgetattr(person.fd) != before
        person.type(b"typed\x03")
        assert person.end() == 130
        assert termios.tcgetattr(person.fd) == before
        assert b"typed" not in person.seen
        assert b"\x1b[?1049l" in person.seen
        assert b"never" not in person.seen


# -- asciicasts --------------------------------------------------------------------------------------------------


def test_a_cast_of_a_terminal(scene: Scene, tidegate: Shell) -> None:
    scene.kept[1:1] = [Kept(0, 1.25, 1, "input", b"l\xff")]
    scene.kept.insert(4, Kept(0, 2.6, 1, "resize", columns=120, rows=40))
    for number, each in enumerate(scene.kept):
        object.__setattr__(each, "number", number + 1)
    head, *events = lines(tidegate("carol", "replay", "session-1", "--format", "asciicast").out)
    assert head == {
        "version": 2,
        "width": 100,
        "height": 30,
        "timestamp": int(BEGAN) + 1,
        "title": "alice on shop: session-1 #1",
    }
    assert events[:-1] == [
        [0.25, "i", "l\ufffd"],
        [0.5, "o", "$ "],
        [1.5, "o", "l"],
        [1.6, "r", "120x40"],
        [1.75, "o", "s\r\n\x1b[31mred\x1b[0m "],
        [6.75, "o", "\u20ac\r\n$ exit\r\n"],
    ]
    assert events[-1][:2] == [6.75, "o"]
    head, *third = lines(tidegate("carol", "replay", "session-1", "--format", "asciicast-v3").out)
    assert (head["version"], head["term"]) == (3, {"cols": 100, "rows": 30})
    assert "width" not in head
    assert [each[0] for each in third] == [0.25, 0.25, 1.0, 0.1, 0.15, 5.0, 0.0, 2.25]
    assert [each[1:] for each in third[:-1]] == [each[1:] for each in events]
    assert third[-1][1:] == ["x", "7"]


def test_several_terminals_make_a_cast_of_the_first_or_the_one_asked_for(scene: Scene, tidegate: Shell) -> None:
    scene.ran.append(shell(3, tag="signal KILL", terminal={"columns": 0, "rows": 99999}))
    scene.kept += showed((9.0, b"third"), seq=3, first=30)
    done = tidegate("carol", "replay", "session-1", "--format", "asciicast")
    assert "$ " in done.out
    assert "third" not in done.out
    assert "statement 1; --statement for others: 3" in done.err
    head, *events = lines(
        tidegate("carol", "replay", "session-1", "--format", "asciicast-v3", "--statement", "3").out
    )
    assert head["term"] == {"cols": 80, "rows": 24}, "a size no terminal has"
    assert [each[1] for each in events] == ["r", "o", "o"], "a signal is no exit status"


def test_what_has_no_terminal_makes_a_cast_of_its_text(scene: Scene, tidegate: Shell) -> None:
    for version, name in ((2, "asciicast"), (3, "asciicast-v3")):
        told = tidegate("carol", "replay", "session-1", "--format", name, "--statement", "2").out
        head, *events = lines(told)
        assert head["version"] == version
        assert any("exec rm -rf" in each[2] for each in events)


@pytest.mark.skipif(shutil.which("asciinema") is None, reason="not here: apt-get install asciinema")
def test_asciinema_takes_a_cast(scene: Scene, tidegate: Shell, tmp_path: Path) -> None:
    """Debian's knows version 2 only; it wants a terminal for printing, too."""
    program = str(shutil.which("asciinema"))
    cast = tmp_path / "session.cast"
    cast.write_text(tidegate("carol", "replay", "session-1", "--format", "asciicast").out)
    home = {**os.environ, "LANG": "C.UTF-8", "ASCIINEMA_CONFIG_HOME": str(tmp_path)}
    for words in (["cat"], ["play", "--speed", "1000"]):
        with terminal([program, *words, str(cast)], home) as person:
            assert person.end() == 0, person.seen
        shown = person.seen.replace(b"\r\r", b"\r")
        assert "$ ls\r\n\x1b[31mred\x1b[0m \u20ac\r\n$ exit\r\n".encode() in shown
