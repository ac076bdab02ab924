"""The local side of SSH: a key and a certificate under ``TIDEGATE_HOME/ssh``, and ssh_config for stock clients.

``tidegate ssh-certificate`` runs before every connection (``Match … exec``), so nothing here but the making of
the key, once, needs more than the standard library. Only the gateway's authority is believed for its host key,
under one alias, by whatever address it is reached. Files are replaced whole: many clients may start at once.
"""

import base64
import os
import re
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.access import ssh_wire as wire
from proxy.adapters.clock import SystemClock
from proxy.cli.client import Api
from proxy.cli.failures import DENIED, UNREACHABLE, USAGE, Failed
from proxy.cli.home import Home, write_private
from proxy.cli.tokens import active_grant

ENOUGH = 120.0
"""Seconds a certificate must still live for not to be asked for anew."""
KEY_MOST = 4096
PLAIN_NAME = re.compile(r"[A-Za-z0-9:][A-Za-z0-9._:@-]*")


class Folder:
    """``TIDEGATE_HOME/ssh``: ``id_ed25519``, ``known_hosts``, and a certificate for each resource."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.home = Home(environment).folder.absolute()
        self.path = self.home / "ssh"
        self.key = self.path / "id_ed25519"
        self.known_hosts = self.path / "known_hosts"

    def certificate(self, resource: str, account: str = "") -> Path:
        """Where the certificate is: ``RESOURCE-cert.pub``, or ``ACCOUNT@RESOURCE-cert.pub`` for a named account."""
        return self.path / f"{safe(f'{account}@{resource}' if account else resource)}-cert.pub"

    def public_key(self) -> bytes:
        """The blob of the key, which is made at first use."""
        try:
            return public_half(self.key.read_bytes())
        except FileNotFoundError:
            self._make()
            return public_half(self.key.read_bytes())
        except (wire.Malformed, ValueError):
            raise Failed(
                f"{self.key} is not an OpenSSH key of Ed25519", hint="take it away; a new one is made"
            ) from None

    def _make(self) -> None:
        """Whoever comes first makes it."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        beside = self.path / f".id.{secrets.token_hex(4)}"
        write_private(beside, made.decode())
        try:
            os.link(beside, self.key)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not self.key.exists():
                beside.replace(self.key)
        finally:
            beside.unlink(missing_ok=True)

    def believe(self, lines: Sequence[str]) -> None:
        """Believe these authorities, and no other host key."""
        text = "".join(f"{line}\n" for line in lines)
        with suppress(OSError):
            if self.known_hosts.read_text() == text:
                return
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.known_hosts, text)


def safe(name: str) -> str:
    """``name`` as one part of a path."""
    from urllib.parse import quote

    return quote(name, safe="@+ ")


def public_half(pem: bytes) -> bytes:
    """The public blob in an OpenSSH private key without a passphrase (OpenSSH's PROTOCOL.key)."""
    lines = pem[:KEY_MOST].split()
    data = base64.b64decode(b"".join(line for line in lines[4:-4]), validate=True)
    if not data.startswith(b"openssh-key-v1\0"):
        raise wire.Malformed("key")
    reader = wire.Reader(data.removeprefix(b"openssh-key-v1\0"))
    if reader.text("cipher") != "none":
        raise wire.Malformed("cipher")
    reader.string("kdf")
    reader.string("kdf")
    reader.number(4, "count")
    blob = reader.string("key")
    wire.read_key(blob)
    return blob


# -- the certificate ---------------------------------------------------------------------------------------------


def certify(api: Api, folder: Folder, resource: str, account: str = "") -> dict[str, Any]:
    """See to it that a certificate for the caller's active grant is there and lives for a while; what it is for.

    One that does is kept, also while the API cannot be reached: the gateway judges it anyway.
    """
    path = folder.certificate(resource, account)
    key, now = folder.public_key(), SystemClock().now()
    present = held(path, key, now) if folder.known_hosts.exists() else None
    try:
        grant = active_grant(api, resource, account)
        if present is not None and (present.key_id, present.principals) == (grant["id"], (grant["account"],)):
            return told(present, path, now)
        asked = {"grant": grant["id"], "public_key": wire.as_line(key)}
        made = api.post("/v1/ssh/certificates", asked)
    except Failed as failed:
        if failed.code == UNREACHABLE and present is not None and account in ("", *present.principals):
            return told(present, path, now)
        if failed.problem.get("status") == 404:
            raise Failed(f"you have no active grant for {resource}", code=DENIED) from None
        raise
    folder.believe(made["host_authority"])
    write_private(path, made["certificate"] + "\n")
    return told(wire.read_certificate(wire.read_line(made["certificate"])).says, path, now)


def held(path: Path, key: bytes, now: float) -> wire.Statement | None:
    """What the certificate at ``path`` says, if it is for this key and lives for a while."""
    try:
        says = wire.read_certificate(wire.read_line(path.read_text())).says
    except (OSError, UnicodeDecodeError, wire.Malformed):
        return None
    return says if says.key.blob == key and says.valid_before - now > ENOUGH else None


def told(says: wire.Statement, path: Path, now: float) -> dict[str, Any]:
    return {
        "certificate": str(path),
        "grant": says.key_id,
        "account": says.principals[0],
        "jti": f"ssh-{says.serial:016x}",
        "expires_in": max(0.0, says.valid_before - now),
    }


