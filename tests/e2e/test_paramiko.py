"""paramiko, as its own users use it: each way to log in, what it says to stay connected, and all that is done on a
connection. Straight at the sshd too, where that has nothing to do with tokens."""

import contextlib
import shutil
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.peers.openssh import Door
from tests.peers.proof import until
from tests.peers.ssh_gateway import SshGateway
from tests.peers.sshd import make_key, program

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import paramiko

BINARY = bytes(range(256)) * 2000
WITHIN = 20
KINDS = ("ed25519", "rsa", "ecdsa")
TRANSPORTS = pytest.mark.parametrize("kind", [paramiko.Transport, paramiko.ServiceRequestingTransport])
"""The older one, which is what most programs have, asks for the service before each try; the newer one once."""


@contextmanager
def transport(door: Door, kind: Any = paramiko.Transport) -> Iterator[Any]:
    """A connection that has exchanged keys. Whom it trusts is not what is tested here: it knows no authorities for
    hosts."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", door.port), 10)) as sock:
        made = kind(sock)
        try:
            made.start_client(timeout=WITHIN)
            yield made
        finally:
            made.close()


@contextmanager
def by_paramiko(door: Door, **wanted: Any) -> Iterator[Any]:
    """``SSHClient``, which knows only what it is given."""
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        given = {
            "password": door.password or None,
            "key_filename": str(door.key) if door.key else None,
            "allow_agent": False,
            "look_for_keys": False,
            "timeout": WITHIN,
            **wanted,
        }
        client.connect("127.0.0.1", door.port, door.user, **given)
        yield client


def says_in(made: Any) -> None:
    """A command runs."""
    channel = made.open_session(timeout=WITHIN)
    channel.settimeout(WITHIN)
    channel.exec_command("echo in; exit 3")
    assert channel.makefile().read() == b"in\n"
    assert channel.recv_exit_status() == 3


def keys(folder: Path) -> list[Path]:
    """One of each kind, as a person has them."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        make_key(folder / f"id_{kind}", kind)
    return [folder / f"id_{kind}" for kind in KINDS]


# -- log-ins -------------------------------------------------------------------------------------------------------


@TRANSPORTS
def test_a_key_of_ones_own_and_then_the_token(box: SshGateway, tmp_path: Path, kind: Any) -> None:
    own = [str(each) for each in keys(tmp_path / "keys")]
    with by_paramiko(box.door(), key_filename=own, transport_factory=kind) as client:
        says_in(client.get_transport())


