"""An auditor looks at SSH sessions, live and afterwards, with the real command in a real terminal."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.cli.home import Home, SavedLogin
from tests.e2e.test_ssh_shell import PROMPT, at
from tests.peers.proof import until
from tests.peers.ssh_gateway import SshGateway
from tests.peers.terminal import Terminal, terminal

ROOT = Path(__file__).parents[2]
TIDEGATE = [sys.executable, "-m", "proxy.cli"]


@pytest.fixture
def carol(box: SshGateway, tmp_path: Path) -> Mapping[str, str]:
    """The environment of the auditor, who is logged in."""
    environment = {
        **os.environ,
        "TIDEGATE_HOME": str(tmp_path / "carol"),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
    }
    Home(environment).save(SavedLogin(box.url, "carol", box._login("carol"), "", str(box.ca)))
    for name in ("TIDEGATE_API", "TIDEGATE_CA"):
        environment.pop(name, None)
    return environment


@contextmanager
def shell(box: SshGateway, user: str = "alice") -> Iterator[tuple[Terminal, str]]:
    """A shell under a grant of its own: who is at it, and the session's id."""
    grant = box.ssh_grant(user=user)
    with at(box.door(user=user, grant=grant), columns=90, rows=20) as person:
        person.type(b"exec env -i TERM=$TERM PATH=$PATH PS1='ti''de> ' bash --norc --noprofile\n")
        person.expect(PROMPT)
        until(lambda: bool(box.sessions(grant=grant)))
        yield person, str(box.sessions(grant=grant)[0]["id"])


def told(environment: Mapping[str, str], *words: str) -> str:
    ran = subprocess.run([*TIDEGATE, *words], env=environment, capture_output=True, check=True, timeout=30)
    return ran.stdout.decode()


def test_a_shell_is_watched_live_and_replayed(box: SshGateway, carol: Mapping[str, str], tmp_path: Path) -> None:
    with shell(box) as (person, session), terminal([*TIDEGATE, "watch", session], carol, columns=90) as watcher:
        watcher.expect(PROMPT)
        person.type(b"printf '\\033]0;title\\007\\033[6n\\033[31mre''d\\033[0m\\n'\n")
        here = watcher.expect(b"\x1b[31mred\x1b[0m")
        person.resize(70, 25)
        person.type(b"false; stty size\n")
        here = watcher.expect(b"25 70", here)
        person.type(b"exit 6\n")
        assert person.end() == 6
        watcher.expect(b"failed after", here)
        watcher.expect(b"exit 6", here)
        watcher.expect(b"ended, client_closed", here)
        assert watcher.end() == 0
    assert b"\x1b]0;" not in watcher.seen
    assert b"\x1b[6n" not in watcher.seen

    with terminal([*TIDEGATE, "replay", session, "--speed", "0"], carol) as again:
        assert again.end() == 0
    assert b"\x1b[31mred\x1b[0m" in again.seen
    assert b"\x1b]0;" not in again.seen

    text = told(carol, "replay", session)
    assert "shell in a terminal of 90x20" in text
    assert "| red" in text
    assert "perhaps: false; stty size" in text
    assert "\x1b" not in text

    cast = told(carol, "replay", session, "--format", "asciicast")
    head, *events = [json.loads(each) for each in cast.splitlines()]
    assert (head["width"], head["height"]) == (90, 20)
    assert [each[2] for each in events if each[1] == "r"] == ["70x25"]
    assert {each[1] for each in events} == {"o", "r"}, "what was typed is not kept unless the policy says so"
    third = [json.loads(each) for each in told(carol, "replay", session, "--format", "asciicast-v3").splitlines()]
    assert third[-1][1:] == ["x", "6"]
    if shutil.which("asciinema"):
        (tmp_path / "cast").write_text(cast)
        with terminal([str(shutil.which("asciinema")), "cat", str(tmp_path / "cast")], carol) as player:
            assert player.end() == 0
        assert b"\x1b[31mred\x1b[0m" in player.seen


def test_a_cut_is_seen_by_who_watches(box: SshGateway, carol: Mapping[str, str]) -> None:
    with shell(box) as (person, session), terminal([*TIDEGATE, "watch", session], carol) as watcher:
        watcher.expect(PROMPT)
        person.type(b"sleep 600\n")
        watcher.expect(b"sleep 600")
        box.call("POST", f"/v1/sessions/{session}/cut", {"reason": "lunch"})
        watcher.expect(b"ended, cut_by_admin: by dave: lunch")
        assert watcher.end() == 0
        assert person.end() != 0


def test_typed_bytes_are_kept_where_the_policy_says_so(box: SshGateway, carol: Mapping[str, str]) -> None:
    with shell(box, user="eve") as (person, session):
        person.type(b"exit\n")
        assert person.end() == 0
    cast = [json.loads(each) for each in told(carol, "replay", session, "--format", "asciicast").splitlines()]
    assert "exit" in "".join(each[2] for each in cast[1:] if each[1] == "i")
    page = box.call("GET", f"/v1/sessions/{session}/output", user="carol")
    typed = b"".join(base64.b64decode(each["data"]) for each in page["items"] if each["kind"] == "input")
    assert typed.endswith(b"exit\n")


def test_commands_without_a_terminal_are_watched_as_text(box: SshGateway, carol: Mapping[str, str]) -> None:
    grant = box.ssh_grant()
    door = box.door(grant=grant)
    line = door.line("ssh", "box", "echo hi; sleep 2; echo oh >&2; exit 3")
    with subprocess.Popen(line, env=door.environment(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as ran:
        until(lambda: bool(box.sessions(grant=grant)))
        session = str(box.sessions(grant=grant)[0]["id"])
        seen = told(carol, "watch", session)
        assert ran.wait(20) == 3
    assert "exec echo hi; sleep 2; echo oh >&2; exit 3\n" in seen
    assert "    output: 3 bytes, sha256 98ea6e4f" in seen
    assert "    errors: 3 bytes, sha256" in seen
    assert "failed after" in seen
    assert "exit 3" in seen
