"""Other clients than OpenSSH's, and what is built on OpenSSH's: dropbear, asyncssh, Ansible and multiplexed
connections, straight at the sshd and through the gateway. paramiko has a file of its own."""

import asyncio
import contextlib
import hashlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.peers.openssh import Door
from tests.peers.sshd import program

BINARY = bytes(range(256)) * 2000


# -- dropbear ------------------------------------------------------------------------------------------------------


def dbclient(door: Door, *command: str) -> list[str]:
    """It takes a key of its own form, and a password from the environment."""
    key: list[str] = []
    if door.key is not None:
        own = door.folder / "dropbear"
        done = door.run([program("dropbearconvert"), "openssh", "dropbear", str(door.key), str(own)])
        assert done.returncode == 0, done
        key = ["-i", str(own)]
    where = ["-p", str(door.port), f"{door.user}@127.0.0.1"]
    return [program("dbclient"), "-y", "-y", *key, *where, *command]


def test_dropbears_client(door: Door) -> None:
    command = dbclient(door, "cat; echo err >&2; exit 7")
    done = door.run(command, data=BINARY, DROPBEAR_PASSWORD=door.password)
    assert (done.returncode, done.stdout) == (7, BINARY)
    assert b"err\n" in done.stderr


# -- asyncssh ------------------------------------------------------------------------------------------------------


def by_asyncssh(door: Door) -> Any:
    return asyncssh.connect(
        "127.0.0.1",
        door.port,
        username=door.user,
        password=door.password or None,
        client_keys=[str(door.key)] if door.key else [],
        known_hosts=asyncssh.import_known_hosts(door.known_hosts),
        agent_path=None,
        config=[],
        connect_timeout=20,
    )


async def test_asyncssh_runs_commands_and_carries_files(door: Door, tmp_path: Path) -> None:
    async with asyncio.timeout(40), by_asyncssh(door) as client:
        done = await client.run("cat; echo err >&2; exit 7", input=BINARY, encoding=None)
        assert (done.exit_status, done.stdout, done.stderr) == (7, BINARY, b"err\n")
        killed = await client.run("kill -KILL $$")
        assert killed.exit_signal is not None
        assert killed.exit_signal[0] == "KILL"
        async with client.start_sftp_client() as files:
            source, back = tmp_path / "source", tmp_path / "back"
            source.write_bytes(BINARY * 4)
            await files.put(str(source), str(tmp_path / "there"))
            await files.get(str(tmp_path / "there"), str(back))
            assert back.read_bytes() == (tmp_path / "there").read_bytes() == BINARY * 4
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await files.stat("/no/such/file")


TRAP = "trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.1; done"


async def test_asyncssh_sends_signals(ordinary_door: Door) -> None:
    async with asyncio.timeout(40), by_asyncssh(ordinary_door) as client:
        async with client.create_process(TRAP) as it:
            assert await it.stdout.readline() == "ready\n"
            it.send_signal("USR1")
            assert await it.stdout.readline() == "caught\n"
            await it.wait()
            assert it.exit_status == 3
        async with client.create_process("echo ready; exec sleep 1000") as it:
            assert await it.stdout.readline() == "ready\n"
            it.terminate()
            await it.wait()
            assert it.exit_signal is not None
            assert it.exit_signal[0] == "TERM"


async def test_asyncssh_ends_its_input_and_hears_on(door: Door) -> None:
    command = "cat; echo over; sleep 0.2; echo later"
    async with asyncio.timeout(40), by_asyncssh(door) as client, client.create_process(command) as it:
        it.stdin.write("first\n")
        assert await it.stdout.readline() == "first\n"
        it.stdin.write_eof()
        assert await it.stdout.read() == "over\nlater\n"


# -- multiplexing --------------------------------------------------------------------------------------------------


