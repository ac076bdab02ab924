"""A real gateway in front of a real PostgreSQL, as its own processes: for end-to-end tests and benchmarks.

``gateway(cluster)`` writes a configuration, starts ``tidegate serve`` and waits until it is ready. People, all with
``PASSWORD``: ``alice`` and ``eve`` (engineers), ``bob`` (approver), ``carol`` (auditor), ``dave`` (admin). Accounts
of ``shop``: ``readonly`` and ``postgres`` are given at once, ``owner`` needs one yes. What eve sees is recorded.
"""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway_config.passwords import hash_password
from proxy.cli.demo.certificates import Authority
from proxy.cli.demo.postgres import free_port
from tests.peers.postgres import SUPERUSER, Cluster

ROOT = Path(__file__).parents[2]
PASSWORD = "correct-horse"
WATCHED = '\nrecord_rows = 3\nrecord_bytes = "1KiB"'
"""Of what eve sees the first rows are kept."""
TLS = 'tls = { certificate = "gateway.crt", key = "gateway.key" }'
READY_WITHIN = 60.0
PEOPLE: Mapping[str, str] = {
    "alice": "engineers",
    "eve": "engineers",
    "bob": "approvers",
    "carol": "auditors",
    "dave": "admins",
}
_HASHES: dict[str, str] = {}  # Argon2 is slow on purpose: once a run is enough


