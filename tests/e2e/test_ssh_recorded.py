"""What the record says of SSH sessions: what ran, what was carried and what came of it, with the hash of the
content; and nothing of it where it should not be."""

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

from tests.e2e.test_ssh_clients import shared
from tests.e2e.test_ssh_files import well
from tests.peers.openssh import Door
from tests.peers.proof import until
from tests.peers.ssh_gateway import SshGateway
from tests.peers.ssh_records import content, digest, live, notes, statements, told
from tests.peers.terminal import terminal


def known(gate: SshGateway, resource: str = "box", user: str = "alice") -> tuple[str, Door]:
    """A grant of its own, so that its sessions are ours, and the way in by it."""
    grant = gate.ssh_grant(resource, user=user)
    return grant, gate.door(resource, grant=grant, user=user)


def test_commands_with_what_passed(box: SshGateway) -> None:
    grant, door = known(box)
    data = os.urandom(300_000)
    door.ssh("cat; echo err >&2; exit 7", data=data)
    (found,) = statements(box, grant)
    assert told(found) == ("exec", "cat; echo err >&2; exit 7", "failed", "exit 7")
    assert content(found) == {"input": digest(data), "output": digest(data), "errors": digest(b"err\n")}
    assert found["bytes"] == 2 * len(data) + 4
    assert (found["rows"], found["sqlstate"]) == (None, None)
    session = box.sessions(grant=grant)[0]
    assert session["protocol"] == "ssh"
    assert session["client"].startswith("OpenSSH")
    assert session["end_reason"] == "client_closed"
    assert session["totals"]["statements"] == 1


def test_a_command_that_is_well_and_one_that_is_killed(box: SshGateway) -> None:
    for command, outcome, tag in (("true", "done", "exit 0"), ("kill -KILL $$", "failed", "signal KILL")):
        grant, door = known(box)
        door.ssh(command)
        (found,) = statements(box, grant)
        assert told(found) == ("exec", command, outcome, tag)


def test_what_is_not_asked_to_be_kept_is_not(box: SshGateway) -> None:
    """Of commands and files there are sizes and hashes; of what is typed at a terminal there is nothing."""
    grant, door = known(box)
    canary = f"canary{time.monotonic_ns()}"
    door.ssh("cat >/dev/null", data=canary.encode())
    session = box.ended(grant, within=15)["id"]
    assert output(box, session) == []
    with terminal(door.line("ssh", "-tt", "box"), door.environment()) as person:
        person.type(b"stty -echo; echo rea''dy; read x; echo got ${#x}; exit\n")
        person.expect(b"ready\r\n")
        person.type(canary.encode() + b"\n")
        person.expect(b"got %d\r\n" % len(canary))
        person.end()
    until(lambda: all(each["status"] == "ended" for each in box.sessions(grant=grant)))
    assert canary not in box.log()
    for path in box.folder.rglob("*"):
        assert not path.is_file() or "state" not in path.parts or canary.encode() not in path.read_bytes()


def output(gate: SshGateway, session: str) -> list[dict[str, Any]]:
    """The kept bytes of a session."""
    items, after = [], 0
    while True:
        page = gate.call("GET", f"/v1/sessions/{session}/output?after={after}&limit=200", user="carol")
        items += page["items"]
        if not page["items"] or page["next"] is None or page["next"] == after:
            return items
        after = page["next"]


def kept(items: list[dict[str, Any]], kind: str) -> bytes:
    return b"".join(base64.b64decode(each["data"]) for each in items if each["kind"] == kind)


def test_a_terminal_with_its_sizes(box: SshGateway) -> None:
    grant, door = known(box)
    with terminal(door.line("ssh", "-tt", "box"), door.environment(), columns=100, rows=33) as person:
        person.type(b"stty size; echo fir''st\n")
        person.expect(b"first\r\n")
        person.resize(71, 22)
        person.type(b"sleep 0.2; stty size; exit 3\n")
        assert person.end() == 3
    (found,) = statements(box, grant)
    assert told(found) == ("shell", "", "failed", "exit 3")
    assert found["terminal"] == {"columns": 100, "rows": 33}
    items = output(box, found["session"])
    shown = kept(items, "output")
    assert shown in person.seen
    assert b"33 100\r\n" in shown
    assert b"22 71\r\n" in shown
    assert (71, 22) in [(each["columns"], each["rows"]) for each in items if each["kind"] == "resize"]
    assert kept(items, "input") == b""
    observed = [each["text"] for each in notes(box, found["session"], "command_observed")]
    assert any("stty size" in each for each in observed)


