"""A grant is revoked, whatever its SSH session is doing: the client ends and is told why, what it ran on the host
is gone, nothing more reaches the host, and the record and its receipt say so."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.demo.postgres import free_port
from tests.e2e.test_ssh_clients import shared
from tests.peers.openssh import Door
from tests.peers.proof import until
from tests.peers.ssh_gateway import SshGateway, ssh_gateway
from tests.peers.ssh_records import content, live, notes, ready
from tests.peers.sshd import Sshd, running
from tests.peers.terminal import terminal

TOLD = "your grant was revoked by dave: leaked laptop"
ENDED_WITHIN = 15


@pytest.fixture(params=["ordinary", "root"])
def gate(request: pytest.FixtureRequest) -> SshGateway:
    """In front of a host whose user is not root, whose processes get signals, and of one whose user may be root,
    for whose processes OpenSSH takes none."""
    found: SshGateway = request.getfixturevalue("ordinary_box" if request.param == "ordinary" else "box")
    return found


@pytest.fixture
def place(gate: SshGateway, tmp_path: Path) -> Iterator[Path]:
    """A folder that the host's user may write to."""
    folder = Path("/tmp") / f"tide-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir()
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True, timeout=20)


def word() -> str:
    """An argument that no other process has."""
    return f"9{time.monotonic_ns()}"


def accounted(gate: SshGateway, grant: str, outcomes: set[str]) -> list[dict[str, Any]]:
    """The statements of the session, which has ended as revoked, and whose receipt is whole."""
    session = gate.ended(grant, within=ENDED_WITHIN)
    assert session["end_reason"] == "grant_revoked"
    assert session["detail"] == "by dave: leaked laptop"
    receipt = session["receipt"]
    times = [receipt[each] for each in ("requested", "seen", "client_closed", "target_stopped")]
    assert None not in times
    assert times == sorted(times, key=datetime.fromisoformat)
    assert receipt["verified"]
    assert [each["text"] for each in notes(gate, session["id"], "farewell")] == [TOLD]
    (event,) = gate.call(
        "GET", f"/v1/audit/events?kind=session_ended&subject=session:{session['id']}", user="carol"
    )["items"]
    found = gate.statements(session["id"])
    assert event["body"]["end_reason"] == "grant_revoked"
    assert event["body"]["recording_digest"] == session["recording_digest"]
    assert event["body"]["totals"]["statements"] == session["totals"]["statements"] == len(found)
    assert {each["outcome"] for each in found} <= outcomes
    return found


