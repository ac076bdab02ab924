"""The rule about skipped tests: named in the summary, and a failure where CI is set."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
SKIPS: Mapping[str, str] = {
    "test_inside": "import pytest\ndef test_it():\n    pytest.skip('no tide inside')\n",
    "test_mark": "import pytest\n@pytest.mark.skip(reason='no tide at the mark')\ndef test_it():\n    pass\n",
    "test_module": "import pytest\npytest.skip('no tide at all', allow_module_level=True)\n",
    "test_peer": (
        "from tests.peers.postgres import PeerMissing\ndef test_it():\n    raise PeerMissing('no tide there')\n"
    ),
}
EXPECTED = "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert False\n"


def run(folder: Path, *, ci: str) -> tuple[int, str]:
    plugins = ["-p", "tests.conftest", "-p", "no:randomly", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *plugins, "-ra", "--continue-on-collection-errors", str(folder)]
    env = os.environ | {"CI": ci, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=50, check=False)
    return done.returncode, done.stdout


def test_a_skip_is_named_and_fails_on_ci(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for name, text in {**SKIPS, "test_expected": EXPECTED}.items():
        (tmp_path / f"{name}.py").write_text(text)
    code, out = run(tmp_path, ci="")
    assert code == 0, out
    assert "4 skipped, 1 xfailed" in out
    for why in ("inside", "at the mark", "at all", "there"):
        assert f"no tide {why}" in out
    code, out = run(tmp_path, ci="true")
    assert code == 1, out
    assert "2 failed, 1 xfailed, 2 errors" in out  # what is skipped before it starts becomes an error
    assert out.count("skipped, which is a failure where CI is set: ") >= 4
