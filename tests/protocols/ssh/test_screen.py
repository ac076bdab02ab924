"""What is typed in a terminal is guessed from what it shows. With a real bash under a pty where it matters."""

import os
import pty
import select
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocols.ssh.screen import ENTERS_MOST, STRING_MOST, TEXT_MOST, Observed, Screen


class Bash:
    """A real bash in a terminal of its own, whose bytes both ways go through a screen."""

    def __init__(self, home: Path, columns: int = 80, start_up: str = "") -> None:
        (home / "rc").write_text(f"PS1='box> '\nunset HISTFILE\n{start_up}\n")
        self.screen = Screen(columns, 24)
        self.observed: list[Observed] = []
        self.shown = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            environment = {
                "TERM": "xterm-256color",
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "LANG": "C.UTF-8",
            }
            os.execve("/bin/bash", ["bash", "--noprofile", "--rcfile", str(home / "rc"), "-i"], environment)
        termios.tcsetwinsize(self.fd, (24, columns))
        self.until(b"box> ")

    def until(self, text: bytes) -> None:
        """Read until this is shown, from where the last one ended."""
        assert self.shows(text, 10), f"not shown: {text!r} in {self.shown!r}"

    def shows(self, text: bytes, within: float) -> bool:
        """Whether it does before it falls silent for so many seconds."""
        while text not in self.shown:
            if not select.select([self.fd], [], [], within)[0]:
                return False
            data = os.read(self.fd, 4096)
            self.shown += data
            self.observed += self.screen.feed_output(data)
        self.shown = self.shown[self.shown.index(text) + len(text) :]
        return True

    def give_up(self) -> None:
        """^C, until the prompt is there: now and then bash does not show it after the first."""
        for _ in range(10):
            self.keys(b"\x03")
            if self.shows(b"box> ", 1):
                return
        raise AssertionError(f"no prompt after ^C: {self.shown!r}")

    def keys(self, keys: bytes) -> None:
        self.observed += self.screen.feed_input(keys)
        while keys:
            keys = keys[os.write(self.fd, keys) :]

    def run(self, keys: bytes) -> None:
        """Type, press Enter, and wait for the next prompt: the line that is edited may show one too."""
        self.keys(keys + b"; echo d''one\r" if not keys.endswith(b"\r") else keys)
        self.until(b"done\r\n")
        self.until(b"box> ")

    @property
    def texts(self) -> list[str]:
        return [each.text for each in self.observed]

    def end(self) -> None:
        os.close(self.fd)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def bash(tmp_path: Path) -> Iterator[Bash]:
    shell = Bash(tmp_path)
    yield shell
    shell.end()


END = "; echo d''one"


def test_plain_lines(bash: Bash) -> None:
    bash.run(b"echo hello")
    bash.run(b"ls /")
    assert bash.observed == [Observed(f"echo hello{END}", "screen"), Observed(f"ls /{END}", "screen")]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (b"echo helo\x1b[Dl\x1b[C x", "echo hello x"),
        (b"ecko\x7f\x7fho y", "echo y"),
        (b"rm -rf /\x15echo safe", "echo safe"),
        (b"cho start\x01e\x05 end", "echo start end"),
        (b"echo one two\x17three", "echo one three"),
        (b"echo abc\x01\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x0bxyz", "echo xyz"),
        (b"echo abcd\x02\x02\x04\x05", "echo abd"),
        ("echo grüße 日本\x7f語".encode(), "echo grüße 日語"),
    ],
)
def test_edited_lines(bash: Bash, keys: bytes, expected: str) -> None:
    bash.run(keys)
    assert bash.texts == [expected + END]


def test_history_and_completion(bash: Bash, tmp_path: Path) -> None:
    (tmp_path / "averylongname.txt").write_text("")
    bash.run(b"echo first")
    bash.run(b"echo second")
    bash.run(b"\x1b[A\x1b[A\r")
    bash.run(b"ls averyl\t")
    bash.run(b"\x12second\x05\r")
    assert bash.texts == [
        *(f"echo first{END}", f"echo second{END}", f"echo first{END}"),
        *(f"ls averylongname.txt {END}", f"echo second{END}"),
    ]