@contextmanager
def shared(door: Door) -> Iterator[Door]:
    """One connection that later calls share (ControlMaster)."""
    folder = Path(tempfile.mkdtemp(prefix="mux-", dir="/tmp"))  # a unix socket's path is short
    try:
        sharing = door.having(ControlPath=f"{folder}/s")
        with sharing.running(sharing.having(ControlMaster="yes").line("ssh", "-N", "box")) as master:
            while not (folder / "s").exists():
                assert master.poll() is None, master.stderr.read()  # type: ignore[union-attr]
            yield sharing
    finally:
        shutil.rmtree(folder)


def test_many_channels_on_one_connection(door: Door, tmp_path: Path) -> None:
    with shared(door) as sharing:
        command = sharing.line("ssh", "box", "cat; exit 5")
        with contextlib.ExitStack() as stack:
            processes = [stack.enter_context(sharing.running(command)) for _ in range(6)]
            for process in reversed(processes):
                out, _ = process.communicate(BINARY, 20)
                assert (process.returncode, out) == (5, BINARY)
        for number in range(15):  # one after another there may be more than there may be at once
            assert sharing.ssh(f"echo {number}").stdout == f"{number}\n".encode()
        (tmp_path / "file").write_bytes(BINARY)
        assert sharing.batch(f"put {tmp_path}/file {tmp_path}/there").returncode == 0
        assert (tmp_path / "there").read_bytes() == BINARY
        assert sharing.run(sharing.line("ssh", "-O", "exit", "box")).returncode == 0


# -- Ansible -------------------------------------------------------------------------------------------------------

PLAYBOOK = """
- hosts: all
  gather_facts: false
  vars:
    water: high
  tasks:
    - ping:
    - copy: {src: WORK/source, dest: WORK/there, mode: "0640"}
    - template: {src: WORK/template.j2, dest: WORK/rendered}
    - command: {argv: [sha256sum, WORK/there]}
      register: sum
    - shell: cat; echo err >&2; exit 3
      args: {stdin: "words"}
      register: failed
      failed_when: failed.rc != 3 or failed.stdout != "words" or failed.stderr != "err"
    - fetch: {src: WORK/there, dest: WORK/back, flat: true}
    - debug: {msg: "{{ sum.stdout }}"}
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("door", "pipelining"), [("through", "True"), ("through", "False")], indirect=["door"])
def test_ansible_runs_a_playbook(door: Door, tmp_path: Path, pipelining: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "source").write_bytes(BINARY)
    (work / "template.j2").write_text("water: {{ water }}\n")
    (work / "play.yml").write_text(PLAYBOOK.replace("WORK", str(work)))
    secret = f" ansible_password={door.password}" if door.password else ""  # without one it forbids ssh to ask
    folder = Path(tempfile.mkdtemp(prefix="ansible-", dir="/tmp"))
    python = folder / "python"  # Ansible writes its path into a command line as it is
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o700)
    (work / "hosts").write_text(f"box ansible_python_interpreter={python}{secret}\n")
    config = shlex.quote(str(door.config))
    sharing = f"-F {config} -o ControlMaster=auto -o ControlPersist=20s -o ControlPath={folder}/s"
    ansible = Path(sys.executable).parent / "ansible-playbook"
    try:
        done = door.run(
            [sys.executable, str(ansible), "-i", str(work / "hosts"), str(work / "play.yml")],
            within=100,
            ANSIBLE_SSH_ARGS=sharing,
            ANSIBLE_PIPELINING=pipelining,
            ANSIBLE_LOCAL_TEMP=str(folder / "local"),
            ANSIBLE_REMOTE_TEMP=str(folder / "remote"),
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_HOME=str(folder / "home"),
        )
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        assert hashlib.sha256(BINARY).hexdigest() in done.stdout.decode()
        assert (work / "there").read_bytes() == (work / "back").read_bytes() == BINARY
        assert (work / "there").stat().st_mode & 0o777 == 0o640
        assert (work / "rendered").read_text() == "water: high\n"
    finally:
        door.run(door.line("ssh", "-o", f"ControlPath={folder}/s", "-O", "exit", "box"))
        shutil.rmtree(folder, ignore_errors=True)
