"""How fast the command starts, told by what it imports; and the plain spellings of ``token``."""

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.cli.main import application
from proxy.cli.quick import plain_certificate, plain_token

ROOT = Path(__file__).parents[2]
HEAVY = (
    "typer",
    "rich",
    "fastapi",
    "pydantic",
    "httpx",
    "uvicorn",
    "sqlalchemy",
    "structlog",
    "asyncio",
    "cryptography",
)


def imported(program: str) -> set[str]:
    """The heavy packages that a fresh interpreter holds after ``program``."""
    code = f"import sys\n{program}\nprint(' '.join({{each.partition('.')[0] for each in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()) & set(HEAVY)


def test_the_command_itself_is_light() -> None:
    assert imported("import proxy.cli.main") == set()


def test_a_token_needs_none_of_them(tmp_path: Path) -> None:
    program = f"""
import os
os.environ.update(TIDEGATE_HOME={str(tmp_path)!r}, TIDEGATE_API="http://127.0.0.1:1")
from proxy.cli.home import Home, SavedLogin
Home(os.environ).save(SavedLogin("http://127.0.0.1:1", "alice", "t"))
from proxy.cli.main import main
assert main(["token", "shop"]) == 4
"""
    assert imported(program) == set()


def test_a_certificate_needs_none_of_them_either(tmp_path: Path) -> None:
    """Once the key is there; it asks the API, which is away."""
    program = f"""
import os, subprocess, sys
os.environ.update(TIDEGATE_HOME={str(tmp_path)!r}, TIDEGATE_API="http://127.0.0.1:1")
make = "import os; from proxy.cli.connect.ssh import Folder; Folder(os.environ).public_key()"
subprocess.run([sys.executable, "-c", make], check=True)
from proxy.cli.home import Home, SavedLogin
Home(os.environ).save(SavedLogin("http://127.0.0.1:1", "alice", "t"))
from proxy.cli.main import main
assert main(["ssh-certificate", "box", "--as", "ops"]) == 4
"""
    assert imported(program) == set()


@pytest.mark.parametrize("word", ["whoami", "grants", "sessions", "revoke", "connect", "approve", "ssh-config"])
def test_a_client_command_leaves_the_server_alone(word: str) -> None:
    found = imported(f"from proxy.cli.main import main\nmain(['{word}', '--help'])")
    assert "typer" in found
    assert found & {"fastapi", "uvicorn", "sqlalchemy", "httpx", "structlog", "cryptography", "rich"} == set()


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["token", "shop"], ("shop", "", False)),
        (["token", "shop", "--json"], ("shop", "", True)),
        (["token", "--json", "shop"], ("shop", "", True)),
        (["token", "shop", "--as", "owner"], ("shop", "owner", False)),
        (["token", "--as", "owner", "shop"], ("shop", "owner", False)),
        (["token"], None),
        (["token", "--help"], None),
        (["token", "shop", "--as"], None),
        (["token", "shop", "box"], None),
        (["token", "--as", "owner", "--odd"], None),
        (["tokens", "shop"], None),
        ([], None),
    ],
)
def test_the_plain_spellings(words: list[str], meant: tuple[str, str, bool] | None) -> None:
    assert plain_token(words) == meant


def test_a_certificates_plain_spellings_are_a_tokens() -> None:
    assert plain_certificate(["ssh-certificate", "box", "--as", "ops"]) == ("box", "ops", False)
    assert plain_certificate(["token", "box"]) is None
    assert plain_token(["ssh-certificate", "box"]) is None


def test_only_the_command_that_is_typed_is_made() -> None:
    names = [each.name for each in application(["grants", "--all"]).registered_commands]
    assert names == ["grants"]
    assert len(application(["--help"]).registered_commands) > 20
    assert len(application(["--json", "--help"]).registered_commands) > 20
