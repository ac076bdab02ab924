"""Real PostgreSQL servers for tests, one throw-away cluster a version: 15 (Debian's), 16 and 18 (from a wheel).

A cluster has database ``shop`` (see ``proxy.cli.demo.shop``) and one role for each way of logging in. It listens on
127.0.0.1 and in a socket folder, and disappears with the test process, however that ends. The fixtures are in
``tests/conftest.py``: ``postgres15``, ``postgres16``, ``postgres18`` (one cluster per run each) and ``postgres``
(each of the three in turn). Tests share a cluster: whoever changes data makes a database of their own with
``cluster.fresh_database()``.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from proxy.cli.demo import shop
from proxy.cli.demo.builds import EMBEDDED, Build, PostgresError, embedded_build
from proxy.cli.demo.certificates import Authority, Issued, write_file
from proxy.cli.demo.postgres import SUPERUSER, Server, free_port
from proxy.cli.demo.run_as import RunAs

VERSIONS = ("15", "16", "18")
DEBIAN = Path("/usr/lib/postgresql")

# Every role's password is known: these clusters live on loopback for the length of a test run.
PASSWORDS: Mapping[str, str] = {
    SUPERUSER: "super-secret",
    shop.READER: "reader-secret",
    shop.OWNER: "owner-secret",
    "md5_role": "md5-secret",
    "cleartext_role": "cleartext-secret",
    "trusted_role": "",
    "tls_role": "tls-secret",
    "cert_role": "",
}

_ROLES = """
CREATE ROLE cleartext_role LOGIN PASSWORD 'cleartext-secret' IN ROLE "readonly";
CREATE ROLE trusted_role LOGIN IN ROLE "readonly";
CREATE ROLE tls_role LOGIN PASSWORD 'tls-secret' IN ROLE "readonly";
CREATE ROLE cert_role LOGIN IN ROLE "readonly";
SET password_encryption = 'md5';
CREATE ROLE md5_role LOGIN PASSWORD 'md5-secret' IN ROLE "readonly";
"""

_HBA = (
    "host all md5_role 127.0.0.1/32 md5",
    "host all cleartext_role 127.0.0.1/32 password",
    "host all trusted_role 127.0.0.1/32 trust",
)
_HBA_TLS = ("hostssl all cert_role 127.0.0.1/32 cert", "hostssl all tls_role 127.0.0.1/32 scram-sha-256")
_HBA_REST = (
    "host all cert_role,tls_role all reject",
    "local all all scram-sha-256",
    "host all all samehost scram-sha-256",
)


class PeerMissing(Exception):
    """The real peer a test needs is not on this machine; the message says which and how to get it."""


@dataclass(slots=True)
class Cluster:
    """A running server. ``folder`` is its own; ``host``, ``port`` and ``socket_folder`` are where it listens.

    ``tls`` says whether it speaks TLS (Debian's build does, the wheel's do not); then ``ca`` is the path of the
    authority's certificate and ``client_certificate`` makes one for a role. ``statistics``: pg_stat_statements is
    loaded (in database ``shop``).
    """

    server: Server
    folder: Path
    authority: Authority
    statistics: bool
    host: str = "127.0.0.1"
    passwords: Mapping[str, str] = field(default_factory=lambda: PASSWORDS)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)

    @property
    def version(self) -> str:
        return self.server.build.version

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def tls(self) -> bool:
        return self.server.build.tls

    @property
    def socket_folder(self) -> Path:
        return self.folder / "socket"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    def client_certificate(self, role: str = "cert_role") -> Issued:
        return self.authority.client(role)

    def program(self, name: str) -> Path:
        """psql, pgbench, pg_dump or pg_restore of this version."""
        return self.server.build.program(name)

    def uri(self, user: str = shop.READER, database: str = shop.DATABASE, **options: str) -> str:
        """A libpq URI straight to the server, password included."""
        return self.server.uri(user=user, password=self.passwords[user], database=database, **options)

    def execute(self, sql: str, *, user: str = SUPERUSER, database: str = shop.DATABASE) -> list[tuple[Any, ...]]:
        """Run one statement or several, each committed; the rows of the last one ([] where it has none)."""
        with (
            closing(psycopg.connect(self.uri(user, database, sslmode="prefer"), autocommit=True)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql.encode())
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def fresh_database(self, template: str = shop.DATABASE) -> Iterator[str]:
        """A database of one's own, a copy of ``template`` and owned by ``owner``; dropped at the end."""
        name = f"fresh_{os.getpid()}_{next(self._numbers)}"
        # A copy needs a template nobody is connected to, and tests share `shop`: so the copy is made by its script.
        self.execute(f'CREATE DATABASE "{name}" OWNER "owner" TEMPLATE template0', database="postgres")
        try:
            if template == shop.DATABASE:
                self.server.run(shop.tables(), database=name)
            yield name
        finally:
            self.execute(f'DROP DATABASE "{name}" WITH (FORCE)', database="postgres")

    def log(self) -> str:
        """Everything the server has logged since it started."""
        return self.server.log.read_text(errors="replace")

    def restart(self) -> None:
        """Stop (fast) and start again on the same port: every connection is lost."""
        self.server.stop()
        self.server.start()

    def stop(self) -> None:
        self.server.stop()


