"""Commands over SSH: what a client sees of one through the gateway is what it sees of it straight at the sshd."""

import contextlib
import hashlib
import os
import signal
import time

import pytest

from tests.peers.line import line_apart
from tests.peers.openssh import Door
from tests.peers.proof import until
from tests.peers.ssh_gateway import SshGateway
from tests.peers.sshd import running

EVERY_BYTE = bytes(range(256))
TEN_MEGABYTES = EVERY_BYTE * 40_960


def test_what_it_says_and_how_it_ends(door: Door) -> None:
    done = door.ssh("echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


@pytest.mark.parametrize("code", [0, 1, 127, 254, 255])
def test_every_return_code(door: Door, code: int) -> None:
    done = door.ssh(f"exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


def test_a_command_that_is_not_there(door: Door) -> None:
    done = door.ssh("no-such-command-anywhere")
    assert done.returncode == 127
    assert b"not found" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_the_command_line_arrives_as_it_was_written(door: Door) -> None:
    """Several words are one line; quotes, blanks, a line's end and what is no ASCII included."""
    done = door.ssh("printf", "'%s|'", "'a  b'", '"$((6*7))"', "'ü€😀'", "'two\nlines'", r"'back\\slash'")
    assert done.stdout.decode() == "a  b|42|ü€😀|two\nlines|back\\\\slash|"


def test_a_command_line_that_is_no_utf8(door: Door) -> None:
    with door.running([*door.line("ssh", "box"), b"printf '\xff\xfe' | od -An -tx1"]) as process:  # type: ignore[list-item]
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out.split(), err) == (0, [b"ff", b"fe"], b"")


def test_a_long_command_line(door: Door) -> None:
    text = "x" * 100_000
    assert door.ssh(f"echo {text} | wc -c").stdout == b"100001\n"


def test_every_byte_both_ways(door: Door) -> None:
    done = door.ssh("cat", data=TEN_MEGABYTES)
    assert (done.returncode, done.stderr) == (0, b"")
    assert hashlib.sha256(done.stdout).hexdigest() == hashlib.sha256(TEN_MEGABYTES).hexdigest()


def test_every_byte_on_stderr_while_stdout_speaks(door: Door) -> None:
    done = door.ssh("tee /dev/stderr", data=EVERY_BYTE * 4096)
    assert done.returncode == 0
    assert done.stdout == done.stderr == EVERY_BYTE * 4096


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV"])
def test_what_a_signal_ends_ends_as_that(door: Door, name: str) -> None:
    done = door.ssh(f"kill -{name} $$")
    assert (done.returncode, done.stdout) == (255, b"")


def test_input_that_ends_before_the_target_is_open(door: Door) -> None:
    """The bytes and their end are under way before the log-in is over."""
    for data in (b"", b"x\n", b"y" * 40_000):
        assert door.ssh("cat; echo end", data=data).stdout == data + b"end\n"


def test_no_input_at_all(door: Door) -> None:
    command = door.line("ssh", "-n", "box", "cat; echo end")
    assert door.run(command).stdout == b"end\n"


def test_output_goes_on_after_the_input_has_ended(door: Door) -> None:
    done = door.ssh("sha256sum; sleep 0.3; echo still here", data=b"abc")
    assert done.stdout == hashlib.sha256(b"abc").hexdigest().encode() + b"  -\nstill here\n"


def test_a_command_that_closes_its_input_at_once(door: Door) -> None:
    done = door.ssh("exec 0<&-; sleep 0.3; echo deaf", data=TEN_MEGABYTES)
    assert (done.returncode, done.stdout) == (0, b"deaf\n")


def test_a_reader_that_goes_early_ends_it(door: Door) -> None:
    """``ssh box yes | head -1``"""
    word = f"tide{time.monotonic_ns()}"
    with door.running(door.line("ssh", "box", f"yes {word}")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{word}\n".encode()
        process.stdout.close()
        process.wait(20)
    until(lambda: not running(word))


def test_output_that_ends_while_errors_go_on(door: Door) -> None:
    done = door.ssh("exec 1>&-; sleep 0.2; echo only errors >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"", b"only errors\n")


def test_what_runs_in_the_background_does_not_hold_it(door: Door) -> None:
    word = f"0.{time.monotonic_ns()}"
    done = door.ssh(f"sleep 3{word} >/dev/null 2>&1 </dev/null & echo started")
    assert (done.returncode, done.stdout) == (0, b"started\n")


def test_a_client_that_is_killed_leaves_a_reader_without_input(door: Door) -> None:
    word = f"tide{time.monotonic_ns()}"
    with door.running(door.line("ssh", "box", f"echo {word}; cat; : {word}")) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert running(word)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    until(lambda: not running(word))


def test_only_listed_variables_arrive(door: Door) -> None:
    done = door.having(SendEnv="LANG LC_TIDE LD_PRELOAD SECRET").ssh(
        "env", LANG="C.UTF-8", LC_TIDE="high", LD_PRELOAD="/nowhere.so", SECRET="s3cret"
    )
    found = dict(line.split("=", 1) for line in done.stdout.decode().splitlines() if "=" in line)
    assert done.returncode == 0
    assert (found.get("LANG"), found.get("LC_TIDE")) == ("C.UTF-8", "high")
    assert (found.get("SECRET"), found.get("LD_PRELOAD")) == (
        (None, None) if door.name == "through" else ("s3cret", "/nowhere.so")
    )


def test_an_accounts_own_list_of_variables(box: SshGateway) -> None:
    door = box.door("commands").having(SendEnv="SHOWN_ONE LC_TIDE")
    found = door.ssh("env", SHOWN_ONE="1", LC_TIDE="high").stdout.decode().splitlines()
    assert "SHOWN_ONE=1" in found
    assert "LC_TIDE=high" not in found


@pytest.mark.parametrize("way", ["up", "down"])
def test_byte_by_byte(door: Door, way: str) -> None:
    """A line that gives the gateway, or the client, one byte at a time."""
    with line_apart("127.0.0.1", door.port) as hostile:
        getattr(hostile.line, way).slice = 1
        done = door.over(hostile.port).ssh("cat; echo err >&2; exit 9", data=EVERY_BYTE * 8)
    assert (done.returncode, done.stdout, done.stderr) == (9, EVERY_BYTE * 8, b"err\n")


def test_new_keys_every_megabyte(door: Door) -> None:
    done = door.having(RekeyLimit="1M", Ciphers="aes128-gcm@openssh.com").ssh("cat", data=TEN_MEGABYTES)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == TEN_MEGABYTES


@pytest.mark.parametrize(
    "cipher", ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr"]
)
def test_every_cipher(door: Door, cipher: str) -> None:
    done = door.having(Ciphers=cipher).ssh("cat", data=EVERY_BYTE * 400)
    assert (done.returncode, done.stdout) == (0, EVERY_BYTE * 400)


def test_many_at_once(door: Door) -> None:
    command = door.line("ssh", "box", "cat; exit 5")
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(door.running(command)) for _ in range(8)]
        for process in processes:
            data = os.urandom(100_000)
            out, _ = process.communicate(data, 40)
            assert (process.returncode, out) == (5, data)
