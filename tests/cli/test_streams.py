"""Output that cannot be written, for every kind of command: plain words and an exit code, never a traceback."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import Shell

ROOT = Path(__file__).parents[2]
ASK = ("request", "shop", "--as", "readonly", "--for", "30m", "--reason", "a look")
LINES: Sequence[Sequence[str]] = [
    ("--help",),
    ("config", "schema"),
    ("whoami",),
    ("resources",),
    ("--json", "resources"),
    ("grants", "--json"),
    ("token", "shop"),
    ("token", "shop", "--json"),
    ("token", "--as", "readonly", "shop", "--json"),
    ("logout",),
]


def run(shell: Sequence[str], words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """``tidegate`` with its streams as the shell's ``shell`` arranges them, such as ``"$@" > /dev/full``."""
    command = [sys.executable, "-m", "proxy.cli", *words]
    return subprocess.run(
        ["bash", "-c", *shell, "bash", *command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"], autouse=True)
def buffering(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures come where something is written, or at the end."""
    monkeypatch.setenv("PYTHONUNBUFFERED", request.param)


@pytest.fixture
def alice(tidegate: Shell) -> Shell:
    """Logged in, with a grant."""
    assert tidegate("alice", *ASK).code == 0
    return tidegate


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_a_full_disk_is_told(alice: Shell, words: Sequence[str]) -> None:
    done = run(['"$@" > /dev/full'], words)
    assert done.returncode == 1
    assert "standard output cannot be written: No space left on device" in done.stderr
    assert not {"Traceback", "Exception ignored"} & set(done.stderr.replace(":", "\n").splitlines())


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_a_closed_output_is_told_and_its_number_is_nobody_elses(alice: Shell, words: Sequence[str]) -> None:
    done = run(['"$@" >&-'], words)
    assert done.returncode == 1
    assert "standard output cannot be written: it is closed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_a_reader_who_has_gone_ends_it_without_a_word(alice: Shell, words: Sequence[str]) -> None:
    done = run(['set -o pipefail; { sleep 0.2; "$@"; } | true'], words)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("words", [("grants",), ("token", "nothing"), ("--json", "token", "nothing")], ids=" ".join)
def test_where_errors_cannot_be_told_the_exit_code_says_it(alice: Shell, words: Sequence[str]) -> None:
    wanted = run(['"$@"'], words)
    for where in ("2>&-", "2>/dev/full"):
        done = run([f'"$@" {where}'], words)
        assert (done.returncode, done.stdout) == (wanted.returncode, wanted.stdout)


def test_a_closed_input_is_an_empty_one(alice: Shell) -> None:
    done = run(['"$@" <&-'], ["login", "--user", "alice", "--password-stdin"])
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_a_name_that_the_terminal_cannot_show_is_shown_as_it_can(
    alice: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    words = ("request", "shop", "--as", "readonly", "--for", "30m", "--reason", "\N{SNOWMAN}", "--json")
    done = run(['"$@"'], words)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"reason": "?"' in done.stdout


def test_a_folder_that_cannot_be_written_is_told(alice: Shell, tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "pgpass"
    done = run(['"$@"'], ["passfile", "shop", "--once", "--file", str(file)])
    assert done.returncode == 1
    assert str(file.parent) in done.stderr
    assert "Traceback" not in done.stderr
