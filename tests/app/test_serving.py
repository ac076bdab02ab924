"""A state folder has one gateway: a second would take the first one's sessions for those of a process that died."""

import os
import stat
from pathlib import Path

import pytest
import uvicorn

from gateway_config.schema import Config
from proxy.adapters.doorbell import bells
from proxy.app import serving
from proxy.app.api import renew_certificate


def test_a_second_gateway_with_the_same_state_folder_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "lock"
    with serving.alone(lock), pytest.raises(BlockingIOError), serving.alone(lock):
        pytest.fail("both have it")
    with serving.alone(lock):
        pass


def test_it_says_so_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("")
    monkeypatch.setattr(serving, "supervise", lambda *_, **__: pytest.fail("it was started"))
    (tmp_path / "state" / "run").mkdir(parents=True)
    with serving.alone(tmp_path / "state" / "run" / "lock"):
        assert serving.serve(file) == 1
    assert "another gateway runs with the state folder" in capsys.readouterr().err


def test_the_state_folder_is_its_owner_s_alone_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[gateway]\nstate_dir = "some/where/state"\n')
    monkeypatch.setattr(serving, "supervise", lambda *_, **__: 0)
    before = os.umask(0o022)
    try:
        assert serving.serve(file) == 0
    finally:
        os.umask(before)
    state = tmp_path / "some" / "where" / "state"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (state, state / "run")] == [0o700, 0o700]
    state.chmod(0o750)  # the operator's own decision
    assert serving.serve(file) == 0
    assert stat.S_IMODE(state.stat().st_mode) == 0o750


def test_bells_that_a_killed_gateway_left_are_taken_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("")
    monkeypatch.setattr(serving, "supervise", lambda *_, **__: 0)
    run = bells(tmp_path / "state")
    run.mkdir(parents=True)
    (run / "worker-7.bell").touch()
    (run / "notes.txt").touch()
    assert serving.serve(file) == 0
    assert not (run / "worker-7.bell").exists()
    assert (run / "notes.txt").exists()


def test_a_reload_that_comes_before_the_api_has_read_its_certificate_is_no_accident() -> None:
    """Another node's reload may be heard at any moment of a start."""
    server = uvicorn.Server(uvicorn.Config("nothing:nothing"))
    assert not server.config.loaded
    renew_certificate(server, Config())