def test_a_line_longer_than_the_terminal(bash: Bash) -> None:
    long = b"echo " + b"0123456789" * 18
    bash.run(long)
    bash.run(b"\x1b[A\x01" + b"\x1b[C" * 5 + b"XY\x05\r")
    edited = (long + END.encode()).replace(b"echo ", b"echo XY", 1).decode()
    assert bash.texts == [long.decode() + END, edited]


def test_what_is_typed_without_an_echo_is_not_seen(bash: Bash) -> None:
    bash.keys(b"read -s -p 'Password: ' p; echo; echo d''one\r")
    bash.until(b"Password: ")
    bash.until(b"Password: ")
    bash.keys(b"hunter2\r")
    bash.until(b"done\r\n")
    bash.until(b"box> ")
    bash.run(b"echo after")
    assert bash.texts == [f"read -s -p 'Password: ' p; echo{END}", f"echo after{END}"]


def test_nothing_typed_and_given_up(bash: Bash) -> None:
    bash.keys(b"\r")
    bash.until(b"box> ")
    bash.keys(b"rm -rf /")
    bash.until(b"rm -rf /")
    bash.give_up()
    bash.run(b"echo x")
    assert bash.texts == [f"echo x{END}"]


def test_a_shell_that_marks(tmp_path: Path) -> None:
    rc = (
        "PS1='\\[\\e]133;A\\a\\]box> \\[\\e]133;B\\a\\]'; PS0='\\e]133;C\\a'; "
        "PROMPT_COMMAND='printf \"\\033]133;D;%s\\007\" $?'"
    )
    shell = Bash(tmp_path, start_up=rc)
    try:
        shell.run(b"echo ab\x7fc")
        shell.keys(b"\r")
        shell.until(b"box> ")
        shell.keys(b"(exit 7)\r")
        shell.until(b"box> ")
        shell.keys(b"echo d''one; sleep 100\r")
        shell.until(b"done\r\n")
        shell.observed += shell.screen.finish()
    finally:
        shell.end()
    assert shell.observed == [
        Observed(f"echo ac{END}", "osc133", 0),
        Observed("(exit 7)", "osc133", 7),
        Observed("echo d''one; sleep 100", "osc133", None),
    ]


# -- without a shell ---------------------------------------------------------------------------------------------


def play(*turns: tuple[str, bytes], columns: int = 80, size: int = 0) -> list[Observed]:
    screen = Screen(columns, 24)
    found: list[Observed] = []
    for who, data in turns:
        feed = screen.feed_input if who == "in" else screen.feed_output
        for start in range(0, len(data), size or len(data) or 1):
            found += feed(data[start : start + (size or len(data))])
    return found + screen.finish()


def test_the_alternate_screen_is_not_looked_at() -> None:
    turns = [("out", b"$ "), ("in", b"vi x"), ("out", b"vi x"), ("in", b"\r"), ("out", b"\r\n\x1b[?1049h$ ")]
    turns += [
        ("in", b"secret\r"),
        ("out", b"secret\r\n"),
        ("out", b"\x1b[?1049l$ "),
        ("in", b"id\r"),
        ("out", b"id\r\n"),
    ]
    assert [each.text for each in play(*turns)] == ["vi x", "id"]


def test_a_paste_of_lines_is_not_pressing_enter() -> None:
    turns = [("out", b"$ "), ("in", b"\x1b[200~a\rb\x1b[201~"), ("out", b"a\r\nb"), ("out", b"\r\noutput\r\n$ ")]
    assert play(*turns) == []


def test_typed_ahead() -> None:
    turns = [("out", b"$ "), ("in", b"make\rls\r"), ("out", b"make\r\n"), ("out", b"built\r\nthings\r\n")]
    assert [each.text for each in play(*turns, ("out", b"$ ls\r\n"))] == ["make", "ls"]


