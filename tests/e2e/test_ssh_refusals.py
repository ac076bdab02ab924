"""What an SSH client may not do, through the gateway: told in words, recorded, and nothing left behind. The host
itself would allow all of it."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import pytest

from proxy.cli.demo.postgres import free_port
from tests.peers.openssh import Door
from tests.peers.proof import until
from tests.peers.ssh_gateway import SshGateway, ssh_gateway
from tests.peers.sshd import Sshd, make_key, program, sign


def denied(gate: SshGateway, grant: str) -> list[str]:
    """What the newest session of a grant was refused without it having been started."""
    session = gate.sessions(grant=grant)[0]["id"]
    notes = gate.call("GET", f"/v1/sessions/{session}/notes", user="carol")["items"]
    return [each["data"]["what"] for each in notes if each["kind"] == "denied"]


def refused(gate: SshGateway, grant: str) -> list[tuple[str, str, str]]:
    """(protocol, text, error) of the statements of a grant's newest session that were refused."""
    found = gate.statements(gate.sessions(grant=grant)[0]["id"])
    return [(each["protocol"], each["text"], each["error"]) for each in found if each["outcome"] == "denied"]


# -- log-ins -------------------------------------------------------------------------------------------------------


def test_no_token_and_a_wrong_one(box: SshGateway) -> None:
    for password in ("", "nonsense", "x" * 5000):
        done = box.door(token=password or " ").ssh("true")
        assert done.returncode == 255
        assert b"Permission denied" in done.stderr or b"tidegate" in done.stderr or b"token" in done.stderr


def test_a_token_of_another_account_or_a_revoked_grant(box: SshGateway) -> None:
    done = box.door().having(User="somebody").ssh("true")
    assert (done.returncode, done.stdout) == (255, b"")
    grant = box.ssh_grant()
    door = box.door(grant=grant)
    box.revoke(grant)
    done = door.ssh("echo in")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"revoked" in done.stderr


def test_after_three_tries_it_is_over(box: SshGateway) -> None:
    """OpenSSH would ask ten times."""
    door = box.door(token="nonsense").having(NumberOfPasswordPrompts="10")
    count = door.folder / "count"
    asking = door.folder / "counting"
    asking.write_text(f"#!/bin/sh\necho x >> {count}\necho nonsense\n")
    asking.chmod(0o700)
    done = door.ssh("true", SSH_ASKPASS=str(asking))
    assert done.returncode == 255
    assert count.read_text().count("x") == 3


def test_a_key_says_nothing_of_a_grant(box: SshGateway, host: Sshd) -> None:
    door = box.door().having(IdentityFile=str(host.key), PreferredAuthentications="publickey")
    done = door.ssh("true")
    assert done.returncode == 255
    assert b"Permission denied" in done.stderr


def test_a_certificate_of_somebody_else_says_nothing(box: SshGateway, tmp_path: Path) -> None:
    make_key(tmp_path / "authority")
    make_key(tmp_path / "user")
    grant = box.ssh_grant()
    account = box.door().user
    sign(tmp_path / "authority", tmp_path / "user.pub", "-I", grant, "-n", account, "-V", "+10m")
    door = box.door().having(IdentityFile=str(tmp_path / "user"), PreferredAuthentications="publickey")
    done = door.ssh("true")
    assert done.returncode == 255
    assert b"Permission denied" in done.stderr


def test_the_gateways_certificate_for_targets_opens_no_gateway(box: SshGateway, tmp_path: Path) -> None:
    """The authority that hosts believe is not the one that the gateway believes, and the other way round."""
    account = box.door().user
    make_key(tmp_path / "user")
    authority = box.folder / "state" / "keys" / "ssh_targets_ca"
    grant = box.ssh_grant()
    sign(authority, tmp_path / "user.pub", "-I", grant, "-n", account, "-V", "+10m")
    done = box.door().having(IdentityFile=str(tmp_path / "user"), PreferredAuthentications="publickey").ssh("true")
    assert done.returncode == 255
    users = next((box.folder / "state" / "keys").glob("ssh-users-*.pem"))
    (tmp_path / "user-cert.pub").unlink()
    sign(users, tmp_path / "user.pub", "-I", grant, "-n", account, "-V", "+10m")
    assert box.target is not None
    straight = Door(
        "direct", box.door().folder, box.target.port, account, box.target.known_hosts(), key=tmp_path / "user"
    )
    assert straight.ssh("true").returncode == 255


def test_a_host_that_is_another_is_not_entered(box: SshGateway) -> None:
    grant = box.ssh_grant("stranger")
    done = box.door("stranger", grant=grant).ssh("echo in")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"host key" in done.stderr or b"identity" in done.stderr


@pytest.mark.parametrize("resource", ["certified", "first"])
def test_other_ways_of_knowing_a_host_and_being_known_to_it(box: SshGateway, resource: str) -> None:
    for _ in range(2):
        assert box.door(resource).ssh("echo in").stdout == b"in\n"


def test_clients_know_the_gateway_by_its_authority_alone(box: SshGateway) -> None:
    door = box.door()
    other = make_key(door.folder / "other")
    stranger = Door(
        door.name, door.folder, door.port, door.user, f"@cert-authority * {other}\n", password=door.password
    )
    done = stranger.ssh("true")
    assert done.returncode == 255
    assert b"Host key verification failed" in done.stderr


# -- what an account may not ---------------------------------------------------------------------------------------


