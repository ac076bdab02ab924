"""A real OpenSSH server on loopback for tests: Debian's sshd in a folder of its own, gone with the test process.

It makes no user: who logs in is the user who runs the tests (root in CI) or, ``ordinary``, one who is there and is
not root; with a key that is made for it or a certificate of an authority that is named later. Nothing of it is read
from or written to /etc/ssh or a home folder.
``echo()`` is a TCP service to forward to.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.cli.demo.postgres import free_port
from tests.peers.postgres import PeerMissing

PACKAGES: Mapping[str, str] = {
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "scp": "openssh-client",
    "sftp": "openssh-client",
    "ssh-agent": "openssh-client",
    "ssh-keygen": "openssh-client",
    "dbclient": "dropbear-bin",
    "dropbearconvert": "dropbear-bin",
    "rsync": "rsync",
    "git": "git",
}
"""Where each program comes from."""
SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")
# sshd looks into it before it reads a line of its configuration; where it is started as root it must be there.
SEPARATION = Path("/run/sshd")
STARTED_WITHIN = 20.0

_SETTINGS: Mapping[str, str] = {
    "ListenAddress": "127.0.0.1",
    "PidFile": "none",
    "UsePAM": "no",
    "StrictModes": "no",
    "PermitRootLogin": "yes",
    "PubkeyAuthentication": "yes",
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "AcceptEnv": "*",
    "AllowTcpForwarding": "yes",
    "AllowAgentForwarding": "yes",
    "X11Forwarding": "yes",
    "PermitTunnel": "yes",
    "MaxSessions": "100",
    "MaxStartups": "200:100:200",
    "PrintMotd": "no",
    "PrintLastLog": "no",
    "UseDNS": "no",
    "LogLevel": "VERBOSE",
}
"""It allows everything: what is refused through the gateway, the gateway has refused."""


def program(name: str) -> str:
    """The path of a program of Debian's; ``PeerMissing`` says which package has it."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise PeerMissing(f"{name} is not installed: apt-get install {PACKAGES.get(name, name)}")
    return found


def ordinary() -> pwd.struct_passwd:
    """Someone with a shell who is not root: we ourselves, or the user that Debian's PostgreSQL brings. OpenSSH
    takes no signals for root's processes, and root may do everything."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    with contextlib.suppress(KeyError):
        found = pwd.getpwnam("postgres")
        if found.pw_shell in Path("/etc/shells").read_text().split():
            return found
    raise PeerMissing("there is no user with a shell but root: apt-get install postgresql-15")


@dataclass(slots=True)
class Sshd:
    """A running server. ``user`` may log in with the private key ``key``, or with a certificate that one of the
    authorities in ``authorities`` made for it. ``host_key`` is the public line of its own key; ``host_authority``
    that of who signed its certificate."""

    folder: Path
    port: int
    user: str
    host_key: str
    host_authority: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def key(self) -> Path:
        return self.folder / "user"

    @property
    def authorities(self) -> Path:
        """Public lines of those whose user certificates are believed; may be written while it runs."""
        return self.folder / "authorities.pub"

    def known_hosts(self) -> str:
        return f"[127.0.0.1]:{self.port} {self.host_key}\n"

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        command = [program("sshd"), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + STARTED_WITHIN
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 2):
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sshd did not start:\n{self.log()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """The server and every connection of it: each has a process of its own."""
        if self.process is None or self.process.poll() is not None:
            return
        serving = connections(self.process.pid)
        self.process.terminate()
        self.process.wait(10)
        for pid in serving:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def connections(pid: int) -> list[int]:
    """The processes below ``pid``: sshd's own for each connection, and what they run."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            found += [int(child) for child in Path(f"/proc/{each}/task/{each}/children").read_text().split()]
    return found[1:]


def running(word: str) -> list[int]:
    """The processes that have ``word`` in an argument: it has to be one that nobody else uses."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def make_key(path: Path, kind: str = "ed25519", comment: str = "test") -> str:
    """A new key pair at ``path`` and ``path``.pub; the public line, without its comment."""
    command = [program("ssh-keygen"), "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=20)
    return public_line(path)


def public_line(path: Path) -> str:
    return " ".join(path.with_name(f"{path.name}.pub").read_text().split()[:2])


def sign(authority: Path, public: Path, *options: str) -> Path:
    """A certificate for ``public`` (a .pub file) by the private key ``authority``; where it is."""
    command = [program("ssh-keygen"), "-q", "-s", str(authority), *options, str(public)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=20)
    return public.with_name(f"{public.stem}-cert.pub")


@contextmanager
def sshd(
    *,
    settings: Mapping[str, str] | None = None,
    sftp: str = "internal-sftp",
    kind: str = "ed25519",
    user: pwd.struct_passwd | None = None,
) -> Iterator[Sshd]:
    """A new server; ``settings`` are further lines of sshd_config, ``sftp`` its subsystem (``SFTP_SERVER`` for
    the program of its own), ``kind`` of host key, ``user`` who logs in, if not we ourselves.
    Raises ``PeerMissing`` where there is no sshd."""
    program("sshd")
    folder = Path(tempfile.mkdtemp(prefix="tidegate-sshd-"))
    who = user or pwd.getpwuid(os.geteuid())
    made = Sshd(folder, free_port(), who.pw_name, "", "")
    try:
        # An account without a password counts as locked, but for PAM.
        pam = {"UsePAM": "yes"} if who.pw_uid != os.geteuid() else {}
        _furnish(made, {**_SETTINGS, **pam, **(settings or {})}, sftp, kind)
        if who.pw_uid != os.geteuid():
            folder.chmod(0o755)  # its keys are looked up as that user
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _furnish(made: Sshd, settings: Mapping[str, str], sftp: str, kind: str) -> None:
    folder = made.folder
    if os.geteuid() == 0:
        SEPARATION.mkdir(mode=0o755, exist_ok=True)
    made.host_key = make_key(folder / "host", kind)
    made.host_authority = make_key(folder / "host_authority")
    sign(
        folder / "host_authority", folder / "host.pub", "-h", "-I", "host", "-n", "127.0.0.1,localhost", "-V", "+1d"
    )
    (folder / "authorized_keys").write_text(make_key(made.key) + "\n")
    made.authorities.write_text("")
    (folder / "home").mkdir()
    (folder / "home").chmod(0o777)
    lines = [
        f"Port {made.port}",
        f"HostKey {folder}/host",
        f"HostCertificate {folder}/host-cert.pub",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        f"TrustedUserCAKeys {made.authorities}",
        f"Subsystem sftp {sftp}",
        # Shells read files there when they start: those of whoever runs the tests would be part of them.
        f"SetEnv HOME={folder}/home",
        *(f"{name} {value}" for name, value in settings.items()),
    ]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")


class _Echo(socketserver.BaseRequestHandler):
    """Says every byte back, until the client says no more."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65_536):
                self.request.sendall(data)


class _Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def echo() -> Iterator[int]:
    """The port of a service on loopback that says every byte back."""
    with _Threads(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join(5)