class Refused(Exception):
    """The API said no: ``status`` and the problem document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status}: {problem.get('detail', problem)}")
        self.status = status
        self.problem = problem


@dataclass
class Gateway:
    """A running gateway. ``port`` is its PostgreSQL listener (TLS), ``plain_port`` one that takes tokens without
    TLS on loopback; ``url`` its API. ``target_port`` is where it looks for the cluster, ``head`` more lines of
    ``[gateway]``, ``tree`` whose code it runs."""

    folder: Path
    cluster: Cluster
    port: int
    plain_port: int
    api_port: int
    target_tls: bool = True
    target_port: int = 0
    head: str = ""
    tree: Path = ROOT
    process: subprocess.Popen[bytes] | None = None
    _logins: dict[str, str] = field(default_factory=dict)
    _grants: dict[tuple[str, str, str], str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.api_port}"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def recordings(self) -> Path:
        return self.folder / "state" / "recordings"

    # -- the API -------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: object = None, *, user: str | None = "dave") -> Any:
        """One call of the API as ``user`` (None: anonymous); the decoded answer. ``Refused`` for a problem."""
        request = urllib.request.Request(
            f"{self.url}{path}", method=method, data=None if body is None else json.dumps(body).encode()
        )
        request.add_header("content-type", "application/json")
        if user is not None:
            request.add_header("authorization", f"Bearer {self._login(user)}")
        context = ssl.create_default_context(cafile=str(self.ca))
        try:
            with urllib.request.urlopen(request, context=context, timeout=20) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, json.loads(error.read() or b"{}")) from None
        try:
            return json.loads(content or b"null")
        except ValueError:
            return content.decode("utf-8", "replace")

    def _login(self, user: str) -> str:
        if user not in self._logins:
            answer = self.call("POST", "/v1/login", {"user": user, "password": PASSWORD}, user=None)
            self._logins[user] = answer["token"]
        return self._logins[user]

    def grant(
        self, account: str = "readonly", user: str = "alice", seconds: int = 1800, *, resource: str = "shop"
    ) -> str:
        """A new grant's id, approved by bob where it needs that."""
        asked = self.call(
            "POST",
            "/v1/requests",
            {"resource": resource, "account": account, "duration": seconds, "reason": "testing the gateway"},
            user=user,
        )
        request = asked["request"]
        if request["status"] == "pending":
            self.call("POST", f"/v1/requests/{request['id']}/approve", {"reason": "fine"}, user="bob")
            request = self.call("GET", f"/v1/requests/{request['id']}", user=user)
        return str(request["grant"])

    def token(
        self, account: str = "readonly", user: str = "alice", grant: str | None = None, *, resource: str = "shop"
    ) -> str:
        """A token for ``grant``, or for one grant a user, account and resource that is made once."""
        if grant is None:
            known = (user, account, resource)
            if known not in self._grants:
                self._grants[known] = self.grant(account, user, resource=resource)
            grant = self._grants[known]
        return str(self.call("POST", f"/v1/grants/{grant}/token", {}, user=user)["token"])

    def revoke(self, grant: str, reason: str = "leaked laptop") -> Any:
        return self.call("POST", f"/v1/grants/{grant}/revoke", {"reason": reason})

    def statements(self, session: str) -> list[dict[str, Any]]:
        """All joined records of a session."""
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            page = self.call("GET", f"/v1/sessions/{session}/statements?after={after}&limit=500", user="carol")
            found += page["items"]
            if not page.get("next"):
                return found
            after = page["next"]

    def sessions(self, **filters: str) -> list[dict[str, Any]]:
        query = "&".join(f"{name}={value}" for name, value in {"limit": "200", **filters}.items())
        return list(self.call("GET", f"/v1/sessions?{query}", user="carol")["items"])

    def ended(self, grant: str, within: float = 5.0) -> dict[str, Any]:
        """The newest session of a grant, once it has ended."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            found = self.sessions(grant=grant)
            if found and found[0]["status"] == "ended":
                return found[0]
            time.sleep(0.02)
        raise TimeoutError(f"no session of {grant} has ended")

    # -- clients -------------------------------------------------------------------------------------------------

    def dsn(self, account: str = "readonly", *, user: str = "alice", token: str = "", **options: str) -> str:
        """A libpq connection string through the gateway; ``options`` such as ``port`` win."""
        words = {
            "host": "127.0.0.1",
            "port": str(self.port),
            "dbname": "shop",
            "user": account,
            "password": token or self.token(account, user),
            "sslmode": "verify-full",
            "sslrootcert": str(self.ca),
        }
        return " ".join(f"{name}='{value}'" for name, value in (words | options).items())

    def plain_dsn(self, account: str = "readonly", *, token: str = "", dbname: str = "shop") -> str:
        """The same for clients that were built without TLS, by the listener that allows it."""
        words = f"host=127.0.0.1 port={self.plain_port} dbname={dbname} user={account} sslmode=disable"
        return f"{words} password={token or self.token(account)}"

    def environment(self, account: str = "readonly", **more: str) -> dict[str, str]:
        """PG* variables for a stock client."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGDATABASE": "shop",
            "PGUSER": account,
            "PGPASSWORD": self.token(account),
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(self.ca),
            **more,
        }

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self, *, ready: bool = True) -> None:
        """Start and wait until it is ready, or else only until its API answers; a second start takes the same state
        up again."""
        log = (self.folder / "gateway.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "proxy.cli", "serve", "--config", str(self.folder / "gateway.toml")],
            stdout=log,
            stderr=log,
            cwd=self.tree,
            env={**os.environ, "TIDEGATE_HOME": str(self.folder)},
        )
        log.close()
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                if not ready:
                    self.call("GET", "/healthz", user=None)
                    return
                if self.call("GET", "/readyz", user=None)["ready"]:
                    # The API may be first, and still believe in the worker that was killed a second ago.
                    socket.create_connection(("127.0.0.1", self.port), 5).close()
                    return
            except (OSError, Refused) as error:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(f"the gateway did not start ({error}):\n{self.log()[-3000:]}") from None
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def kill(self) -> None:
        """kill -9 of the whole gateway."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text(errors="replace")

    def processes(self) -> list[int]:
        """The pids of the gateway's whole tree."""
        assert self.process is not None
        found = [self.process.pid]
        for pid in found:
            path = Path(f"/proc/{pid}/task/{pid}/children")
            found += [int(child) for child in path.read_text().split()] if path.exists() else []
        return found

    def descriptors(self, kind: str = "") -> int:
        """How many the whole tree has open; ``kind``: what they are of, "socket:" or a part of a path."""
        found = [each for pid in self.processes() for each in Path(f"/proc/{pid}/fd").iterdir()]
        return sum(kind in str(each.readlink()) for each in found if each.is_symlink())