def test_commands_only(box: SshGateway, tmp_path: Path) -> None:
    grant = box.ssh_grant("commands")
    door = box.door("commands", grant=grant)
    assert door.ssh("echo in").stdout == b"in\n"
    done = door.batch(f"ls {tmp_path}")
    assert done.returncode == 255
    assert b"tidegate: " in done.stderr
    until(lambda: any(each[0] == "sftp" for each in refused(box, grant)))
    source = tmp_path / "source"
    source.write_text("x")
    for old in (["-O"], []):
        assert door.run(door.line("scp", *old, str(source), f"box:{tmp_path}/there")).returncode != 0
    assert not (tmp_path / "there").exists()


def test_transfers_only(box: SshGateway, tmp_path: Path) -> None:
    grant = box.ssh_grant("files")
    door = box.door("files", grant=grant)
    source = tmp_path / "source"
    source.write_text("x")
    for old in (["-O"], []):
        there = tmp_path / f"there{len(old)}"
        assert door.run(door.line("scp", *old, str(source), f"box:{there}")).returncode == 0
        assert there.read_text() == "x"
    done = door.ssh("touch", str(tmp_path / "made"))
    assert done.returncode == 255
    assert done.stderr.startswith(b"tidegate: ")
    assert not (tmp_path / "made").exists()
    assert refused(box, grant)[0][:2] == ("exec", f"touch {tmp_path}/made")
    for trick in (f"scp -t {tmp_path}; touch {tmp_path}/made", f"scp -t $(touch {tmp_path}/made)"):
        door.ssh(trick)
        assert not (tmp_path / "made").exists()


def test_other_subsystems(box: SshGateway) -> None:
    grant = box.ssh_grant()
    door = box.door(grant=grant)
    done = door.run(door.line("ssh", "-s", "box", "netconf"))
    assert done.returncode == 255
    assert "subsystem" in denied(box, grant)


# -- what nobody may ----------------------------------------------------------------------------------------------


def test_remote_forwards(box: SshGateway) -> None:
    grant, port = box.ssh_grant(), free_port()
    door = box.door(grant=grant).having(ExitOnForwardFailure="yes")
    done = door.run(door.line("ssh", "-N", "-R", f"{port}:127.0.0.1:1", "box"))
    assert done.returncode == 255
    assert b"remote port forwarding failed" in done.stderr
    assert "remote forward" in denied(box, grant)


def test_the_agent(box: SshGateway) -> None:
    """The host's own sshd would have passed it on; here the command runs without one."""
    grant = box.ssh_grant()
    door = box.door(grant=grant)
    with agent(door) as address:
        forwarded = door.having(ForwardAgent="yes", IdentityAgent=address).ssh("echo agent=$SSH_AUTH_SOCK")
    assert (forwarded.returncode, forwarded.stdout) == (0, b"agent=\n")
    assert denied(box, grant) == ["agent"]


@contextmanager
def agent(door: Door) -> Iterator[str]:
    address = f"/tmp/agent-{os.getpid()}-{time.monotonic_ns()}"
    with door.running([program("ssh-agent"), "-D", "-a", address]):
        until(lambda: Path(address).exists())
        yield address
    Path(address).unlink(missing_ok=True)


async def test_x11(box: SshGateway) -> None:
    grant = box.ssh_grant()
    door = box.door(grant=grant)
    known = asyncssh.import_known_hosts(door.known_hosts)
    async with (
        asyncio.timeout(30),
        asyncssh.connect(
            "127.0.0.1", door.port, username=door.user, password=door.password, known_hosts=known, config=[],
            agent_path=None, client_keys=[],
        ) as client,
    ):  # fmt: skip
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.run("true", x11_forwarding=True, x11_display="127.0.0.1:0")
        done = await client.run("echo display=$DISPLAY")
        assert done.stdout == "display=\n"
    assert denied(box, grant) == ["x11"]


async def test_more_than_ten_channels(box: SshGateway) -> None:
    grant = box.ssh_grant()
    door = box.door(grant=grant)
    known = asyncssh.import_known_hosts(door.known_hosts)
    async with (
        asyncio.timeout(50),
        asyncssh.connect(
            "127.0.0.1", door.port, username=door.user, password=door.password, known_hosts=known, config=[],
            agent_path=None, client_keys=[],
        ) as client,
    ):  # fmt: skip
        opened = [await client.create_process("cat") for _ in range(10)]
        with pytest.raises(asyncssh.ChannelOpenError, match="10"):
            await client.create_process("cat")
        opened[0].stdin.write_eof()
        await opened[0].wait()
        async with client.create_process("echo room again") as process:
            assert await process.stdout.read() == "room again\n"
        for each in opened[1:]:
            each.stdin.write_eof()
            await each.wait()
    assert denied(box, grant) == ["channel"]


# -- what is left behind -------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
async def test_a_thousand_aborted_log_ins_leave_no_descriptor(host: Sshd) -> None:
    """Nothing said, half a greeting, a greeting, a greeting and nonsense, half of a key exchange."""
    kexinit = b"\x00\x00\x04\x04\x06\x14" + os.urandom(700)
    words = (
        b"",
        b"SSH-2.0-Half",
        b"SSH-2.0-Whole\r\n",
        b"SSH-2.0-Bad\r\n" + b"\xff" * 64,
        b"SSH-2.0-K\r\n" + kexinit,
    )
    with ssh_gateway(host) as gate:
        assert gate.door().ssh("echo in").stdout == b"in\n"
        until(lambda: gate.sessions()[0]["status"] == "ended")
        before = gate.descriptors()
        for batch in range(20):
            socks = [socket.create_connection(("127.0.0.1", gate.port), 10) for _ in range(50)]
            for index, sock in enumerate(socks):
                sock.sendall(words[(index + batch) % len(words)])
            for sock in socks:
                sock.close()
        async with asyncio.timeout(30):
            while gate.descriptors() > before + 15:  # some for what the trail is told of them  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert gate.door().ssh("echo in").stdout == b"in\n"
        assert "Traceback" not in gate.log()