@TRANSPORTS
def test_all_that_it_finds_and_then_the_token(
    box: SshGateway, tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is out of the box: whatever an agent has, then whatever is in ``~/.ssh``, then the password."""
    door = box.door()
    monkeypatch.setenv("HOME", str(tmp_path))
    found = keys(tmp_path / ".ssh") + [tmp_path / f"agent-{number}" for number in range(6)]
    for each in found[len(KINDS) :]:
        make_key(each)
    with agent(door, found[len(KINDS) :]) as address:
        monkeypatch.setenv("SSH_AUTH_SOCK", address)
        wanted = {"allow_agent": True, "look_for_keys": True, "transport_factory": kind}
        with by_paramiko(door, **wanted) as client:
            says_in(client.get_transport())


@contextmanager
def agent(door: Door, keys: list[Path]) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="agent-", dir="/tmp"))  # a unix socket's path is short
    address = str(folder / "s")
    try:
        with door.running([program("ssh-agent"), "-D", "-a", address]):
            until(lambda: Path(address).exists())
            for each in keys:
                assert door.run([program("ssh-add"), str(each)], SSH_AUTH_SOCK=address).returncode == 0
            yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@TRANSPORTS
def test_mistyped_twice_and_then_right(box: SshGateway, kind: Any) -> None:
    door = box.door()
    with transport(door, kind) as made:
        for wrong in ("mistyped", "naïve\x07"):
            with pytest.raises(paramiko.AuthenticationException):
                made.auth_password(door.user, wrong, fallback=False)
        assert made.auth_password(door.user, door.password) == []
        says_in(made)


@TRANSPORTS
def test_mistyped_three_times_it_is_over(box: SshGateway, kind: Any) -> None:
    door = box.door()
    with transport(door, kind) as made:
        for _ in range(2):
            with pytest.raises(paramiko.AuthenticationException):
                made.auth_password(door.user, "mistyped", fallback=False)
        assert made.is_active()
        with pytest.raises(paramiko.SSHException):
            made.auth_password(door.user, "mistyped", fallback=False)
        until(lambda: not made.is_active())
        with pytest.raises(paramiko.SSHException):
            made.auth_password(door.user, door.password)


def test_it_asks_what_there_is(box: SshGateway) -> None:
    """The newer transport fails at that itself."""
    door = box.door()
    with transport(door) as made:
        with pytest.raises(paramiko.BadAuthenticationType) as told:
            made.auth_none(door.user)
        assert set(told.value.allowed_types) == {"publickey", "keyboard-interactive", "password"}
        assert made.auth_password(door.user, door.password) == []
        says_in(made)


@TRANSPORTS
def test_the_token_as_the_answer_to_a_question(box: SshGateway, kind: Any) -> None:
    door = box.door()
    asked: list[Any] = []

    def answer(title: str, instructions: str, fields: list[Any]) -> list[str]:
        asked.append((instructions, fields))
        return [door.password if len(asked) > 1 else "mistyped" for _ in fields]

    with transport(door, kind) as made:
        with pytest.raises(paramiko.AuthenticationException):
            made.auth_interactive(door.user, answer)
        assert made.auth_interactive(door.user, answer) == []
        says_in(made)
    assert all("token" in instructions + fields[0][0] for instructions, fields in asked)


def test_the_question_on_a_plain_terminal(
    box: SshGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    door = box.door()
    monkeypatch.setattr("builtins.input", lambda *_: door.password)
    with transport(door) as made:
        assert made.auth_interactive_dumb(door.user) == []
        says_in(made)
    assert "token" in capsys.readouterr().out


@TRANSPORTS
def test_a_certificate_after_keys_that_say_nothing(box: SshGateway, tmp_path: Path, kind: Any) -> None:
    door = box.certified_door(box.ssh_grant())
    with transport(door, kind) as made:
        for each in keys(tmp_path / "keys"):
            with pytest.raises(paramiko.AuthenticationException):
                made.auth_publickey(door.user, paramiko.PKey.from_path(each))
        key = paramiko.Ed25519Key.from_private_key_file(str(door.key))
        key.load_certificate(str(door.certificate))
        assert made.auth_publickey(door.user, key) == []
        says_in(made)


def test_a_token_that_is_refused_says_why(box: SshGateway) -> None:
    grant = box.ssh_grant()
    door = box.door(grant=grant)
    box.revoke(grant)
    with transport(door) as made:
        with pytest.raises(paramiko.SSHException):
            made.auth_password(door.user, door.password)
        until(lambda: not made.is_active())


# -- to stay connected ---------------------------------------------------------------------------------------------


def kept_alive(made: Any) -> Callable[[], bool]:
    """Whether it has sent two keep-alives of its own since, one each second."""
    sent = threading.Semaphore(0)
    ask = made.global_request

    def counted(name: str, *given: Any, **named: Any) -> Any:
        sent.release()
        return ask(name, *given, **named)

    made.global_request = counted
    made.set_keepalive(1)
    return lambda: sent.acquire(timeout=WITHIN) and sent.acquire(timeout=WITHIN)


@TRANSPORTS
def test_its_keepalives_before_and_after_the_log_in(box: SshGateway, kind: Any) -> None:
    door = box.door()
    with transport(door, kind) as made:
        assert kept_alive(made)()
        with pytest.raises(paramiko.AuthenticationException):
            made.auth_password(door.user, "mistyped", fallback=False)
        assert kept_alive(made)()
        made.auth_password(door.user, door.password)
        assert kept_alive(made)()
        says_in(made)


def test_noise_questions_and_new_keys(door: Door) -> None:
    with by_paramiko(door) as client:
        made = client.get_transport()
        for _ in range(3):
            made.send_ignore(200)
            made.global_request("keepalive@openssh.com", wait=True)
            made.global_request("unknown@example.com", wait=True)
            made.renegotiate_keys()
            says_in(made)


# -- what is done --------------------------------------------------------------------------------------------------


def test_commands_side_by_side(door: Door) -> None:
    with by_paramiko(door) as client:
        opened = [client.exec_command("cat; echo err >&2; exit 7", timeout=WITHIN) for _ in range(4)]
        for stdin, _, _ in opened:
            stdin.write(BINARY)
            stdin.channel.shutdown_write()
        for _, stdout, stderr in opened:
            assert stdout.read() == BINARY
            assert stderr.read() == b"err\n"
            assert stdout.channel.recv_exit_status() == 7


def test_a_terminal_and_files(door: Door, tmp_path: Path) -> None:
    with by_paramiko(door) as client:
        with client.invoke_shell("vt100", 90, 30) as shell:
            shell.settimeout(WITHIN)
            shell.resize_pty(91, 31)
            shell.sendall(b"stty size; echo e''nd\n")
            assert b"31 91\r\n" in read_until(shell, b"end\r\n")
        with client.open_sftp() as files:
            there = str(tmp_path / "there")
            with files.open(there, "wb") as file:
                file.set_pipelined(True)
                file.write(BINARY)
            assert files.stat(there).st_size == len(BINARY)
            files.rename(there, there + "2")
            with files.open(there + "2", "rb") as file:
                file.prefetch()
                assert file.read() == BINARY
            with pytest.raises(FileNotFoundError):
                files.stat(there)
            assert files.listdir(str(tmp_path)) == ["door", "there2"] if door.name == "direct" else ["there2"]


def read_until(channel: Any, end: bytes) -> bytes:
    seen = b""
    while end not in seen:
        more = channel.recv(4096)
        assert more, seen
        seen += more
    return seen


def test_a_terminal_that_changes_before_there_is_a_shell(box: SshGateway) -> None:
    """sshd itself takes it, too."""
    with by_paramiko(box.door()) as client:
        channel = client.get_transport().open_session(timeout=WITHIN)
        channel.settimeout(WITHIN)
        channel.get_pty("vt100", 80, 24)
        channel.resize_pty(101, 41)
        channel.exec_command("stty size")
        assert read_until(channel, b"\r\n") == b"41 101\r\n"


def test_variables_and_what_a_channel_may_not(door: Door) -> None:
    with by_paramiko(door) as client:
        channel = client.get_transport().open_session(timeout=WITHIN)
        channel.settimeout(WITHIN)
        channel.update_environment({"LC_ONE": "1"})
        channel.set_combine_stderr(True)
        channel.exec_command("echo $LC_ONE; echo err >&2")
        assert sorted(channel.makefile().read().splitlines()) == [b"1", b"err"]
        with pytest.raises(paramiko.SSHException):
            channel.exec_command("echo again")


def test_a_connection_through_the_host(box: SshGateway, echo_port: int) -> None:
    with by_paramiko(box.door()) as client:
        made = client.get_transport()
        for _ in range(12):  # all of them open
            through = made.open_channel("direct-tcpip", ("127.0.0.1", echo_port), ("127.0.0.1", 0), timeout=WITHIN)
            through.settimeout(WITHIN)
            through.sendall(b"hello")
            assert through.recv(5) == b"hello"
        with pytest.raises(paramiko.ChannelException) as told:
            made.open_channel("direct-tcpip", ("127.0.0.1", 1), ("", 0), timeout=WITHIN)
        assert told.value.code == 1  # administratively prohibited
        with pytest.raises(paramiko.ChannelException):
            made.open_channel("no-such-kind", timeout=WITHIN)
        with pytest.raises(paramiko.SSHException):
            made.request_port_forward("", 0)
        made.cancel_port_forward("", 1)
        says_in(made)


@pytest.mark.parametrize("order", ["closed", "said all", "half read", "not read", "with the connection"])
def test_whatever_is_closed_first(door: Door, order: str) -> None:
    with by_paramiko(door) as client:
        made = client.get_transport()
        channel = made.open_session(timeout=WITHIN)
        channel.settimeout(WITHIN)
        channel.exec_command("cat; head -c 3000000 /dev/zero; exit 5")
        if order == "with the connection":
            return
        if order == "said all":
            channel.shutdown_write()
            assert len(channel.makefile().read()) == 3_000_000
            assert channel.recv_exit_status() == 5
        elif order != "closed":
            channel.sendall(b"x")
            channel.shutdown_write()
            assert channel.recv(1) == b"x"
            if order == "half read":
                assert channel.recv(100_000)
        channel.close()
        says_in(made)


def test_its_sessions_are_ended_and_leave_nothing(box: SshGateway) -> None:
    grant = box.ssh_grant()
    door = box.door(grant=grant)
    for _ in range(3):
        with by_paramiko(door) as client:
            says_in(client.get_transport())
    until(lambda: [each["status"] for each in box.sessions(grant=grant)] == ["ended"] * 3)
    assert {each["end_reason"] for each in box.sessions(grant=grant)} == {"client_closed"}
