"""A person at a shell over SSH, straight at the sshd and through the gateway: keys, sizes, pastes and the end."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.peers.openssh import Door
from tests.peers.proof import until
from tests.peers.ssh_gateway import SshGateway
from tests.peers.sshd import running
from tests.peers.terminal import Terminal, terminal

PROMPT = b"tide> "


@contextmanager
def at(door: Door, *args: str, columns: int = 80, rows: int = 24) -> Iterator[Terminal]:
    """``ssh -tt box ARGS`` at a terminal of our own."""
    command = door.line("ssh", "-tt", "box", *args)
    with terminal(command, door.environment(), columns=columns, rows=rows) as person:
        yield person


@contextmanager
def shell(door: Door, **size: int) -> Iterator[Terminal]:
    """A log-in shell whose prompt is known and whose line editor is quiet."""
    with at(door, **size) as person:
        # Quotes in the middle, here and below: what is typed and shown must not look like the answer.
        person.type(b"exec env -i TERM=$TERM PATH=$PATH PS1='ti''de> ' bash --norc --noprofile\n")
        person.expect(PROMPT)
        yield person


def test_a_shell_answers_and_ends_with_its_own_code(door: Door) -> None:
    with shell(door) as person:
        person.type(b"echo $((6*7)); tty; echo $TERM\n")
        person.expect(b"/dev/pts/", person.expect(b"42\r\n"))
        person.expect(b"xterm-256color\r\n")
        person.type(b"exit 6\n")
        assert person.end() == 6
    assert b"Connection to 127.0.0.1 closed" in person.seen


def test_control_c_stops_the_command_and_not_the_shell(door: Door) -> None:
    word = f"9{time.monotonic_ns()}"
    with shell(door) as person:
        person.type(f"sleep {word}\n".encode())
        until(lambda: bool(running(word)))
        person.type(b"\x03")
        person.type(b"echo code $?\n")
        person.expect(b"code 130\r\n")
        person.type(b"exit\n")
        assert person.end() == 0
    assert not running(word)


def test_the_size_is_the_clients_from_the_start_and_at_each_change(door: Door) -> None:
    with shell(door, columns=101, rows=37) as person:
        person.type(b"stty size\n")
        person.expect(b"37 101\r\n")
        person.resize(61, 19)
        person.type(b"sleep 0.3; stty size\n")
        person.expect(b"19 61\r\n")


def test_a_storm_of_sizes_ends_with_the_last(door: Door) -> None:
    with shell(door) as person:
        for number in range(300):
            person.resize(40 + number % 100, 20 + number % 30)
            if number % 50 == 0:
                person.type(f"echo at{number}\n".encode())
        person.resize(123, 45)
        person.type(b"sleep 0.5; stty size; echo over\n")
        person.expect(b"45 123\r\n")
        person.expect(b"over\r\n")


def test_a_big_paste_arrives_whole(door: Door) -> None:
    """Lines, since a terminal's own line holds 4095 bytes; nothing is echoed."""
    text = b"".join(b"%07d " % number + os.urandom(30).hex().encode() + b"\n" for number in range(4000))
    with shell(door) as person:
        person.type(b"stty -echo; echo rea''dy; sha256sum; stty echo\n")
        person.expect(b"ready\r\n")
        person.type(text + b"\x04")
        person.expect(hashlib.sha256(text).hexdigest().encode())


def test_raw_bytes_pass_a_terminal_as_they_are(door: Door) -> None:
    """Output that is no UTF-8 and input that is no line."""
    with shell(door) as person:
        person.type(b"stty raw -echo; printf 'g''o!'; head -c 256 | od -An -v -tx1 | tr -d ' \\n'; stty sane\n")
        person.expect(b"go!")
        person.type(bytes(range(256)))
        person.expect(bytes(range(256)).hex().encode())
        person.type(b"printf '\\377\\376\\000\\200done\\n'\n")
        person.expect(b"\xff\xfe\x00\x80done")


def test_much_output_comes_whole(door: Door) -> None:
    with shell(door) as person:
        person.type(b"stty -onlcr; seq 100000; echo ov''er\n")
        began = person.expect(b"ov''er")
        end = person.expect(b"over\n", began)
        wanted = b"".join(b"%d\n" % number for number in range(1, 100_001))
        assert wanted in person.seen[began:end]


def test_a_command_with_a_terminal_has_one(door: Door) -> None:
    with at(door, "tty; exit 4") as person:
        person.expect(b"/dev/pts/")
        assert person.end() == 4


def test_a_shell_without_a_terminal_reads_its_commands(door: Door) -> None:
    done = door.run(door.line("ssh", "-T", "box"), data=b"echo piped; echo err >&2; exit 8\n")
    assert (done.returncode, done.stdout, done.stderr) == (8, b"piped\n", b"err\n")


def test_a_terminal_that_is_lost_hangs_up_what_runs_there(door: Door) -> None:
    word = f"9{time.monotonic_ns()}"
    with shell(door) as person:
        person.type(f"sleep {word}\n".encode())
        until(lambda: bool(running(word)))
    until(lambda: not running(word))


def test_an_account_without_a_shell_says_so(box: SshGateway) -> None:
    for resource in ("commands", "files"):
        done = box.door(resource).run(box.door(resource).line("ssh", "-T", "box"), data=b"echo never\n")
        assert done.returncode == 255
        assert done.stdout == b""
        assert b"tidegate: " in done.stderr
        assert b"shell" in done.stderr
