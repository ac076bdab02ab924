"""A real gateway in front of real sshds, as its own processes: for end-to-end tests and benchmarks.

People and what they may ask for are those of ``tests.peers.gateway``. Resources, all with one account, the user of
the tests: ``box`` (by key), ``certified`` (by a certificate of the gateway's, the host known by its authority),
``commands`` (exec only), ``files`` (transfer only), ``forwards`` (nothing but connections), ``narrow`` (two of each
at once), ``first`` (trusted on first use) and ``stranger`` (pinned to a key that is not the host's). What eve sees
and types is all recorded.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers.gateway import Gateway, certify, everyone, free_ports, keep_secret
from tests.peers.openssh import Door
from tests.peers.sshd import Sshd, make_key, program

KEYS = Path("state") / "keys"
RESOURCES = ("box", "certified", "commands", "files", "forwards", "narrow", "first", "stranger")


@dataclass
class SshGateway(Gateway):
    """A running gateway whose ``port`` is its SSH listener. ``forward``: where sessions of ``box`` and ``forwards``
    may open connections to."""

    target: Sshd | None = None
    forward: Sequence[str] = ()
    _doors: int = field(default=0)

    @property
    def known_hosts(self) -> str:
        """The line by which clients know the gateway: whoever signs its host key."""
        return f"@cert-authority [127.0.0.1]:{self.port} {public_half(self.folder / KEYS / 'ssh_hosts_ca')}\n"

    def door(
        self, resource: str = "box", *, user: str = "alice", grant: str | None = None, token: str = ""
    ) -> Door:
        """The way through, for OpenSSH's clients: the token is the password. A folder of its own each time."""
        assert self.target is not None
        account = self.target.user
        self._doors += 1
        folder = self.folder / f"door-{self._doors}"
        folder.mkdir()
        password = token or self.token(account, user, grant, resource=resource)
        return Door("through", folder, self.port, account, self.known_hosts, password=password)

    def certified_door(self, grant: str, *, user: str = "alice") -> Door:
        """The way through for who has no token but a key of their own and a fresh certificate for it."""
        assert self.target is not None
        self._doors += 1
        folder = self.folder / f"door-{self._doors}"
        folder.mkdir()
        asked = {"grant": grant, "public_key": make_key(folder / "user")}
        made = self.call("POST", "/v1/ssh/certificates", asked, user=user)
        certificate = folder / "user-cert.pub"
        certificate.write_text(made["certificate"] + "\n")
        return Door(
            "certificate", folder, self.port, made["account"], "\n".join(made["host_authority"]) + "\n",
            key=folder / "user", certificate=certificate, options={"HostKeyAlias": made["host_key_alias"]},
        )  # fmt: skip

    def ssh_grant(self, resource: str = "box", *, user: str = "alice", seconds: int = 1800) -> str:
        """A new grant's id, for the one account there is."""
        assert self.target is not None
        return self.grant(self.target.user, user, seconds, resource=resource)

    def trusted_by(self, target: Sshd) -> None:
        """The target believes, besides others, the certificates that this gateway issues for its own sessions."""
        with target.authorities.open("a") as file:
            file.write(public_half(self.folder / KEYS / "ssh_targets_ca") + "\n")


def public_half(private: Path) -> str:
    """The public line of a private key's file."""
    made = subprocess.run(
        [program("ssh-keygen"), "-y", "-P", "", "-f", str(private)], capture_output=True, timeout=20, check=True
    )
    return " ".join(made.stdout.decode().split()[:2])


@contextmanager
def ssh_gateway(
    target: Sshd,
    *,
    forward: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    extra: str = "",
    head: str = "",
    target_port: int = 0,
) -> Iterator[SshGateway]:
    """A gateway in front of ``target``; ``settings``, ``extra``, ``head`` and ``target_port`` as for
    ``tests.peers.gateway.gateway``."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-"))
    port, api_port = free_ports(2)
    made = SshGateway(
        folder, None, port, 0, api_port, False, target_port or target.port, head, target=target, forward=forward
    )  # type: ignore[arg-type]
    try:
        certify(folder)
        keep_secret(folder, "box", target.key.read_text())
        limits = {"shutdown_grace": '"1s"', **(settings or {})}
        (folder / "gateway.toml").write_text(everyone(made, limits) + _targets(made) + extra)
        made.start()
        made.trusted_by(target)
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _targets(made: SshGateway) -> str:
    target = made.target
    assert target is not None
    by_key, pinned = 'key = "secrets/box"', f'host_keys = ["{target.host_key}"]'
    forward = "forward = [" + ", ".join(f'"{each}"' for each in made.forward) + "]"
    signed = f'host_authorities = ["{target.host_authority}"]'
    stranger = make_key(made.folder / "stranger")
    parts = [
        f'[[listeners]]\nname = "ssh"\nprotocol = "ssh"\naddress = "127.0.0.1:{made.port}"',
        _resource(made, "box", pinned, by_key, forward),
        _resource(made, "certified", signed, "certificate = true"),
        _resource(made, "commands", pinned, by_key, 'allow = ["exec"]', 'environment = ["SHOWN_*"]'),
        _resource(made, "files", pinned, by_key, 'allow = ["transfer"]'),
        *([_resource(made, "forwards", pinned, by_key, forward, "allow = []")] if made.forward else []),
        _resource(made, "narrow", f"{pinned}\nmax_sessions = 2\nmax_forwards = 2", by_key, forward),
        _resource(made, "first", "trust_first_use = true", by_key),
        _resource(made, "stranger", f'host_keys = ["{stranger}"]', by_key),
        _policy("taped", "user:eve") + "record_input = true\nrecord_traffic = true\n",
        _policy("at-once", "group:engineers"),
    ]
    return "\n".join(parts) + "\n"


def _resource(made: SshGateway, name: str, known_by: str, *account: str) -> str:
    assert made.target is not None
    lines = "\n".join(account)
    return (
        f'[[resources]]\nname = "{name}"\nprotocol = "ssh"\naddress = "127.0.0.1:{made.target_port}"\n{known_by}\n'
        f'[[resources.accounts]]\nname = "{made.target.user}"\n{lines}'
    )


def _policy(name: str, who: str) -> str:
    return (
        f'[[policies]]\nname = "{name}"\nwho = ["{who}"]\nresources = ["*"]\naccounts = ["*"]\n'
        'max_duration = "1h"\napproval = "automatic"\n'
    )