def test_what_the_terminal_answers_is_no_key() -> None:
    turns = [("out", b"\x1b[6n"), ("in", b"\x1b[1;1R"), ("out", b"$ "), ("in", b"id\r"), ("out", b"id\r\n")]
    assert [each.text for each in play(*turns)] == ["id"]


def test_the_command_line_that_the_shell_tells() -> None:
    marks = b"\x1b]633;A\x07$ \x1b]633;B\x07"
    turns = [("out", marks), ("in", b"x\r"), ("out", b"x\r\n\x1b]633;E;echo a\\x3bb\\\\;nonce\x1b\\\x1b]633;C\x07")]
    assert play(*turns, ("out", b"out\r\n\x1b]633;D;3\x07")) == [Observed("echo a;b\\", "osc633", 3)]


def test_nothing_dangerous_is_in_a_text() -> None:
    turns = [("out", b"\x1b]633;A\x07$ \x1b]633;B\x07\x1b]633;E;a\\x1b[2J\\x9bc\x07\x1b]633;C\x07")]
    assert play(*turns) == [Observed("a [2J c", "osc633")]
    turns = [("out", b"$ "), ("in", b"x\r"), ("out", b"a\xc2\x9b2Jb\r\n")]
    assert play(*turns) == [Observed("a 2Jb", "screen")]


def test_bounds() -> None:
    turns = [("out", b"$ "), ("in", b"x"), ("out", b"y" * 100_000), ("in", b"\r" * 10_000), ("out", b"\r\n")]
    assert play(*turns, columns=10) == [Observed("y" * (TEXT_MOST - 2), "screen")]
    screen = Screen(80, 24)
    for _ in range(1000):
        screen.feed_output(b"\x1b]0;" + b"t" * STRING_MOST)
        screen.feed_output(b"\x1b[" + b"1;" * 100)
        screen.feed_input(b"\x1b[" + b"1;" * 100 + b"\r")
    assert len(screen._rest) <= 2 * STRING_MOST and len(screen._enters) <= ENTERS_MOST
    assert len(screen._keys._rest) < 100 and len(screen._line.cells) <= 4096


def test_a_flood_of_output_is_skipped_as_it_would_be_read() -> None:
    flood = b"".join(b"line \x1b[1m%d\t\xc3\xbc\x1b[K%s\r\n" % (n, b"w" * n) for n in range(300)) + b"$ "
    turns = [("out", flood), ("in", b"id"), ("out", b"id"), ("in", b"\r"), ("out", b"\r\n")]
    assert [each.text for each in play(*turns)] == ["id"]


PARTS = st.one_of(
    st.sampled_from(
        [
            *(
                b"$ ls",
                b"\r\n",
                b"\r",
                b"\n",
                b"\b",
                b"\t",
                b"\x1b[K",
                b"\x1b[1K",
                b"\x1b[3D",
                b"\x1b[2C",
                b"\x1b[P",
            ),
            *(b"\x1b[4@", b"\x1b[A", b"\x1b[B", b"\x1b[J", b"\x1b[4h", b"\x1b[4l", b"\x1b7", b"\x1b8", b"\x1b[5G"),
            *(b"\x1b]133;A\x07", b"\x1b]133;B\x1b\\", b"\x1b]133;C\x07", b"\x1b]133;D;1\x07", b"\x1b]633;E;x\x07"),
            *(
                b"\x1b[?1049h",
                b"\x1b[?1049l",
                b"\x1bP1$r\x1b\\",
                b"\xe6\x97\xa5",
                b"\xe6",
                b"\x1b(B",
                b"\x1b[1\x07m",
            ),
        ]
    ),
    st.binary(max_size=8),
)


@given(
    st.lists(
        st.tuples(st.sampled_from(["in", "out", "out"]), st.lists(PARTS, max_size=8).map(b"".join)), max_size=12
    ),
    st.integers(1, 7),
    st.integers(1, 30),
)
def test_any_cut_gives_the_same(turns: list[tuple[str, bytes]], size: int, columns: int) -> None:
    whole = [("in", b"x\r") if not data else (who, data) for who, data in turns]
    assert play(*whole, columns=columns, size=size) == play(*whole, columns=columns)
