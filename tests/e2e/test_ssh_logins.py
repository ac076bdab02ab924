"""Every way in over SSH: the token as a password or as an answer, typed by a program or cut short, and a
certificate in its place; and that what is revoked is out, whichever way it came."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.peers.gateway import Refused
from tests.peers.openssh import Door
from tests.peers.proof import until
from tests.peers.ssh_gateway import SshGateway
from tests.peers.ssh_records import statements, told
from tests.peers.sshd import program, running


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_the_token_as_password_and_as_answer(box: SshGateway, method: str) -> None:
    done = box.door().having(PreferredAuthentications=method).ssh("echo in; exit 3")
    assert (done.returncode, done.stdout) == (3, b"in\n")
    assert (b"token" in done.stderr) is (method == "keyboard-interactive")


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_program_that_types_passwords_finds_where(box: SshGateway, method: str) -> None:
    door = box.door().having(PreferredAuthentications=method)
    command = [program("sshpass"), "-e", *door.line("ssh", "box", "echo in")]
    done = door.run(command, SSHPASS=door.password, SSH_ASKPASS_REQUIRE="never")
    assert (done.returncode, done.stdout) == (0, b"in\n")


def test_a_token_that_the_client_cut_short_is_told_from_a_wrong_one(box: SshGateway) -> None:
    door = box.door()
    for size in (100, 255, len(door.password) - 1):
        done = replace(door, password=door.password[:size]).ssh("true")
        assert done.returncode == 255
        assert f"your client sent only {size} bytes".encode() in done.stderr
        assert b"or show a certificate instead: `tidegate connect RESOURCE`" in done.stderr
    wrong = door.password[:-8] + "AAAAAAAA"
    done = replace(door, password=wrong).ssh("true")
    assert done.returncode == 255
    assert b"the token is not valid" in done.stderr


def test_a_certificate_in_place_of_a_token(box: SshGateway, tmp_path: Path) -> None:
    grant = box.ssh_grant()
    door = box.certified_door(grant)
    assert door.ssh("cat; exit 4", data=b"by certificate").stdout == b"by certificate"
    (found,) = statements(box, grant)
    assert told(found) == ("exec", "cat; exit 4", "failed", "exit 4")
    assert box.sessions(grant=grant)[0]["identity"] == "alice"
    data = os.urandom(100_000)
    (tmp_path / "source").write_bytes(data)
    assert door.batch(f"put {tmp_path}/source {tmp_path}/one").returncode == 0
    assert door.run(door.line("scp", f"{tmp_path}/one", f"box:{tmp_path}/two")).returncode == 0
    sync = [program("rsync"), "-e", " ".join(door.line("ssh")), f"{tmp_path}/two", f"box:{tmp_path}/three"]
    assert door.run(sync).returncode == 0
    assert (tmp_path / "three").read_bytes() == data


def test_a_certificate_is_cut_and_refused_with_its_grant(box: SshGateway) -> None:
    grant, mark = box.ssh_grant(), f"9{time.monotonic_ns()}"
    door = box.certified_door(grant)
    with door.running(door.line("ssh", "box", f"echo go; sleep {mark}")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        box.revoke(grant)
        errors = process.communicate(timeout=15)[1]
    assert b"your grant was revoked by dave: leaked laptop" in errors
    until(lambda: not running(mark))
    assert box.ended(grant)["end_reason"] == "grant_revoked"
    done = door.ssh("echo in")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"revoked" in done.stderr
    with pytest.raises(Refused):
        box.certified_door(grant)


def test_a_certificate_is_for_its_key_and_its_account_alone(box: SshGateway, tmp_path: Path) -> None:
    door = box.certified_door(box.ssh_grant())
    assert door.having(User="somebody").ssh("true").returncode == 255
    other = box.certified_door(box.ssh_grant())
    assert replace(door, key=other.key).ssh("true").returncode == 255


def test_a_certificate_outlives_the_rotation_of_what_signed_it(box: SshGateway) -> None:
    door = box.certified_door(box.ssh_grant())
    box.call("POST", "/v1/keys/rotate", user="dave")
    assert door.ssh("echo in").stdout == b"in\n"
    assert box.certified_door(box.ssh_grant()).ssh("echo in").stdout == b"in\n"


def test_a_host_that_believes_the_next_authority_is_entered_by_it(box: SshGateway) -> None:
    assert box.target is not None
    made = box.call("POST", "/v1/keys/targets", user="dave")
    believed = box.target.authorities
    with believed.open("a") as file:
        file.write(made["targets_next"] + "\n")
    box.call("POST", "/v1/keys/targets", {"switch": True}, user="dave")
    old = made["targets"].split()[1]
    believed.write_text("".join(line for line in believed.read_text().splitlines(keepends=True) if old not in line))
    until(lambda: box.door("certified").ssh("echo in").stdout == b"in\n")


def test_nobody_is_certified_for_the_grant_of_another(box: SshGateway) -> None:
    with pytest.raises(Refused):
        box.certified_door(box.ssh_grant(), user="eve")


def test_a_certificate_opens_nothing_at_the_host_itself(box: SshGateway) -> None:
    """The host believes the gateway's own certificates, not those of its users."""
    assert box.target is not None
    door = box.certified_door(box.ssh_grant())
    straight: Door = replace(door, port=box.target.port, known_hosts=box.target.known_hosts(), options={})
    done = straight.ssh("true")
    assert done.returncode == 255
    assert b"Permission denied" in done.stderr