def test_where_the_policy_says_so_what_is_typed_and_what_passes_is_kept(box: SshGateway) -> None:
    grant, door = known(box, user="eve")
    data = os.urandom(200_000)
    door.ssh("cat; echo err >&2", data=data)
    (found,) = statements(box, grant)
    items = output(box, found["session"])
    assert kept(items, "input") == kept(items, "output") == data
    assert kept(items, "errors") == b"err\n"
    with terminal(door.line("ssh", "-tt", "box"), door.environment()) as person:
        person.type(b"echo $((6*7)); exit\n")
        person.expect(b"42\r\n")
        person.end()
    until(lambda: box.sessions(grant=grant)[0]["status"] == "ended")
    assert b"echo $((6*7)); exit\n" in kept(output(box, box.sessions(grant=grant)[0]["id"]), "input")


def test_files_by_sftp(box: SshGateway, tmp_path: Path) -> None:
    grant, door = known(box)
    data = os.urandom(1_000_003)
    (tmp_path / "source").write_bytes(data)
    work = tmp_path / "work"
    done = door.batch(
        f"mkdir {work}",
        f"put {tmp_path}/source {work}/one",
        f"get {work}/one {tmp_path}/back",
        f"rename {work}/one {work}/two",
        f"chmod 600 {work}/two",
        f"-rm {work}/none",
        f"ls {work}",
        f"rm {work}/two",
        f"rmdir {work}",
    )
    well(done)
    found = statements(box, grant)
    assert told(found[0])[:2] == ("sftp", "sftp")
    texts = {each["text"]: each for each in found}
    assert texts[f"mkdir {work}"]["outcome"] == "done"
    assert content(texts[f"put {work}/one"]) == {"input": digest(data)}
    assert content(texts[f"get {work}/one"]) == {"output": digest(data)}
    assert texts[f"put {work}/one"]["tag"] == texts[f"get {work}/one"]["tag"] == "ok"
    assert texts[f"rename {work}/one -> {work}/two"]["outcome"] == "done"
    assert texts[f"list {work}/"]["outcome"] == "done"
    assert texts[f"remove {work}/two"]["outcome"] == "done"
    assert any(each.startswith("rmdir ") and str(work) in each for each in texts)
    failed = [each["text"] for each in found if each["outcome"] == "failed"]
    assert any(f"{work}/none" in each for each in failed)
    assert {each["protocol"] for each in found} == {"sftp"}


def test_files_by_the_old_scp(box: SshGateway, tmp_path: Path) -> None:
    grant, door = known(box)
    data = os.urandom(500_001)
    (tmp_path / "source").write_bytes(data)
    well(door.run(door.line("scp", "-O", str(tmp_path / "source"), f"box:{tmp_path}/there")))
    found = statements(box, grant)
    assert found[0]["protocol"] == "exec"
    assert found[0]["text"].startswith("scp ")
    (put,) = [each for each in found if each["protocol"] == "scp"]
    assert put["text"] == f"put {tmp_path}/there[/source]"  # whether it was a folder only the host knows
    assert content(put) == {"input": digest(data)}
    well(door.run(door.line("scp", "-O", f"box:{tmp_path}/there", str(tmp_path / "back"))))
    (got,) = [each for each in statements(box, grant) if each["protocol"] == "scp"]
    assert got["text"] == f"get {tmp_path}/there"
    assert content(got) == {"output": digest(data)}


def test_a_connection_that_is_forwarded(box: SshGateway, echo_port: int) -> None:
    grant, door = known(box)
    data = os.urandom(100_000)
    done = door.run(door.line("ssh", "-W", f"127.0.0.1:{echo_port}", "box"), data=data)
    assert done.stdout == data
    (found,) = statements(box, grant)
    assert found["protocol"] == "tunnel"
    assert found["text"] == f"127.0.0.1:{echo_port}"
    assert found["outcome"] == "done"
    assert content(found) == {"input": digest(data), "output": digest(data)}


def test_each_command_of_a_shared_connection_in_its_own_record(box: SshGateway) -> None:
    grant, door = known(box)
    with shared(door) as sharing:
        for number in range(3):
            sharing.ssh(f"cat; exit {number}", data=b"x" * number)
        session = live(box, grant)
        assert [told(each)[1:] for each in box.statements(session)] == [
            ("cat; exit 0", "done", "exit 0"),
            ("cat; exit 1", "failed", "exit 1"),
            ("cat; exit 2", "failed", "exit 2"),
        ]
    assert len(box.sessions(grant=grant)) == 1


def test_a_command_is_recorded_before_the_host_sees_it(box: SshGateway) -> None:
    """Asked while it runs, from the first moment that the host shows it runs."""
    grant, door = known(box)
    with door.running(door.line("ssh", "box", "echo runs; cat")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"
        (found,) = box.statements(live(box, grant))
        assert (found["text"], found["outcome"]) == ("echo runs; cat", None)


def test_neither_the_token_nor_a_key_is_in_a_record_or_a_log(box: SshGateway) -> None:
    grant, door = known(box)
    door.ssh("true")
    session = box.ended(grant, within=15)["id"]
    told_of_it = json.dumps([box.statements(session), box.sessions(grant=grant)]) + box.log()
    assert door.password not in told_of_it
    assert "PRIVATE KEY" not in told_of_it
