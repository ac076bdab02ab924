"""A world on disk: what scripts read, what the gateway reads, what is remembered, and who may read it."""

import json
import os
import re
import stat
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from gateway_config.loading import load
from proxy.cli.demo.people import PEOPLE, new_password
from proxy.cli.demo.world import DEFAULT_POSTGRES, Ports, World, refuse_others_folder
from proxy.cli.failures import USAGE, Failed


def env_of(folder: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder / "demo.env").read_text().splitlines())


def test_the_configuration_is_a_good_one(tmp_path: Path) -> None:
    world = World.at(tmp_path)
    world.write()
    config = load(world.configuration)
    assert {user.name: set(user.groups) for user in config.users} == {each.name: {each.group} for each in PEOPLE}
    accounts = {each.name: [account.name for account in each.accounts] for each in config.resources}
    assert accounts == {"shop": ["readonly", "owner"], "box": ["ops"], "echo": ["any"]}
    assert {each.name: each.address.port for each in config.listeners} == {
        "postgres": world.ports.postgres,
        "ssh": world.ports.ssh,
        "tcp": world.ports.tcp,
    }
    assert config.api.listen.port == world.ports.api


def test_no_secret_is_in_the_configuration_and_none_is_readable_by_others(tmp_path: Path) -> None:
    world = World.at(tmp_path)
    world.write()
    world.announce(7)
    text = world.configuration.read_text()
    for secret in (world.password, *world.logins.values()):
        assert secret not in text
        assert secret not in repr(world)
    open_to_others = [
        each.relative_to(tmp_path).as_posix()
        for each in tmp_path.rglob("*")
        if each.is_file() and stat.S_IMODE(each.stat().st_mode) & 0o077
    ]
    assert sorted(open_to_others) == ["ca.crt", "gateway.crt", "ready"]
    assert "postgres" not in {each.name for each in (tmp_path / "secrets").iterdir()}


def test_scripts_find_everything_in_demo_env(tmp_path: Path) -> None:
    world = World.at(tmp_path, port_base=21_000, postgres="16")
    world.announce(4711)
    found = env_of(tmp_path)
    assert found == {
        "TIDEGATE_API": "https://127.0.0.1:21001",
        "TIDEGATE_CA": str(tmp_path / "ca.crt"),
        "TIDEGATE_PG_HOST": "127.0.0.1",
        "TIDEGATE_PG_PORT": "21000",
        "TIDEGATE_SSH_HOST": "127.0.0.1",
        "TIDEGATE_SSH_PORT": "21003",
        "TIDEGATE_TCP_PORT": "21004",
        "TIDEGATE_PASSWORD": world.password,
        "TIDEGATE_TARGET_PG": f"postgresql://postgres:{world.logins['postgres']}@127.0.0.1:21002/shop",
        "TIDEGATE_TARGET_SSH_PORT": "21005",
        "TIDEGATE_TARGET_SSH_KEY": str(tmp_path / "secrets" / "box-direct"),
        "TIDEGATE_TARGET_TCP_PORT": "21006",
        "TIDEGATE_PID": "4711",
    }
    assert (tmp_path / "ready").read_bytes() == b""
    world.withdraw()
    assert not (tmp_path / "ready").exists()


def test_a_shell_can_source_it_whatever_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "it's a world of $5"
    folder.mkdir()
    World.at(folder).announce(7)
    read = 'import os, json; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith("TIDEGATE_")}))'
    script = f'. "$1" && exec "{sys.executable}" -c "$2"'
    command = ["sh", "-euc", script, "sh", str(folder / "demo.sh"), read]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=True, timeout=20)
    assert json.loads(done.stdout) == env_of(folder)


def test_a_second_demo_takes_the_same_world_up(tmp_path: Path) -> None:
    first = World.at(tmp_path)
    first.write()
    ca = first.ca.read_bytes()
    again = World.at(tmp_path)
    again.write()
    assert again == first
    assert again.ca.read_bytes() == ca
    assert World.at(tmp_path, port_base=22_000).ports == Ports(*range(22_000, 22_007))
    assert World.at(tmp_path).ports == Ports(*range(22_000, 22_007))
    assert World.at(tmp_path).password == first.password


def test_a_world_keeps_its_postgresql(tmp_path: Path) -> None:
    assert World.at(tmp_path, postgres="16").postgres == "16"
    assert World.at(tmp_path).postgres == "16"
    with pytest.raises(Failed, match="holds a world on PostgreSQL 16") as caught:
        World.at(tmp_path, postgres="18")
    assert caught.value.code == USAGE
    assert DEFAULT_POSTGRES == "18"


def test_a_world_of_before_there_was_ssh_is_taken_up(tmp_path: Path) -> None:
    kept = {"postgres": "16", "ports": {"postgres": 22_010, "api": 22_011, "target": 22_012}}
    (tmp_path / "world.json").write_text(json.dumps(kept | {"password": "a-b-c", "logins": {}}))
    ports = World.at(tmp_path).ports
    assert (ports.postgres, ports.api, ports.target) == (22_010, 22_011, 22_012)
    assert len({*asdict(ports).values()}) == 7
    assert World.at(tmp_path).ports == ports


def test_a_folder_with_something_else_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "world.json").write_text('{"postgres": 16}')
    with pytest.raises(Failed, match=r"world\.json is not a demo's"):
        World.at(tmp_path)
    assert (tmp_path / "world.json").read_text() == '{"postgres": 16}'


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"postgres": "16", "ports": {"tea": 4}, "password": "", "logins": {}}']
)
def test_a_file_that_is_no_world_s_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "world.json").write_text(text)
    with pytest.raises(Failed, match=r"world\.json is not a demo's"):
        World.found(tmp_path)


@pytest.mark.parametrize("name", ["postgres", "gateway.toml", "ca.key", "box", "ready"])
def test_a_folder_with_what_a_demo_would_write_over_is_refused(tmp_path: Path, name: str) -> None:
    """What was in postgres/server was removed; the rest written over, or chowned."""
    refuse_others_folder(tmp_path)
    (tmp_path / "notes.txt").touch()
    refuse_others_folder(tmp_path)
    (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(Failed, match=f"holds no world, but {name}") as caught:
        refuse_others_folder(tmp_path)
    assert caught.value.code == USAGE
    World.at(tmp_path)
    refuse_others_folder(tmp_path)


def test_a_folder_where_others_can_put_links_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o757)
    with pytest.raises(Failed, match="can be written by everybody"):
        refuse_others_folder(tmp_path)
    tmp_path.chmod(0o755)
    refuse_others_folder(tmp_path)
    if os.geteuid() == 0:
        os.chown(tmp_path, 65_534, 65_534)
        with pytest.raises(Failed, match="belongs to somebody else"):
            refuse_others_folder(tmp_path)


def test_passwords_can_be_typed_and_differ() -> None:
    made = {new_password() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"([a-z]{6}-){2}[a-z]{6}", each) for each in made)