@contextmanager
def doing(gate: SshGateway, *args: str, name: str = "ssh") -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A client that is at it under a grant of its own."""
    grant = gate.ssh_grant()
    door = gate.door(grant=grant)
    with door.running(door.line(name, *args)) as process:
        yield grant, process


def over(process: subprocess.Popen[bytes]) -> bytes:
    """The client has ended by itself, as failed; what it said on stderr."""
    _, errors = process.communicate(timeout=ENDED_WITHIN)
    assert process.returncode == 255
    return errors


# -- one channel ---------------------------------------------------------------------------------------------------


def test_a_command_that_waits(gate: SshGateway) -> None:
    mark = word()
    with doing(gate, "box", f"echo go; sleep {mark}") as (grant, process):
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        until(lambda: bool(running(f"sleep\0{mark}")))
        gate.revoke(grant)
        assert TOLD in over(process).decode()
    (found,) = accounted(gate, grant, {"cut"})
    assert found["text"] == f"echo go; sleep {mark}"
    until(lambda: not running(mark))


def test_a_command_that_will_not_hang_up(gate: SshGateway) -> None:
    mark = word()
    command = f"trap '' HUP TERM INT; echo go; while :; do sleep 1; done; : {mark}"
    with doing(gate, "box", command) as (grant, process):
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        gate.revoke(grant)
        assert TOLD in over(process).decode()
    accounted(gate, grant, {"cut"})
    until(lambda: not running(mark))


def test_a_command_that_pours(gate: SshGateway) -> None:
    mark = word()
    with doing(gate, "box", f"yes {mark}") as (grant, process):
        assert process.stdout is not None
        process.stdout.read(5_000_000)
        gate.revoke(grant)
        assert TOLD in over(process).decode()
    (found,) = accounted(gate, grant, {"cut"})
    assert content(found)["output"][0] >= 5_000_000
    until(lambda: not running(mark))


def test_a_client_that_does_not_read(gate: SshGateway) -> None:
    mark = word()
    with doing(gate, "box", f"yes {mark}") as (grant, _):
        until(lambda: bool(running(mark)))
        time.sleep(1)  # every buffer between is full
        gate.revoke(grant)
        accounted(gate, grant, {"cut"})
        until(lambda: not running(mark))


def test_nothing_reaches_the_host_after_the_cut(gate: SshGateway, place: Path) -> None:
    """A client that goes on writing, and a host that would have kept it."""
    kept = place / "kept"
    with doing(gate, "box", f"echo go; cat >{kept}") as (grant, process):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        process.stdin.write(b"before\n")
        process.stdin.flush()
        until(lambda: kept.exists() and kept.read_bytes() == b"before\n")
        gate.revoke(grant)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"after\n" * 1000)
            process.stdin.flush()
        process.wait(ENDED_WITHIN)
    (found,) = accounted(gate, grant, {"cut"})
    assert kept.read_bytes() == b"before\n"
    assert content(found)["input"][0] == len(b"before\n")


@pytest.mark.parametrize("busy", [False, True], ids=["prompt", "busy"])
def test_a_shell_at_its_prompt_and_what_runs_in_it(gate: SshGateway, busy: bool) -> None:
    grant, mark = gate.ssh_grant(), word()
    door = gate.door(grant=grant)
    with terminal(door.line("ssh", "-tt", "box"), door.environment()) as person:
        person.type(b"echo rea''dy\n")
        person.expect(b"ready\r\n")
        if busy:
            person.type(f"sleep {mark}\n".encode())
            until(lambda: bool(running(f"sleep\0{mark}")))
        gate.revoke(grant)
        person.expect(TOLD.encode())
        assert person.end() == 255
    (found,) = accounted(gate, grant, {"cut"})
    assert found["protocol"] == "shell"
    until(lambda: not running(mark))


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More than passes in a moment."""
    path = tmp_path_factory.mktemp("big") / "big"
    with path.open("wb") as file:
        file.truncate(4_000_000_000)
    path.parent.chmod(0o755)
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("words", [("sftp",), ("scp",), ("scp", "-O")], ids=["sftp", "scp", "rcp"])
def test_a_file_on_its_way_up(gate: SshGateway, place: Path, big: Path, words: tuple[str, ...]) -> None:
    there = place / "there"
    if words[0] == "sftp":
        args = ("-oBatchMode=no", "-b", str(_batch(place, f"put {big} {there}")), "box")
    else:
        args = (str(big), f"box:{there}")
    with doing(gate, *words[1:], *args, name=words[0]) as (grant, process):
        until(lambda: there.exists() and there.stat().st_size > 3_000_000)
        gate.revoke(grant)
        errors = process.communicate(timeout=ENDED_WITHIN)[1]
        assert process.returncode != 0
        assert TOLD in errors.decode()
    found = accounted(gate, grant, {"cut", "done", "failed"})
    (put,) = [each for each in found if each["text"].startswith("put ")]
    assert put["outcome"] == "cut"
    size = there.stat().st_size
    time.sleep(0.3)
    assert there.stat().st_size == size
    assert content(put)["input"][0] >= size > 0


def test_a_file_on_its_way_down(gate: SshGateway, place: Path, tmp_path: Path) -> None:
    there, back = place / "there", tmp_path / "back"
    with there.open("wb") as file:
        file.truncate(4_000_000_000)
    with doing(gate, f"box:{there}", str(back), name="scp") as (grant, process):
        until(lambda: back.exists() and back.stat().st_size > 3_000_000)
        gate.revoke(grant)
        # Its words stand behind what it has not read yet; a client that takes nothing for 0.2 s is not waited for.
        said = process.communicate(timeout=ENDED_WITHIN)[1].decode()
        assert TOLD in said or "Connection" in said
    found = accounted(gate, grant, {"cut", "done", "failed"})
    (got,) = [each for each in found if each["text"].startswith("get ")]
    assert got["outcome"] == "cut"
    assert content(got)["output"][0] < 4_000_000_000


