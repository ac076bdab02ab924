"""The demo's world on disk: what is in it, the gateway's configuration, and the files others read.

A world is a folder. ``world.json`` remembers what was chosen by chance (ports, passwords), so that a second demo in
the same folder takes the same world up again; all other files follow from it. Called by ``supervisor``.

====================  ====================================================================================
file                  what it is
====================  ====================================================================================
``demo.env``          KEY=VALUE lines for scripts: where everything listens, and the passwords
``demo.sh``           the same for a shell, to be sourced: values are quoted there
``ready``             empty; there while everything listens
``gateway.toml``      the configuration that ``tidegate serve`` is started with
``gateway.log``       what the gateway said; ``gateway.log.1``: what the one before it said
``ca.crt``            the authority that clients trust
``secrets/``          what the gateway logs in to the targets with, one a file; the SSH host's key
``box/``              the SSH host's home folder (a link, as the next)
``*.lock, *.log``     of the SSH host and the echo service: who runs, and what it said
``state/``            the gateway's own: store, keys, recordings
``postgres/``         the target (a link, where PostgreSQL's user could not get into this folder)
====================  ====================================================================================
"""

import json
import os
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Self

from gateway_config.passwords import hash_password
from proxy.cli.demo import box, shop
from proxy.cli.demo.certificates import Authority, write_file
from proxy.cli.demo.people import ADMINS, APPROVERS, ENGINEERS, PEOPLE, ROLES, new_password
from proxy.cli.demo.postgres import SUPERUSER, free_port, is_free
from proxy.cli.demo.target import CONTROL, new_passwords
from proxy.cli.failures import USAGE, Failed

