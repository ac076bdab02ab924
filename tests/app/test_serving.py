"""A state folder has one gateway: a second would take the first one's sessions for those of a process that died."""

from pathlib import Path

import pytest

from proxy.app import serving


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
