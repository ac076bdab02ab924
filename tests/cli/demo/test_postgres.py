"""The embedded PostgreSQL: made, taken up again, moved, stopped; and where its user cannot get to."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy.cli.demo.builds import PostgresError, embedded_build
from proxy.cli.demo.lifeline import runs, tell
from proxy.cli.demo.postgres import Server, free_port, is_free
from proxy.cli.demo.run_as import RunAs, reachable_by, reachable_folder
from proxy.cli.demo.target import erase_target, new_passwords, prepare_target, start_target
from proxy.cli.failures import Failed


@pytest.fixture
def folder() -> Iterator[Path]:
    """Unlike ``tmp_path`` one that everybody may pass through."""
    made = Path(tempfile.mkdtemp(prefix="tidegate-test-", dir="/tmp"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.parametrize("version", ["16", "18"])
def test_a_target_is_made_once_and_taken_up_again(folder: Path, version: str) -> None:
    passwords = new_passwords()
    target = prepare_target(folder, version, free_port(), passwords, dies_with_us=True)
    try:
        start_target(target, passwords)
        assert target.run("SELECT count(*) FROM orders", database="shop") == "600\n"
        assert target.run("SHOW server_version").startswith(f"{version}.")
        roles = "SELECT rolname, rolsuper FROM pg_roles WHERE rolcanlogin ORDER BY 1"
        assert target.run(roles) == "owner|f\npostgres|t\nreadonly|f\ntidegate|f\n"
        target.run("CREATE TABLE kept ()", database="shop")
        target.stop()
        assert target.pid is None
        again = prepare_target(folder, version, target.port, passwords, dies_with_us=True)
        start_target(again, passwords)
        target = again
        assert again.run("SELECT count(*) FROM kept", database="shop") == "0\n"
    finally:
        target.stop()


def test_a_running_target_is_taken_up_by_the_next_demo_and_moved_when_asked(folder: Path) -> None:
    passwords = new_passwords()
    first = prepare_target(folder, "16", free_port(), passwords, dies_with_us=False)
    try:
        start_target(first, passwords)
        second = prepare_target(folder, "16", first.port, passwords, dies_with_us=False)
        start_target(second, passwords)
        pid = first.pid
        assert pid is not None
        assert second.pid == pid
        moved = prepare_target(folder, "16", free_port(), passwords, dies_with_us=False)
        start_target(moved, passwords)
        assert moved.pid not in (None, pid)
        assert moved.run("SHOW port") == f"{moved.port}\n"
        assert is_free(second.port)
        moved.stop()
        assert [each.pid for each in (first, second, moved)] == [None] * 3
    finally:
        first.stop()


def test_half_a_target_is_made_again(folder: Path) -> None:
    passwords = new_passwords()
    target = prepare_target(folder, "16", free_port(), passwords, dies_with_us=True)
    target.create()
    assert target.create() is False
    try:
        start_target(target, passwords)
        assert target.run("SELECT count(*) FROM customers", database="shop") == "200\n"
    finally:
        target.stop()


def test_a_crashed_server_starts_again_and_a_stale_pid_file_is_no_server(folder: Path) -> None:
    server = Server(embedded_build("16", folder / "build"), folder / "server", free_port(), "secret")
    server.create()
    try:
        server.start()
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while server.pid is not None:
            pass
        assert (server.data / "postmaster.pid").exists()
        server.start()
        assert server.run("SELECT 1") == "1\n"
    finally:
        server.stop()


def test_what_cannot_be_had_is_said(folder: Path) -> None:
    with pytest.raises(PostgresError, match="no embedded PostgreSQL 9: choose one of 16, 18"):
        embedded_build("9", folder)
    server = Server(embedded_build("16", folder / "build"), folder / "server", free_port(), "secret")
    server.create()
    server.settings = {"shared_buffers": "a lot"}
    with pytest.raises(PostgresError, match='invalid value for parameter "shared_buffers"'):
        server.start()
    server.stop()


def test_a_failing_script_is_an_error_and_its_password_stays_out_of_it(folder: Path) -> None:
    server = Server(embedded_build("18", folder / "build"), folder / "server", free_port(), "a-secret-word")
    server.create()
    assert not (server.home / "initdb.password").exists()
    try:
        server.start()
        with pytest.raises(PostgresError, match='relation "nothing" does not exist') as caught:
            server.run("SELECT 1; SELECT * FROM nothing; SELECT 2")
        assert "a-secret-word" not in str(caught.value) + repr(server) + server.uri()
    finally:
        server.stop()


def test_a_pid_file_with_somebody_else_s_number_is_believed_of_nobody(folder: Path) -> None:
    """It was taken up as the server, and killed at the end: whatever had that number by then."""
    server = Server(embedded_build("16", folder / "build"), folder / "server", free_port(), "secret")
    server.create()
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            lines = (other.pid, server.data, 1, server.port, "", "127.0.0.1", "", "ready")
            (server.data / "postmaster.pid").write_text("".join(f"{line}\n" for line in lines))
            assert server.pid is None
            server.stop()
            assert other.poll() is None
            try:
                server.start()
            except PostgresError as error:  # PostgreSQL itself is careful where the process is of its own user
                assert "postmaster.pid" in str(error)
            else:
                assert server.pid not in (None, other.pid)
            server.stop()
            assert other.poll() is None
        finally:
            other.kill()


def test_a_signal_goes_only_to_who_is_meant() -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            command = Path(f"/proc/{other.pid}/cmdline")
            while (
                not command.read_bytes()
            ):  # Popen returns when exec(2) cannot fail any more, a moment before its end
                time.sleep(0.001)
            assert runs(other.pid, os.geteuid(), ["sleep", "600"])
            assert not runs(other.pid, os.geteuid() + 1, ["sleep", "600"])
            assert not runs(other.pid, os.geteuid(), ["sleep", "60"])
            tell(other.pid, signal.SIGKILL, lambda: False)
            assert other.poll() is None
            tell(other.pid, signal.SIGTERM, lambda: True)
            assert other.wait(10) == -signal.SIGTERM
            assert not runs(other.pid, os.geteuid(), ["sleep", "600"])
            tell(other.pid, signal.SIGKILL, lambda: True)
        finally:
            other.kill()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only then is PostgreSQL another user")


@needs_root
def test_root_writes_nothing_where_postgresql_s_user_can_put_a_link(folder: Path) -> None:
    server = Server(embedded_build("16", folder / "build"), folder / "server", free_port(), "secret")
    server.create()
    victim = folder / "victim"
    victim.write_text("root's own\n")
    before = victim.stat()
    for name in ("pg_hba.conf", "log", "initdb.password"):
        (server.data / name).unlink(missing_ok=True)
        (server.data / name).symlink_to(victim)
    try:
        server.start()
        assert server.run("SHOW hba_file") == f"{server.home / 'pg_hba.conf'}\n"
        theirs = {each for each in server.home.iterdir() if each.stat().st_uid != 0}
        assert theirs == {server.data}
        assert server.home.stat().st_uid == 0
        assert server.home.stat().st_mode & 0o022 == 0
    finally:
        server.stop()
    after = victim.stat()
    assert victim.read_text() == "root's own\n"
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


@needs_root
def test_a_home_that_is_another_s_is_not_used(folder: Path) -> None:
    server = Server(embedded_build("16", folder / "build"), folder / "server", free_port(), "secret")
    server.home.mkdir()
    os.chown(server.home, 65_534, 65_534)
    for act in (server.create, server.start):
        with pytest.raises(PostgresError, match="belongs to another user"):
            act()


def test_neither_a_link_nor_a_pipe_is_read_as_a_pid_file(folder: Path) -> None:
    server = Server(embedded_build("16", folder / "build"), folder / "server", free_port(), "secret")
    server.data.mkdir(parents=True)
    (folder / "mine").write_text(f"{os.getpid()}\n")
    (server.data / "postmaster.pid").symlink_to(folder / "mine")
    assert server._pid_file() == []
    (server.data / "postmaster.pid").unlink()
    os.mkfifo(server.data / "postmaster.pid")
    assert server._pid_file() == []


class Users(dict[str, int]):
    """The users a machine has."""

    def getpwnam(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(pw_uid=self[name], pw_gid=self[name])


@pytest.mark.parametrize(
    ("users", "shells", "database"),
    [
        ({"root": 0, "postgres": 101, "games": 5, "bin": 2, "nobody": 65_534}, 65_534, 101),
        ({"root": 0, "games": 5, "bin": 2, "nobody": 65_534}, 65_534, 5),
        ({"root": 0, "bin": 2, "nobody": 65_534}, 65_534, 2),
        ({"root": 0, "postgres": 101, "bin": 2}, 2, 101),
        ({"root": 0, "games": 65_534, "bin": 2, "nobody": 65_534}, 65_534, 2),
        ({"root": 0, "nobody": 65_534}, 65_534, None),
        ({"root": 0, "postgres": 101}, None, 101),
        ({"root": 0, "nobody": 0}, None, None),
    ],
)
def test_shells_and_the_database_never_share_a_user(
    users: dict[str, int], shells: int | None, database: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine without a user `postgres` both were `nobody`: a shell could read the database's files."""
    monkeypatch.setattr("proxy.cli.demo.run_as.pwd", Users(users))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for choose, wanted in ((RunAs.for_shells, shells), (RunAs.for_database, database)):
        if wanted is None:
            with pytest.raises(Failed, match="no two unprivileged users"):
                choose()
        else:
            assert choose().uid == wanted
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert RunAs.for_shells() == RunAs.for_database() == RunAs()