REMEMBERED = "world.json"
# All that a demo writes over; a test holds the list to what one leaves.
WRITTEN = (
    *(REMEMBERED, "demo.env", "demo.sh", "ready", "secrets", "box", "state", "postgres", "ca.crt", "ca.key"),
    *("gateway.toml", "gateway.log", "gateway.log.1", "gateway.crt", "gateway.key"),
    *("ssh_host.lock", "ssh_host.log", "echo.lock", "echo.log"),
)
HOST = "127.0.0.1"
DEFAULT_POSTGRES = "18"
ELSEWHERE = "choose another --dir: one that does not exist is made"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens, on loopback."""

    postgres: int
    api: int
    target: int
    ssh: int
    tcp: int
    box: int
    echo: int

    @classmethod
    def free(cls, remembered: Mapping[str, int] | None = None) -> Self:
        """Those that are remembered, and free ones where there are none: an older world has fewer."""
        ports = dict(remembered or {})
        for each in fields(cls):
            while each.name not in ports:
                if (port := free_port()) not in ports.values():
                    ports[each.name] = port
        return cls(**ports)

    @classmethod
    def counted_from(cls, base: int) -> Self:
        """``base`` and the next ones."""
        return cls(*range(base, base + len(fields(cls))))


def refuse_others_folder(folder: Path) -> None:
    """``Failed`` unless a world may be in ``folder``: one is there already, or nothing that it would write over,
    and nobody else can put something there, a link say, that we would write through."""
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise Failed(f"{folder} belongs to somebody else", hint=ELSEWHERE, code=USAGE)
    if status.st_mode & stat.S_IWOTH:
        raise Failed(f"{folder} can be written by everybody", hint=f"chmod o-w it, or {ELSEWHERE}", code=USAGE)
    if World.found(folder) is not None:
        return
    there = [name for name in WRITTEN if os.path.lexists(folder / name)]
    if there:
        what = f"{folder} holds no world, but {', '.join(there)}: a demo would write over that"
        raise Failed(what, hint=ELSEWHERE, code=USAGE)


@dataclass(frozen=True, slots=True)
class World:
    """One world. ``password`` is everyone's; ``logins`` are the target's roles with their passwords."""

    folder: Path
    postgres: str
    ports: Ports
    password: str = field(repr=False)
    logins: Mapping[str, str] = field(repr=False)

    @classmethod
    def at(cls, folder: Path, *, port_base: int | None = None, postgres: str | None = None) -> Self:
        """The world in ``folder``, made if there is none. What is asked for wins over what is remembered, but a
        world keeps its version of PostgreSQL: ``Failed`` where another is asked for."""
        if world := cls.found(folder):
            if postgres not in (None, world.postgres):
                hint = "leave out --postgres, or choose another --dir"
                raise Failed(f"{folder} holds a world on PostgreSQL {world.postgres}", hint=hint, code=USAGE)
            ports = Ports.counted_from(port_base) if port_base else world._usable_ports()
            world = replace(world, ports=ports)
        else:
            ports = Ports.counted_from(port_base) if port_base else Ports.free()
            world = cls(folder, postgres or DEFAULT_POSTGRES, ports, new_password(), new_passwords())
        world._remember()
        return world

    @classmethod
    def found(cls, folder: Path) -> Self | None:
        """The world that is in ``folder`` already; ``Failed`` where its file is not a demo's."""
        file = folder / REMEMBERED
        if not os.path.lexists(file):
            return None
        with suppress(OSError, ValueError, TypeError):
            match json.loads(file.read_text()):
                case {
                    "postgres": str(postgres),
                    "ports": dict(ports),
                    "password": str(password),
                    "logins": dict(logins),
                }:
                    return cls(folder, postgres, Ports.free(ports), password, logins)
        raise Failed(f"{file} is not a demo's", hint=ELSEWHERE, code=USAGE)

    def _usable_ports(self) -> Ports:
        """The same ports again; other ones for those that somebody else has taken. (The target may still be
        running on its own.)"""
        ours = asdict(self.ports)
        taken = [each for each in ("postgres", "api", "ssh", "tcp") if not is_free(ours[each])]
        return replace(self.ports, **{each: free_port() for each in taken})

    def with_ports(self, **changed: int) -> Self:
        """With other ports for some: ``with_ports(target=5434)``."""
        world = replace(self, ports=replace(self.ports, **changed))
        world._remember()
        return world

    def _remember(self) -> None:
        kept = {each: value for each, value in asdict(self).items() if each != "folder"}
        self._replace(REMEMBERED, json.dumps(kept, indent=1) + "\n")

    @property
    def api(self) -> str:
        return f"https://{HOST}:{self.ports.api}"

    @property
    def listeners(self) -> Sequence[int]:
        """The ports of the gateway's listeners."""
        return (self.ports.postgres, self.ports.ssh, self.ports.tcp)

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def configuration(self) -> Path:
        return self.folder / "gateway.toml"

    @property
    def log(self) -> Path:
        return self.folder / "gateway.log"

    def write(self) -> None:
        """Write everything that ``tidegate serve`` reads: certificates, secrets, configuration."""
        Authority.at(self.folder).server().write(self.folder, "gateway")
        secrets = self.folder / "secrets"
        secrets.mkdir(mode=0o700, exist_ok=True)
        for login, password in self.logins.items():
            if login != SUPERUSER:
                write_file(secrets / login, password.encode() + b"\n")
        box.write_keys(secrets)
        write_file(self.configuration, "\n".join(self._toml()).encode())

    def _toml(self) -> Iterator[str]:
        ports = {name: f"{HOST}:{port}" for name, port in asdict(self.ports).items()}
        yield _GATEWAY.format(**ports)
        for group, role in ROLES.items():
            yield f'[[groups]]\nname = "{group}"\n' + (f'roles = ["{role}"]\n' if role else "")
        # One password, so one hash: five salts would hide nothing and cost half a second.
        hashed = hash_password(self.password)
        for person in PEOPLE:
            yield _USER.format(person=person, hashed=hashed)
        yield _SHOP.format(address=ports["target"], control=CONTROL)
        host_key = box.public_key(self.folder / "secrets" / box.HOST)
        yield _BOX.format(**ports, host_key=host_key, key=box.GATEWAY)
        yield _POLICIES.format(who=json.dumps([f"group:{name}" for name in (ENGINEERS, APPROVERS, ADMINS)]))

    def environment(self, pid: int) -> Mapping[str, str]:
        """The lines of ``demo.env``; ``pid`` is the gateway's process."""
        return {
            "TIDEGATE_API": self.api,
            "TIDEGATE_CA": str(self.ca),
            "TIDEGATE_PG_HOST": HOST,
            "TIDEGATE_PG_PORT": str(self.ports.postgres),
            "TIDEGATE_SSH_HOST": HOST,
            "TIDEGATE_SSH_PORT": str(self.ports.ssh),
            "TIDEGATE_TCP_PORT": str(self.ports.tcp),
            "TIDEGATE_PASSWORD": self.password,
            "TIDEGATE_TARGET_PG": (
                f"postgresql://{SUPERUSER}:{self.logins[SUPERUSER]}@{HOST}:{self.ports.target}/{shop.DATABASE}"
            ),
            "TIDEGATE_TARGET_SSH_PORT": str(self.ports.box),
            "TIDEGATE_TARGET_SSH_KEY": str(self.folder / "secrets" / box.DIRECT),
            "TIDEGATE_TARGET_TCP_PORT": str(self.ports.echo),
            "TIDEGATE_PID": str(pid),
        }

    def announce(self, pid: int) -> None:
        """Write ``demo.env``, then ``ready``: who sees the second may read the first."""
        told = self.environment(pid).items()
        self._replace("demo.sh", "".join(f"export {name}={shlex.quote(value)}\n" for name, value in told))
        self._replace("demo.env", "".join(f"{name}={value}\n" for name, value in told))
        (self.folder / "ready").touch()

    def _replace(self, name: str, text: str) -> None:
        """In one step: nobody sees half a file, and we leave none when we are killed."""
        write_file(self.folder / f"{name}.new", text.encode())
        (self.folder / f"{name}.new").replace(self.folder / name)

    def withdraw(self) -> None:
        """Nothing may be taken to listen (any more)."""
        (self.folder / "ready").unlink(missing_ok=True)


