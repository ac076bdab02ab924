"""A real pgbouncer on loopback, for tests and benchmarks: session pooling, TLS to whoever wants it, plain to the
target, as ``SUPERUSER``; gone with the block."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.cli.demo.certificates import Authority
from proxy.cli.demo.postgres import free_port
from tests.peers.postgres import SUPERUSER, Cluster, PeerMissing

STARTED_WITHIN = 20.0


@dataclass
class Bouncer:
    """A running pgbouncer."""

    port: int
    process: subprocess.Popen[bytes]
    ca: Path


@contextmanager
def pgbouncer(target: Cluster) -> Iterator[Bouncer]:
    """pgbouncer in front of ``target``, as its own unprivileged user where we are root."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:" + os.environ.get("PATH", ""))
    if program is None:
        raise PeerMissing("pgbouncer is not installed: apt-get install pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="tidegate-bouncer-"))
    authority = Authority.create()
    authority.server().write(folder, "bouncer")
    ca = authority.write(folder)
    port = free_port()
    password = target.passwords[SUPERUSER]
    (folder / "users.txt").write_text(f'"{SUPERUSER}" "{password}"\n')
    (folder / "bouncer.ini").write_text(
        f"""[databases]
* = host=127.0.0.1 port={target.port} user={SUPERUSER} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = plain
auth_file = {folder}/users.txt
pool_mode = session
default_pool_size = 1200
max_client_conn = 2000
client_tls_sslmode = allow
server_tls_sslmode = disable
client_tls_key_file = {folder}/bouncer.key
client_tls_cert_file = {folder}/bouncer.crt
logfile = {folder}/log
unix_socket_dir =
ignore_startup_parameters = extra_float_digits
"""
    )
    identity = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        for path in (folder, *folder.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)
    process = subprocess.Popen(
        [program, str(folder / "bouncer.ini")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **identity
    )
    try:
        _until_it_listens(port)
        yield Bouncer(port, process, ca)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _until_it_listens(port: int) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