# -- ssh_config --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """A resource as stock clients reach it: the gateway's address, the account there, the name of its host key."""

    resource: str
    account: str
    host: str
    port: int
    alias: str

    def __post_init__(self) -> None:
        # Most of it is what a gateway says, and a line of ssh_config may run a command here.
        for each in (self.resource, self.host, self.alias):
            if not PLAIN_NAME.fullmatch(each):
                raise Failed(f"the gateway names {each!r}, which is no name or address", code=UNREACHABLE)


def reached(environment: Mapping[str, str], api: Api, host: str, port: int) -> tuple[str, int]:
    """The gateway's address for SSH: ``TIDEGATE_SSH_HOST`` and ``TIDEGATE_SSH_PORT`` win over what it says."""
    named = environment.get("TIDEGATE_SSH_PORT") or port
    if not named:
        raise Failed("the gateway has no listener for SSH", hint="ask its operator", code=UNREACHABLE)
    try:
        return environment.get("TIDEGATE_SSH_HOST") or host or api.host, int(named)
    except ValueError:
        raise Failed(f"TIDEGATE_SSH_PORT is {named!r}, which is no port", code=USAGE) from None


def settings(place: Place, folder: Folder) -> list[str]:
    """The lines of ssh_config for one resource, but for the certificate's: to the gateway or nowhere."""
    return [
        f"HostName {place.host}",
        f"Port {place.port}",
        f"User {quoted(place.account)}",
        f"HostKeyAlias {place.alias}",
        f"UserKnownHostsFile {quoted(folder.known_hosts)}",
        "GlobalKnownHostsFile none",
        "StrictHostKeyChecking yes",
        f"IdentityFile {quoted(folder.key)}",
        "IdentitiesOnly yes",
        "IdentityAgent none",
        "PreferredAuthentications publickey",
        "ProxyCommand none",
        "ForwardAgent no",
        "ForwardX11 no",
    ]


def plain_config(place: Place, certificate: str, folder: Folder) -> str:
    """A whole ssh_config for a certificate that is there already."""
    lines = [f"CertificateFile {quoted(certificate)}", *settings(place, folder)]
    return f"Host {place.resource}\n" + "".join(f"    {line}\n" for line in lines)


def snippet(places: Sequence[Place], folder: Folder, command: str) -> str:
    """For ``~/.ssh/config``: ``ssh RESOURCE`` gets a certificate by ``command`` and goes to the gateway. Where a
    resource has several accounts, each is ``ssh ACCOUNT@RESOURCE``.

    The certificate stands in a block of its own: when there is none the client still goes nowhere else.
    """
    names = [place.resource for place in places]
    text = ""
    for place in places:
        several = names.count(place.resource) > 1
        match = f"Match originalhost {place.resource}" + (f" user {quoted(place.account)}" if several else "")
        obtain = f"{command} ssh-certificate {place.resource} --as {shell_word(place.account)}"
        text += f'{match} exec "{obtain.replace("%", "%%")}"\n'
        certificate = folder.certificate(place.resource, place.account)
        text += f"    CertificateFile {quoted(certificate)}\n{match}\n"
        text += "".join(f"    {line}\n" for line in settings(place, folder)) + "\n"
    return text + "Match all\n"


def command_line(environment: Mapping[str, str], api: Api, folder: Folder) -> str:
    """How a shell runs this very ``tidegate`` with this log-in, wherever ssh is started."""
    variables = {"TIDEGATE_API": api.url, "TIDEGATE_CA": api.ca, "TIDEGATE_HOME": str(folder.home)}
    kept = [f"{name}={shell_word(value)}" for name, value in variables.items() if value]
    return " ".join(["env", *kept, *map(shell_word, executable(environment))])


def executable(environment: Mapping[str, str]) -> list[str]:
    """The words that start this ``tidegate``, by absolute paths."""
    for found in (
        shutil.which(sys.argv[0], path=environment.get("PATH")),
        Path(sys.executable).with_name("tidegate"),
    ):
        if found and Path(found).name == "tidegate" and os.access(found, os.X_OK):
            return [str(Path(found).absolute())]
    return [sys.executable, "-m", "proxy.cli"]


def shell_word(text: str) -> str:
    """``text`` as one word of any shell, inside the double quotes of ``Match exec``."""
    plain = text and text.isascii() and not set(text) - _PLAIN
    return text if plain else "'" + writable(text, but="'") + "'"


def quoted(value: Path | str) -> str:
    """``value`` as one word of ssh_config, where ``%`` begins a token."""
    return '"' + writable(str(value)).replace("%", "%%") + '"'


def writable(text: str, but: str = "") -> str:
    """``text``, unless it has something that ssh_config cannot hold between double quotes so that all versions of
    OpenSSH read it alike (ssh_config(5) knows no escapes), or one of ``but``, which a shell cannot read there."""
    if any(each in text for each in ('"', "\\", "${", *but)) or not text.isprintable():
        what = f"{text!r} cannot be written into ssh_config"
        raise Failed(what, hint="no quotes, backslashes or ${ may be in the path: set TIDEGATE_HOME", code=USAGE)
    return text


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@+,=")