@contextmanager
def cluster(
    version: str, *, log_statements: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """A new cluster of ``version``; gone with its folder at the end.

    ``log_statements`` sets ``log_statement = all`` (an oracle of what the server saw); ``settings`` are further
    server settings. Raises ``PeerMissing`` where that version cannot be had.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"tidegate-pg{version}-", dir=_short_temporary_folder()))
    try:
        folder.chmod(0o711)
        made = _make(_find(version, folder), folder, log_statements=log_statements, settings=settings or {})
        try:
            made.server.start()
            _fill(made)
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _short_temporary_folder() -> str:
    """A socket's path has 107 bytes at most, and everyone must be able to get there: not pytest's own folder."""
    return "/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()


def _find(version: str, folder: Path) -> Build:
    if version in EMBEDDED:
        try:
            return embedded_build(version, folder / "build")
        except PostgresError as error:
            raise PeerMissing(f"PostgreSQL {version}: {error}") from error
    bin_ = DEBIAN / version / "bin"
    if not (bin_ / "postgres").exists():
        raise PeerMissing(f"PostgreSQL {version} is not installed: apt-get install postgresql-{version}")
    return Build(version, bin_, tls=True)


def _make(build: Build, folder: Path, *, log_statements: bool, settings: Mapping[str, str]) -> Cluster:
    run_as = RunAs.for_database()
    sockets = folder / "socket"
    sockets.mkdir(mode=0o755)
    run_as.own(sockets)
    authority = Authority.create("Tidegate test authority")
    write_file(folder / "ca.crt", authority.certificate, mode=0o644)
    chosen = {
        "unix_socket_directories": str(sockets),
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": "200",
        "shared_buffers": "64MB",
        "log_statement": "all" if log_statements else "none",
        **(_tls_settings(folder, authority, run_as) if build.tls else {}),
        **({"shared_preload_libraries": "pg_stat_statements"} if build.statistics else {}),
        **settings,
    }
    hba: Sequence[str] = (*_HBA, *(_HBA_TLS if build.tls else ()), *_HBA_REST)
    server = Server(
        build, folder / "home", free_port(), PASSWORDS[SUPERUSER], settings=chosen, hba=hba, run_as=run_as
    )
    server.create()
    return Cluster(server, folder, authority, statistics=build.statistics)


def _tls_settings(folder: Path, authority: Authority, run_as: RunAs) -> Mapping[str, str]:
    for path in authority.server().write(folder, "server"):
        run_as.own(path)
    return {
        "ssl": "on",
        "ssl_cert_file": str(folder / "server.crt"),
        "ssl_key_file": str(folder / "server.key"),
        "ssl_ca_file": str(folder / "ca.crt"),
    }


def _fill(made: Cluster) -> None:
    made.server.run(shop.logins({name: PASSWORDS[name] for name in (shop.READER, shop.OWNER)}) + _ROLES)
    made.server.run(shop.tables(), database=shop.DATABASE)
    if made.statistics:
        made.server.run("CREATE EXTENSION pg_stat_statements", database=shop.DATABASE)
