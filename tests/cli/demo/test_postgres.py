"""The embedded PostgreSQL: made, taken up again, moved, stopped; and where its user cannot get to."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.cli.demo.builds import PostgresError, embedded_build
from proxy.cli.demo.postgres import Server, free_port, is_free
from proxy.cli.demo.run_as import RunAs, reachable_by, reachable_folder
from proxy.cli.demo.target import erase_target, new_passwords, prepare_target, start_target


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