NOBODY = RunAs(65_534, 65_534)


def test_a_folder_its_user_reaches_is_used_as_it_is(folder: Path) -> None:
    wished = folder / "postgres"
    assert reachable_folder(NOBODY, wished) == wished
    assert not wished.is_symlink()
    assert reachable_folder(RunAs(), folder / "own" / "postgres") == folder / "own" / "postgres"


def test_a_folder_its_user_cannot_reach_becomes_a_link_and_nothing_is_opened(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    assert not reachable_by(NOBODY, private)
    place = reachable_folder(NOBODY, private / "world" / "postgres")
    try:
        assert reachable_by(NOBODY, place)
        assert (private / "world" / "postgres").resolve() == place
        assert reachable_folder(NOBODY, private / "world" / "postgres") == place
        assert private.stat().st_mode & 0o077 == 0
    finally:
        erase_target(private / "world")
    assert not place.exists()


def test_a_link_to_what_is_gone_is_made_anew_and_another_s_folder_is_not_used(folder: Path) -> None:
    """What is in the scratch folder may be tidied away, and anybody may make a folder of that name then."""
    wished = folder / "postgres"
    wished.symlink_to(folder / "gone")
    assert reachable_folder(RunAs(), wished) == wished
    if os.geteuid() == 0:
        os.chown(wished, 65_534, 65_534)
        with pytest.raises(Failed, match="belongs to somebody else"):
            reachable_folder(NOBODY, wished)


def test_a_strict_umask_does_not_lock_its_user_out(folder: Path) -> None:
    before = os.umask(0o077)
    try:
        place = reachable_folder(NOBODY, folder / "postgres")
    finally:
        os.umask(before)
    assert reachable_by(NOBODY, place)
