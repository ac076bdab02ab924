"""A PostgreSQL of one's own on loopback: make a data directory, start, ask, stop.

Used by ``world`` for the demo's target and by ``tests/peers`` for every throw-away server. It knows nothing of the
gateway. Blocking throughout: nothing else goes on in the process while a server starts.
"""

import os
import secrets
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

from proxy.cli.demo.builds import Build, PostgresError
from proxy.cli.demo.certificates import write_file
from proxy.cli.demo.lifeline import alive, runs, signalled_when_we_die, tell
from proxy.cli.demo.run_as import RunAs

SUPERUSER = "postgres"
PASSWORD_EVERYWHERE = ("local all all scram-sha-256", "host all all samehost scram-sha-256")
START_SECONDS = 60.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02
PID_FILE_MOST = 4096
# Below what the system hands out for outgoing connections, so that a port is still ours after a restart.
PORTS = range(20_000, 32_000)


@dataclass(slots=True)
class Server:
    """One data directory and the postmaster on it: listens on loopback TCP and, where given, in a socket folder.

    ``home`` is made and stays ours; in it are ``log``, ``pg_hba.conf`` and ``data``, which alone is PostgreSQL's
    user's: nothing in there is written, or followed, by us.
    ``settings`` are server settings, ``hba`` the lines of pg_hba.conf. With ``dies_with_us`` the postmaster shuts
    down (fast) when this process disappears, however it does; otherwise it survives and ``start`` takes it up
    again. Methods block; errors are ``PostgresError``.
    """

    build: Build
    home: Path
    port: int
    password: str = field(repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)
    hba: Sequence[str] = PASSWORD_EVERYWHERE
    dies_with_us: bool = True
    run_as: RunAs = field(default_factory=RunAs.for_database)
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        """The server's log, all of it since it was made."""
        return self.home / "log"

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs on this data directory, else None. What the file there says is
        believed of a child of ours, and of our own command run by the right user: the file may be old, its number
        somebody else's by now."""
        lines = self._pid_file()
        pid = int(lines[0]) if lines and lines[0].isdigit() else 0
        if self._process is not None and self._process.poll() is None and self._process.pid == pid:
            return pid
        uid = os.geteuid() if self.run_as.uid is None else self.run_as.uid
        return pid if pid and runs(pid, uid, self._command()) else None

    def _command(self) -> list[str]:
        return [str(self.build.program("postgres")), "-D", str(self.data)]

    def create(self) -> bool:
        """Make the data directory (initdb, SCRAM throughout); False where it is there already."""
        self._refuse_others_home()
        if (self.data / "PG_VERSION").exists():
            return False
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home.chmod(0o700 if self.run_as.uid is None else 0o711)
        self.data.mkdir(mode=0o700, exist_ok=True)
        self.run_as.own(self.data)
        secret = self.home / "initdb.password"
        write_file(secret, self.password.encode() + b"\n")
        self.run_as.own(secret)
        try:
            self._initdb(secret)
        finally:
            secret.unlink()
        return True

    def _refuse_others_home(self) -> None:
        if self.home.exists() and self.home.stat().st_uid != os.geteuid():
            raise PostgresError(f"{self.home} belongs to another user: it is not what this Tidegate makes")

    def _initdb(self, secret: Path) -> None:
        arguments = [
            *("--pgdata", str(self.data), "--username", SUPERUSER, f"--pwfile={secret}", "--no-sync"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"),
        ]
        self._checked([str(self.build.program("initdb")), *arguments])

    def start(self) -> None:
        """Start the postmaster and wait until it accepts connections; one that still runs on this port is taken up
        instead."""
        self._refuse_others_home()
        if self.pid is not None and self._pid_file()[3:4] != [str(self.port)]:
            self.stop()
        if self.pid is None:
            self._launch()
        self._wait_until_ready()

    def _launch(self) -> None:
        hba = self.home / "pg_hba.conf"
        write_file(hba, "\n".join((*self.hba, "")).encode(), mode=0o644)
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        settings |= {"hba_file": str(hba), **self.settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program and settings
                (*self._command(), *options),
                cwd=self.data,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C typed at the terminal is for us; we end the server in our own order.
                start_new_session=True,
                preexec_fn=signalled_when_we_die(signal.SIGINT) if self.dies_with_us else None,  # noqa: PLW1509
                **self.run_as.popen(),
            )
        finally:
            os.close(log)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self._process is not None and self._process.poll() is not None:
                raise PostgresError(f"PostgreSQL {self.build.version} did not start:\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL {self.build.version} is not ready:\n{self._last_words()}")
            time.sleep(POLL_SECONDS)

    def _ready(self) -> bool:
        """The eighth line of postmaster.pid says so: what pg_ctl looks at (src/include/utils/pidfile.h). One that
        another has left is not believed."""
        lines = self._pid_file()
        return len(lines) >= 8 and lines[7].strip() == "ready" and self.pid is not None

    def _pid_file(self) -> list[str]:
        """Its lines. The folder is another's: neither a link nor something that never ends is read."""
        try:
            file = os.open(self.data / "postmaster.pid", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return []
        with os.fdopen(file, errors="replace") as opened:
            regular = stat.S_ISREG(os.fstat(file).st_mode)
            return opened.read(PID_FILE_MOST).splitlines() if regular else []

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:]) if self.log.exists() else ""

    def stop(self) -> None:
        """Shut down: fast (clients are cut), then immediate, then killed; returns when no process is left."""
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(how)
                self._wait_until_gone(self._process.pid)
            elif pid := self.pid:
                tell(pid, how, lambda: self.pid == pid)
                self._wait_until_gone(pid)
        if self._process is not None:
            self._process.wait(STOP_SECONDS)
        self._process = None

    def _wait_until_gone(self, pid: int) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if self._process is not None and self._process.pid == pid:
                if self._process.poll() is not None:
                    return
            elif not alive(pid):
                return
            time.sleep(POLL_SECONDS)

    def run(self, sql: str, *, database: str = "postgres") -> str:
        """Run a script as the superuser, stopping at the first error; what psql printed (unaligned tuples)."""
        arguments = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-", self.uri(database=database)]
        command = [str(self.build.program("psql")), *arguments]
        return self._checked(command, text=sql, env={"PGPASSWORD": self.password})

    def uri(self, *, user: str = SUPERUSER, password: str = "", database: str = "postgres", **options: str) -> str:
        """A libpq URI over TCP; the password is in it only where it is given."""
        who = f"{quote(user, safe='')}:{quote(password, safe='')}" if password else quote(user, safe="")
        query = f"?{urlencode(options, quote_via=quote)}" if options else ""
        return f"postgresql://{who}@127.0.0.1:{self.port}/{quote(database, safe='')}{query}"

    def _checked(self, command: list[str], *, text: str = "", env: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(  # noqa: S603 - our own program and arguments
            command,
            cwd=self.home,
            env=_environment() | dict(env or {}),
            input=text.encode(),
            capture_output=True,
            check=False,
            **self.run_as.popen(),
        )
        if done.returncode != 0:
            raise PostgresError(f"{Path(command[0]).name} failed:\n{done.stderr.decode(errors='replace')}")
        return str(done.stdout.decode())


def free_port() -> int:
    """A TCP port of loopback nobody listens on just now."""
    while not is_free(port := secrets.choice(PORTS)):
        pass
    return port


def is_free(port: int) -> bool:
    """Whether one could listen on that port of loopback now."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _environment() -> dict[str, str]:
    """Ours without what steers libpq and PostgreSQL, and with messages in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C", "HOME": "/"}
