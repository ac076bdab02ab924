"""Stock command-line clients, run as a person would: psql, pg_dump, pg_restore, pgbench.

``stock("psql")`` is Debian's (with TLS); a cluster's ``program("psql")`` is that version's. ``run`` is for what
ends by itself, ``talk`` for a psql that lives while the test does something else (revoke its grant, say). Both give
the client an environment of its own: no ~/.pgpass, no PG* of the machine.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.peers.postgres import DEBIAN, PeerMissing

PLAIN = ("-X", "-A", "-t", "-q")
DEBIAN_VERSION = "15"


class Ran(NamedTuple):
    """How a program ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def stock(name: str) -> Path:
    """Debian's program of that name; ``PeerMissing`` where it is not installed."""
    path = DEBIAN / DEBIAN_VERSION / "bin" / name
    found = path if path.exists() else shutil.which(name)
    if found is None:
        raise PeerMissing(f"{name} is not installed: apt-get install postgresql-client-{DEBIAN_VERSION}")
    return Path(found)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a client sees: nothing of ours that steers it but ``extra`` (PGPASSWORD, for example)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "20", **(extra or {})}


async def run(
    program: Path, *arguments: str, text: str = "", env: Mapping[str, str] | None = None, within: float = 30.0
) -> Ran:
    """Run a client to its end with ``text`` as its input; after ``within`` s it is killed: ``TimeoutError``."""
    process = await asyncio.create_subprocess_exec(
        str(program),
        *arguments,
        env=environment(env),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(within):
            out, err = await process.communicate(text.encode())
    finally:
        await _end(process)
    return Ran(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))


async def psql(
    target: str, sql: str, *options: str, env: Mapping[str, str] | None = None, program: Path | None = None
) -> Ran:
    """A psql (Debian's, or ``program``) runs ``sql`` against ``target`` (a URI or a conninfo string): unaligned,
    tuples only."""
    return await run(program or stock("psql"), *PLAIN, *options, "-c", sql, "-d", target, env=env)


@dataclass(slots=True)
class Talk:
    """A psql one talks to. ``heard`` is all it has printed so far, on both outputs."""

    process: asyncio.subprocess.Process
    heard: str = ""
    _sayings: int = field(default=0, repr=False)

    def say(self, text: str) -> None:
        """Type lines at it, without waiting."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")

    async def hear(self, text: str, *, within: float = 20.0) -> str:
        """Wait until it has printed ``text`` (since it began); all it has printed."""
        try:
            async with asyncio.timeout(within):
                while text not in self.heard and await self._read():
                    pass
        except TimeoutError:
            raise AssertionError(f"psql did not say {text!r} within {within} s but {self.heard!r}") from None
        assert text in self.heard, f"psql ended without saying {text!r} but {self.heard!r}"
        return self.heard

    async def ask(self, sql: str) -> str:
        """Type a statement and wait for its end; what was printed meanwhile."""
        before, self._sayings = len(self.heard), self._sayings + 1
        mark = f"<{self._sayings} said>"
        self.say(f"{sql}\n\\echo {mark}")
        await self.hear(mark)
        return self.heard[before:].replace(f"{mark}\n", "")

    async def end(self, *, within: float = 20.0) -> Ran:
        """Wait for its end; what it printed is in ``out``."""
        async with asyncio.timeout(within):
            while await self._read():
                pass
            code = await self.process.wait()
        return Ran(code, self.heard, "")

    async def _read(self) -> bool:
        assert self.process.stdout is not None
        chunk = await self.process.stdout.read(65_536)
        self.heard += chunk.decode(errors="replace")
        return bool(chunk)


@asynccontextmanager
async def talk(
    target: str, *options: str, env: Mapping[str, str] | None = None, program: Path | None = None
) -> AsyncIterator[Talk]:
    """A psql connected to ``target`` that reads what the test types; killed at the end if it still lives."""
    process = await asyncio.create_subprocess_exec(
        str(program or stock("psql")),
        *(*PLAIN, *options, "-d", target),
        env=environment(env),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Talk(process)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what still lives, and let the pipes close."""
    with suppress(ProcessLookupError):
        process.kill()
    with suppress(ConnectionError):
        await process.communicate()