@contextmanager
def gateway(
    cluster: Cluster,
    *,
    extra: str = "",
    settings: Mapping[str, str] | None = None,
    target_tls: bool | None = None,
    target_port: int = 0,
    head: str = "",
    state: Path | None = None,
    tree: Path = ROOT,
) -> Iterator[Gateway]:
    """A gateway in front of ``cluster``; ``extra`` is more TOML, ``settings`` lines for ``[limits]``, ``head``
    lines for ``[gateway]``; ``target_tls``: whether the target is reached over TLS (None: where it can);
    ``target_port``: where, if not at the cluster's own port (a line in between); ``state``: what it finds in its
    state folder; ``tree``: whose code it runs."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-"))
    ports = free_ports(3)
    tls = cluster.tls if target_tls is None else target_tls
    made = Gateway(folder, cluster, *ports, tls, target_port or cluster.port, head, tree)
    try:
        furnish(made, extra, settings or {})
        if state is not None:
            shutil.copytree(state, folder / "state")
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Different ones."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


def furnish(made: Gateway, extra: str, limits: Mapping[str, str]) -> None:
    """Put into its folder what it starts from: certificate, secrets, configuration."""
    certify(made.folder)
    for role, password in made.cluster.passwords.items():
        keep_secret(made.folder, role, password)
    (made.folder / "gateway.toml").write_text(everyone(made, limits) + _targets(made) + extra)


def certify(folder: Path) -> None:
    """The gateway's TLS certificate and who vouches for it."""
    authority = Authority.create()
    authority.server().write(folder, "gateway")
    authority.write(folder)


def keep_secret(folder: Path, name: str, text: str) -> None:
    """``secrets/name``, which nobody else may read."""
    (folder / "secrets").mkdir(mode=0o700, exist_ok=True)
    path = folder / "secrets" / name
    path.touch(0o600)
    path.write_text(text)


def everyone(made: Gateway, limits: Mapping[str, str]) -> str:
    """The configuration but for what is in front of which target: the gateway, its API, and the people."""
    if "hash" not in _HASHES:
        _HASHES["hash"] = hash_password(PASSWORD)
    parts = [
        f'[gateway]\nlog_format = "json"\nlog_level = "info"\n{made.head}\n[recordings]\nmin_free = "1MiB"',
        "[limits]\n"
        + "\n".join(f"{name} = {value}" for name, value in {"pending_per_source": "200", **limits}.items()),
        f'[api]\nlisten = "127.0.0.1:{made.api_port}"\n{TLS}',
        '[[groups]]\nname = "admins"\nroles = ["admin"]\n[[groups]]\nname = "auditors"\nroles = ["auditor"]',
        '[[groups]]\nname = "engineers"\n[[groups]]\nname = "approvers"',
        *(
            f'[[users]]\nname = "{name}"\ngroups = ["{group}"]\npassword_hash = "{_HASHES["hash"]}"'
            for name, group in PEOPLE.items()
        ),
    ]
    return "\n".join(parts) + "\n"


def _targets(made: Gateway) -> str:
    parts = [
        f'[[listeners]]\nname = "pg"\nprotocol = "postgres"\naddress = "127.0.0.1:{made.port}"\n{TLS}',
        (
            f'[[listeners]]\nname = "plain"\nprotocol = "postgres"\naddress = "127.0.0.1:{made.plain_port}"\n'
            "require_tls = false"
        ),
        _resource(made),
        _policy("watched", ["readonly", SUPERUSER], '"automatic"', who="user:eve") + WATCHED,
        _policy("at-once", ["readonly", SUPERUSER], '"automatic"'),
        _policy("second-look", ["owner"], '{ count = 1, group = "approvers" }'),
    ]
    return "\n".join(parts) + "\n"


def _resource(made: Gateway) -> str:
    target = made.cluster
    tls = f'tls_mode = "verify-full"\ntls_ca = "{target.ca}"' if made.target_tls else 'tls_mode = "disable"'
    accounts = "\n".join(
        f'[[resources.accounts]]\nname = "{role}"\npassword = "file:secrets/{role}"'
        for role in (SUPERUSER, "readonly", "owner")
    )
    control = f'control = {{ user = "{SUPERUSER}", password = "file:secrets/{SUPERUSER}" }}'
    return (
        f'[[resources]]\nname = "shop"\nprotocol = "postgres"\naddress = "127.0.0.1:{made.target_port}"\n'
        f"{tls}\n{control}\n{accounts}"
    )


def _policy(name: str, accounts: Sequence[str], approval: str, who: str = "group:engineers") -> str:
    return (
        f'[[policies]]\nname = "{name}"\nwho = ["{who}"]\nresources = ["shop"]\n'
        f'accounts = {json.dumps(list(accounts))}\nmax_duration = "1h"\napproval = {approval}'
    )
