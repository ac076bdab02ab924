"""The demo's SSH host and echo service: what a gateway finds there, and that nothing of them is left.

Driven by asyncssh's client; with stock ssh, scp and sftp through the gateway: ``tests/e2e``.
"""

import asyncio
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from proxy.cli.demo import box
from proxy.cli.demo.beside import Beside, nobody
from proxy.cli.demo.lifeline import alive
from proxy.cli.demo.postgres import free_port

ROOT = Path(__file__).parents[3]
# More than a pipe and a channel's window hold, and no round number.
BYTES = random.Random(1).randbytes(5_000_003)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Unlike ``tmp_path`` one that everybody may pass through."""
    made = Path(tempfile.mkdtemp(prefix="tidegate-test-", dir="/tmp"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def targets(folder: Path) -> Iterator[tuple[Beside, Beside]]:
    ssh, echo = box.prepare_box(folder, ssh=free_port(), echo=free_port(), dies_with_us=True)
    ssh.start()
    echo.start()
    yield ssh, echo
    ssh.stop()
    echo.stop()
    assert ssh.pid is None
    assert echo.pid is None
    assert "Traceback" not in ssh.log.read_text() + echo.log.read_text()


@asynccontextmanager
async def entered(
    ssh: Beside, *, key: str = box.GATEWAY, user: str = "ops"
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    secrets = ssh.folder / "secrets"
    host = f"[127.0.0.1]:{ssh.port} {box.public_key(secrets / box.HOST)}"
    known = asyncssh.import_known_hosts(host)
    async with asyncssh.connect(
        "127.0.0.1",
        ssh.port,
        username=user,
        client_keys=[str(secrets / key)],
        known_hosts=known,
        agent_path=None,
        config=[],
    ) as connection:
        yield connection


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.02)


async def test_a_command_has_three_streams_and_an_end(targets: tuple[Beside, Beside]) -> None:
    async with entered(targets[0]) as there:
        ran = await there.run("cat; echo no >&2; exit 7", input="yes\n")
        assert (ran.stdout, ran.stderr, ran.exit_status) == ("yes\n", "no\n", 7)
        ran = await there.run("kill -KILL $$")
        assert ran.exit_signal is not None
        assert ran.exit_signal[0] == "KILL"
        for _ in range(5):  # a reader slower than the line: the last bytes and the end come together
            told = await there.run("sha256sum", input=BYTES, encoding=None)
            assert told.stdout is not None
            assert bytes(told.stdout).split()[0].decode() == hashlib.sha256(BYTES).hexdigest()
        back = await there.run("cat", input=BYTES, encoding=None)
        assert back.stdout == BYTES


async def test_it_is_nobody_with_next_to_nothing_in_its_environment(targets: tuple[Beside, Beside]) -> None:
    async with entered(targets[0]) as there:
        sent = {"LC_ALL": "C", "LD_PRELOAD": "/no", "BASH_ENV": "/no", "PATH": "/no"}
        told = str((await there.run("env", env=sent)).stdout).splitlines()
        names = {line.partition("=")[0] for line in told}
        assert names <= {
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "SHELL",
            "LANG",
            "LC_ALL",
            "PWD",
            "OLDPWD",
            "SHLVL",
            "_",
        }
        assert f"HOME={targets[0].folder.resolve() / 'box' / 'home'}" in told
        uid = nobody().uid
        assert str((await there.run("id -u")).stdout).strip() == str(os.getuid() if uid is None else uid)
        if uid is not None:
            assert str((await there.run("id -G")).stdout).split() == [str(nobody().gid)]
            refused = await there.run(f"cat '{targets[0].folder / 'secrets' / box.HOST}'")
            assert refused.exit_status == 1


@pytest.mark.parametrize(("user", "key"), [("root", box.GATEWAY), ("ops", box.HOST)])
async def test_nobody_else_gets_in(targets: tuple[Beside, Beside], user: str, key: str) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        async with entered(targets[0], user=user, key=key):
            pass


async def test_a_shell_has_a_terminal_jobs_and_a_size(targets: tuple[Beside, Beside]) -> None:
    async with (
        entered(targets[0]) as there,
        there.create_process(term_type="xterm", term_size=(101, 37)) as shell,
    ):
        await shell.stdout.readuntil("$ ")
        shell.stdin.write("stty size\n")
        assert "37 101" in await shell.stdout.readuntil("37 101")
        shell.change_terminal_size(90, 30)
        shell.stdin.write("stty size\n")
        assert "30 90" in await shell.stdout.readuntil("30 90")
        shell.stdin.write("sh -c \"echo st''arted; exec sleep 700\"\n")
        await shell.stdout.readuntil("started")
        shell.stdin.write("\x1a")  # Ctrl-Z
        await shell.stdout.readuntil("Stopped")
        shell.stdin.write("bg; jobs\n")
        await shell.stdout.readuntil("Running")
        shell.stdin.write("exit 5\nexit 5\n")
        assert (await shell.wait()).exit_status == 5


async def test_who_leaves_hangs_up_on_all_that_ran(targets: tuple[Beside, Beside]) -> None:
    """In a terminal and without one, in the foreground, the background and stopped."""
    pids: list[int] = []
    async with entered(targets[0]) as there:
        for terminal in ("xterm", None):
            words = "sleep 701 & echo $!; sleep 702 & kill -STOP $!; echo $!; echo $$; exec sleep 703"
            running = await there.create_process(words, term_type=terminal)
            pids += [int(await running.stdout.readline()) for _ in range(3)]
        assert all(map(alive, pids))
    await until(lambda: not any(map(alive, pids)))


async def test_a_channel_alone_can_be_left_though_its_input_is_not_taken(targets: tuple[Beside, Beside]) -> None:
    async with entered(targets[0]) as there:
        running = await there.create_process("echo $$; exec sleep 704", encoding=None)
        pid = int(await running.stdout.readline())
        running.stdin.write(BYTES)
        running.channel.abort()
        await until(lambda: not alive(pid))
        assert (await there.run("echo still here")).exit_status == 0


async def test_a_signal_reaches_what_runs(targets: tuple[Beside, Beside]) -> None:
    async with entered(targets[0]) as there:
        for terminal in ("xterm", None):
            running = await there.create_process(
                "trap 'echo got it; exit 3' USR1; echo on; while :; do sleep 0.05; done", term_type=terminal
            )
            assert "on" in await running.stdout.readline()
            running.send_signal("USR1")
            running.send_signal("NONE")
            await running.stdout.readuntil("got it")  # after bash's word on its `sleep`, in a terminal
            assert (await running.wait()).exit_status == 3


async def test_files_by_the_names_a_shell_knows_them_by(targets: tuple[Beside, Beside], tmp_path: Path) -> None:
    home = targets[0].folder.resolve() / "box" / "home"
    (tmp_path / "here").write_bytes(BYTES)
    async with entered(targets[0]) as there:
        async with there.start_sftp_client() as sftp:
            assert await sftp.realpath(".") == str(home)
            await sftp.put(tmp_path / "here", "there")
            await sftp.get(str(home / "there"), tmp_path / "back")
            for forbidden in ("/etc/passwd", "../../secrets/box-host", "/tmp/../etc/passwd"):
                with pytest.raises(asyncssh.SFTPPermissionDenied):
                    await sftp.open(forbidden)
            await there.run("ln -s /etc out")
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await sftp.open("out/passwd")
        assert (tmp_path / "back").read_bytes() == BYTES
        async with there.create_process(subsystem="sftp", encoding=None) as ending:
            ending.stdin.write(b"\0\0\0\5\1\0\0\0\3")  # SSH_FXP_INIT, version 3
            ending.stdin.write_eof()
            assert (await ending.wait()).exit_status == 0  # what scp asks for
        await asyncssh.scp((there, "there"), tmp_path / "scp")
        assert (tmp_path / "scp").read_bytes() == BYTES


async def test_it_forwards_to_the_echo_service_only(targets: tuple[Beside, Beside]) -> None:
    ssh, echo = targets
    async with entered(ssh) as there:
        reader, writer = await there.open_connection("localhost", echo.port)
        writer.write(b"over there")
        writer.write_eof()
        assert await reader.read() == b"over there"
        for host, port in (("127.0.0.1", ssh.port), ("127.0.0.2", echo.port)):
            with pytest.raises(asyncssh.ChannelOpenError):
                await there.open_connection(host, port)
        with pytest.raises(asyncssh.ChannelListenError):
            await there.forward_remote_port("127.0.0.1", 0, "127.0.0.1", echo.port)


async def test_the_echo_has_an_end(targets: tuple[Beside, Beside]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", targets[1].port)
    writer.write(BYTES)
    writer.write_eof()
    assert await reader.read() == BYTES
    writer.close()
    await writer.wait_closed()


def test_it_is_taken_up_again_and_moved(folder: Path) -> None:
    ports = [free_port() for _ in range(3)]
    first, again, moved = (
        box.prepare_box(folder, ssh=ports[0], echo=port, dies_with_us=False)[1]
        for port in (ports[1], ports[1], ports[2])
    )
    try:
        first.start()
        pid = first.pid
        again.start()
        assert again.pid == pid
        moved.start()
        assert moved.pid not in (pid, None)
        assert pid is not None
        assert not alive(pid)
    finally:
        moved.stop()
        first.stop()
    assert first.pid is None


def test_who_held_the_lock_before_is_nobody_s_to_end(folder: Path) -> None:
    """Until the next one said who it is, the file named the one before, whose process id may be anybody's."""
    echo = Beside("proxy.cli.demo.echo", folder, 7)
    held = "import sys, time\nfrom proxy.cli.demo.beside import stay\nwith stay(sys.argv[1:]):\n"
    held += "    print('held', flush=True)\n    time.sleep(600)\n"
    with subprocess.Popen(["sleep", "600"]) as other:
        echo.lock.write_text(f"[{other.pid}, 7, []]\n")
        assert echo.pid is None
        command = [sys.executable, "-c", held, str(echo.lock), "7"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as starting:
            try:
                assert starting.stdout is not None
                assert starting.stdout.readline() == b"held\n"
                assert echo.pid is None
                echo.stop()
                assert (other.poll(), starting.poll()) == (None, None)
            finally:
                starting.kill()
                other.kill()


async def test_nothing_it_has_started_outlives_it(folder: Path) -> None:
    """A daemon that has left its session does not, nor does what ignores a hang-up."""
    ssh, _ = box.prepare_box(folder, ssh=free_port(), echo=free_port(), dies_with_us=True)
    ssh.start()
    try:
        async with entered(ssh) as there:
            ran = await there.run(
                "trap '' HUP; setsid sleep 705 >/dev/null 2>&1 & echo $!; sleep 706 >&- 2>&- & echo $!"
            )
            pids = [int(each) for each in str(ran.stdout).split()]
        assert all(map(alive, pids))
    finally:
        ssh.stop()
    assert not any(map(alive, pids))


async def test_a_host_that_is_killed_takes_its_shells_along(folder: Path) -> None:
    ssh, _ = box.prepare_box(folder, ssh=free_port(), echo=free_port(), dies_with_us=True)
    ssh.start()
    async with entered(ssh) as there:
        pids = []
        for terminal in ("xterm", None):
            running = await there.create_process("echo $$; exec sleep 707", term_type=terminal)
            pids.append(int(await running.stdout.readline()))
        assert ssh.pid is not None
        os.kill(ssh.pid, signal.SIGKILL)
        await until(lambda: not any(map(alive, pids)))
    ssh.stop()