def _batch(folder: Path, line: str) -> Path:
    path = folder / "batch"
    path.write_text(line + "\n")
    return path


# -- many channels and none ----------------------------------------------------------------------------------------


def test_a_forward_with_a_live_connection(gate: SshGateway, echo_port: int) -> None:
    port = free_port()
    forwarding = doing(gate, "-N", "-L", f"{port}:127.0.0.1:{echo_port}", "box")
    with forwarding as (grant, process), _connected(port) as sock:
        sock.sendall(b"hello")
        assert sock.recv(10) == b"hello"
        gate.revoke(grant)
        assert TOLD in over(process).decode()
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(10) == b""
    (found,) = accounted(gate, grant, {"cut"})
    assert (found["protocol"], found["text"]) == ("tunnel", f"127.0.0.1:{echo_port}")
    assert content(found)["input"][0] == len(b"hello")


def _connected(port: int) -> socket.socket:
    """A connection, once somebody listens there."""
    found: list[socket.socket] = []

    def listens() -> bool:
        with contextlib.suppress(OSError):
            found.append(socket.create_connection(("127.0.0.1", port), ENDED_WITHIN))
        return bool(found)

    until(listens)
    return found[0]


def test_a_client_that_only_holds_the_line(gate: SshGateway) -> None:
    with doing(gate, "-N", "box") as (grant, process):
        live(gate, grant)
        gate.revoke(grant)
        assert TOLD in over(process).decode()
    assert accounted(gate, grant, set()) == []


def test_every_channel_of_a_shared_connection(gate: SshGateway) -> None:
    grant, marks = gate.ssh_grant(), [word() for _ in range(3)]
    door = gate.door(grant=grant)
    with shared(door) as sharing, contextlib.ExitStack() as stack:
        commands = [f"echo go; sleep {mark}" for mark in marks]
        processes = [stack.enter_context(sharing.running(sharing.line("ssh", "box", each))) for each in commands]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
        ready(gate, live(gate, grant), 3)
        gate.revoke(grant)
        for process in processes:
            assert TOLD in over(process).decode()
    assert sorted(each["text"] for each in accounted(gate, grant, {"cut"})) == sorted(commands)
    for mark in marks:
        until(lambda mark=mark: not running(mark))


# -- other causes, and when ----------------------------------------------------------------------------------------


def test_during_the_log_in_nobody_slips_through(ordinary_box: SshGateway) -> None:
    gate = ordinary_box
    grant = gate.ssh_grant()
    door, mark = gate.door(grant=grant), word()
    with contextlib.ExitStack() as stack:
        command = door.line("ssh", "box", f"sleep {mark}")
        processes = []
        for _ in range(6):
            processes.append(stack.enter_context(door.running(command)))
            time.sleep(0.05)
        gate.revoke(grant)
        for process in processes:
            over(process)
    until(lambda: not running(mark))
    until(lambda: not [each for each in gate.sessions(grant=grant) if each["status"] == "live"])


def test_at_the_grants_end(ordinary_box: SshGateway) -> None:
    grant, mark = ordinary_box.ssh_grant(seconds=4), word()
    door = ordinary_box.door(grant=grant)
    with door.running(door.line("ssh", "box", f"sleep {mark}")) as process:
        assert b"your grant has ended" in over(process)
    assert ordinary_box.ended(grant)["end_reason"] == "grant_expired"
    until(lambda: not running(mark))


def test_a_gateway_that_is_shut_down_hangs_up(ordinary_host: Sshd) -> None:
    mark = word()
    with ssh_gateway(ordinary_host) as gate:
        door: Door = gate.door()
        with door.running(door.line("ssh", "box", f"echo go; sleep {mark}")) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            gate.stop()
            assert b"tidegate: " in over(process)
    until(lambda: not running(mark))
