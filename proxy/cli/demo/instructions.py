"""What the demo prints: lines to copy into other shells, each of which works as it stands.

Pure text from a world; what the machine has (a psql with TLS, a `tidegate` on the PATH) is asked once, by
``surroundings``. Called by ``command``.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.cli.demo.world import HOST, World

NO_TLS = "SSL support is not compiled in"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``psql``: whether the PATH has one that speaks TLS; ``path``: what to put before PATH to find `tidegate`."""

    psql: bool
    path: str


def surroundings() -> Surroundings:
    beside_us = Path(sys.executable).with_name("tidegate")
    needed = shutil.which("tidegate") is None and beside_us.exists()
    return Surroundings(has_psql_with_tls(), str(beside_us.parent) if needed else "")


def has_psql_with_tls() -> bool:
    """Whether the psql on the PATH was built with TLS: without it, it says so before it tries to connect."""
    psql = shutil.which("psql")
    if psql is None:
        return False
    # Nobody listens on port 1; `require` is refused first where it cannot be had.
    command = [psql, "-X", f"host={HOST} port=1 sslmode=require connect_timeout=2", "-c", ""]
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=10)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return NO_TLS not in done.stderr.decode(errors="replace")


def instructions(world: World, around: Surroundings) -> str:
    """The whole text, for a terminal."""
    return "\n".join(_lines(world, around))


def _lines(world: World, around: Surroundings) -> Iterator[str]:
    yield f"Tidegate is running, with its world in {world.folder} (log: {world.log.name})."
    yield f"The password of alice, eve, bob, carol and dave is {world.password}"
    yield from _engineer(world, around)
    yield from _host(world)
    yield from _service(world)
    yield from _admin(world, around)
    yield from _auditor(world, around)
    yield from _approver(world, around)
    yield ""
    yield "Ctrl-C here ends it all."


def _engineer(world: World, around: Surroundings) -> Iterator[str]:
    yield from _paragraph("In a second shell, alice, an engineer, asks for access and uses it:")
    yield from _as(world, around, "alice")
    yield '  tidegate request shop --as readonly --for 30m --reason "why are orders late?"'
    yield f"  {_connection(world, around)}"
    yield from _paragraph("and in psql, a question and something that takes long:")
    yield "  SELECT status, count(*) FROM orders GROUP BY status;"
    yield "  SELECT pg_sleep(600);"


def _host(world: World) -> Iterator[str]:
    config = shlex.quote(str(world.folder / "homes" / "alice" / "ssh_config"))
    yield from _paragraph(
        "There is a host, too, with a shell; then with stock ssh (scp, sftp, rsync take -F as well):"
    )
    yield '  tidegate request box --as ops --for 30m --reason "the disk is full"'
    yield "  tidegate connect box"
    yield f"  tidegate ssh-config box >{config}"
    yield f"  ssh -F {config} box df -h"
    yield from _paragraph("or with nothing but a token, which this prints and ssh asks for as the password:")
    yield "  tidegate token box --as ops"
    yield f"  ssh -p {world.ports.ssh} ops@{HOST}"


def _service(world: World) -> Iterator[str]:
    ca = shlex.quote(str(world.ca))
    header = '--proxy-header "Proxy-Authorization: Bearer $(tidegate token echo --as any)"'
    through = f"-x https://{HOST}:{world.ports.tcp} --proxy-cacert {ca} {header}"
    yield from _paragraph(
        "and a TCP service that sends back what it is sent (curl does not see its end: -m is when to stop);\n"
        "the last line opens a port for programs that know no proxy, until Ctrl-C:"
    )
    yield '  tidegate request echo --as any --for 30m --reason "is it there?"'
    yield f"  echo hello | curl -sNp -m 2 {through} telnet://echo:{world.ports.echo}"
    yield "  tidegate connect echo --listen 7000"


def _admin(world: World, around: Surroundings) -> Iterator[str]:
    yield from _paragraph("In a third, dave, an admin, sees it run and ends it:")
    yield from _as(world, around, "dave")
    yield "  tidegate sessions --live"
    yield '  tidegate revoke --user alice --reason "the tide is out" --yes'


def _auditor(world: World, around: Surroundings) -> Iterator[str]:
    yield from _paragraph(
        "Her psql says so at once (one that waits for her to type says it at her next command).\n"
        "There too, carol, an auditor, looks at what alice did:"
    )
    yield from _as(world, around, "carol")
    yield "  tidegate sessions"
    yield "  tidegate replay --user alice"
    yield "  tidegate audit verify"


def _approver(world: World, around: Surroundings) -> Iterator[str]:
    yield from _paragraph("To change data, alice needs the yes of bob. She asks, in her shell, and waits:")
    yield '  tidegate request shop --as owner --for 15m --reason "order 7 is paid" --wait'
    yield from _paragraph("which says what he types, here:")
    yield from _as(world, around, "bob")
    yield "  tidegate requests"


def _paragraph(words: str) -> Iterator[str]:
    yield ""
    yield words
    yield ""


def _as(world: World, around: Surroundings, person: str) -> Iterator[str]:
    """Lines that make a shell that person's: every person has a home of their own."""
    home = world.folder / "homes" / person
    if around.path:
        yield f"  export PATH={shlex.quote(around.path)}:$PATH"
    yield f"  export TIDEGATE_API={world.api} TIDEGATE_CA={shlex.quote(str(world.ca))}"
    yield f"  export TIDEGATE_HOME={shlex.quote(str(home))} TIDEGATE_TCP_PORT={world.ports.tcp}"
    yield f"  echo {world.password} | tidegate login --user {person} --password-stdin"


def _connection(world: World, around: Surroundings) -> str:
    if not around.psql:
        return "tidegate connect shop --as readonly"
    # In a conninfo string a value with spaces stands in single quotes (PG manual, 34.1.1.1).
    ca = str(world.ca).replace("\\", "\\\\").replace("'", "\\'")
    conninfo = (
        f"host={HOST} port={world.ports.postgres} sslmode=verify-full sslrootcert='{ca}' dbname=shop user=readonly"
    )
    return f'PGPASSWORD=$(tidegate token shop --as readonly) psql "{_within_double_quotes(conninfo)}"'


def _within_double_quotes(text: str) -> str:
    return "".join(f"\\{each}" if each in '\\"$`' else each for each in text)
