"""``config check``, ``schema`` and ``explain`` over files, without a gateway."""

import asyncio
import json
from operator import methodcaller
from pathlib import Path

import pytest

from proxy.adapters.clock import SystemClock
from proxy.adapters.store.opening import open_store
from proxy.cli.main import main
from proxy.core.feed import Scope
from proxy.core.ports import Lock
from tests.peers.certificates import Authority

EXAMPLE = Path(__file__).parents[2] / "gateway_config" / "examples" / "minimal.toml"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The smallest example with the certificate and the variable it asks for."""
    folder = tmp_path / "tls"
    folder.mkdir()
    issued = Authority.at(folder).server()
    (folder / "gateway.pem").write_bytes(issued.certificate)
    (folder / "gateway.key").write_bytes(issued.key)
    (folder / "gateway.key").chmod(0o600)
    monkeypatch.setenv("SHOP_READONLY_PASSWORD", "hunter2")
    file = tmp_path / "gateway.toml"
    file.write_text(EXAMPLE.read_text())
    return file


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    return (code, *capfd.readouterr())


AUDITOR = """
[[groups]]
name = "auditors"
roles = ["auditor"]

[[users]]
name = "carol"
groups = ["auditors"]
"""


def test_a_good_file(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text() + AUDITOR)
    code, out, err = run(capfd, "config", "check", "--config", str(config))
    assert (code, out, err) == (0, f"{config} is good\n", "")
    told = run(capfd, "config", "check", str(config), "--json")[:2]
    assert told == (0, '{"ok": true, "problems": [], "warnings": []}\n')


def test_a_good_file_in_which_nobody_is_an_auditor(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capfd, "config", "check", str(config))
    assert (code, out) == (0, f"{config} is good\n")
    assert err.startswith("look at this: nobody is an auditor")
    (warning,) = json.loads(run(capfd, "config", "check", str(config), "--json")[1])["warnings"]
    assert "admins_read" in warning


def test_a_lock_that_holds_nobody_is_told_where_there_is_a_store(
    config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config.write_text(config.read_text() + AUDITOR)

    async def lock() -> None:
        folder = config.parent / "state"
        folder.mkdir()
        async with open_store(f"sqlite:///{folder / 'tidegate.db'}", node="n", clock=SystemClock()) as store:
            for key in ("alice", "zed"):
                made = Lock(Scope.IDENTITY, key, "dave", "x", 1.0)
                await store.commit(methodcaller("put_lock", made))

    asyncio.run(lock())
    code, out, err = run(capfd, "config", "check", str(config))
    assert (code, out) == (0, f"{config} is good\n")
    assert err.startswith("look at this: the lock of user zed holds nobody")
    assert "alice" not in err


def test_every_mistake_with_its_place(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = config.read_text().replace('protocol = "postgres"', 'protocol = "smoke"').replace("max_duration", "max")
    config.write_text(text)
    code, out, err = run(capfd, "config", "check", "--config", str(config))
    assert (code, out) == (1, "")
    line = next(number for number, each in enumerate(text.splitlines(), 1) if each.startswith("protocol"))
    assert f"  {config}:{line}: listeners[0].protocol: " in err
    assert "policies[0].max" in err
    assert "hunter2" not in err
    code, _, err = run(capfd, "config", "check", "--config", str(config), "--json")
    problem = json.loads(err)
    assert code == 1
    assert all(each["path"] and each["problem"] for each in problem["fields"])
    assert any(each["line"] for each in problem["fields"])


def test_no_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capfd, "config", "check", "--config", str(tmp_path / "none.toml"))
    assert code == 1
    assert f"  {tmp_path / 'none.toml'}: No such file" in err


def test_the_schema_is_one(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, "config", "schema")
    assert code == 0
    assert "policies" in json.loads(out)["properties"]


def explained(capfd: pytest.CaptureFixture[str], config: Path, *words: str) -> tuple[int, str, str]:
    asked = ("--user", "alice", "--resource", "shop", "--as", "readonly", "--config", str(config))
    return run(capfd, "config", "explain", *asked, *words)


def test_what_policy_would_say(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = explained(capfd, config, "--for", "30m", "--reason", "ticket 7")
    assert code == 0, err
    assert "> rule alice-reads-the-shop" in out
    code, out, _ = explained(capfd, config, "--for", "30m")
    assert code == 3
    assert "reason" in out
    code, out, _ = explained(capfd, config, "--for", "2h")
    assert code == 3
    assert "denied" in out
    code, out, _ = explained(capfd, config, "--for", "2h", "--json")
    assert (code, json.loads(out)["outcome"]) == (3, "deny")


def test_what_policy_cannot_be_asked(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert explained(capfd, config, "--for", "banana")[0] == 2
    code, _, err = explained(capfd, config, "--user", "nobody")
    assert code == 1
    assert "user nobody" in err
    assert run(capfd, "config", "explain")[0] == 2