_GATEWAY = """\
# Written by `tidegate demo`, and written again at its next start here: changes are lost.

[gateway]
node = "demo"
state_dir = "state"

[api]
listen = "{api}"
tls = {{ certificate = "gateway.crt", key = "gateway.key" }}

[limits]
# Everyone in the demo comes from the same address.
pending_per_source = 256

[[listeners]]
name = "postgres"
protocol = "postgres"
address = "{postgres}"
tls = {{ certificate = "gateway.crt", key = "gateway.key" }}

[[listeners]]
name = "ssh"
protocol = "ssh"
address = "{ssh}"

[[listeners]]
name = "tcp"
protocol = "tcp"
address = "{tcp}"
tls = {{ certificate = "gateway.crt", key = "gateway.key" }}
"""

_USER = """\
[[users]]
name = "{person.name}"
display = "{person.display}"
groups = ["{person.group}"]
password_hash = "{hashed}"
"""

# The embedded PostgreSQL is built without TLS; it listens on loopback only.
_SHOP = """\
[[resources]]
name = "shop"
protocol = "postgres"
description = "Customers, products and orders of a small shop"
address = "{address}"
labels = {{ env = "demo" }}
tls_mode = "disable"

[[resources.accounts]]
name = "readonly"
password = "file:secrets/readonly"

[[resources.accounts]]
name = "owner"
password = "file:secrets/owner"

[resources.control]
user = "{control}"
password = "file:secrets/{control}"
"""

_BOX = """\
[[resources]]
name = "box"
protocol = "ssh"
description = "A host with a shell"
address = "{box}"
labels = {{ env = "demo" }}
host_keys = ["{host_key}"]

[[resources.accounts]]
name = "ops"
key = "secrets/{key}"
allow = ["shell", "exec", "transfer"]
forward = ["{echo}"]

[[resources]]
name = "echo"
protocol = "tcp"
description = "Sends back what it is sent"
address = "{echo}"
labels = {{ env = "demo" }}
accounts = [{{ name = "any" }}]
"""

_POLICIES = """\
[[policies]]
name = "read-the-shop"
who = {who}
resources = ["shop"]
accounts = ["readonly"]
max_duration = "1h"
approval = "automatic"

[[policies]]
name = "enter-the-box"
who = {who}
resources = ["box"]
accounts = ["ops"]
max_duration = "1h"
approval = "automatic"

[[policies]]
name = "use-the-echo"
who = {who}
resources = ["echo"]
accounts = ["any"]
max_duration = "1h"
approval = "automatic"

[[policies]]
name = "change-the-shop"
who = {who}
resources = ["shop"]
accounts = ["owner"]
max_duration = "4h"
approval = {{ count = 1, group = "approvers" }}
"""
