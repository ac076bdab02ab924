"""The demo's SSH host and echo service, as they lie in a world: keys, a home folder, and the two programs.

Called by ``supervisor``, which keeps them running, and by ``world``, which tells the gateway of them.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from proxy.cli.demo.beside import Beside, nobody
from proxy.cli.demo.certificates import write_file
from proxy.cli.demo.run_as import reachable_folder

# The host's own; the gateway's, with which it logs in; and one for comparing with what goes past the gateway.
HOST, GATEWAY, DIRECT = "box-host", "box-ops", "box-direct"
PLACE = "box"


def write_keys(secrets: Path) -> None:
    """Make the keys that are not there yet, and say which of them the host takes. Nobody else can read any."""
    for name in (HOST, GATEWAY, DIRECT):
        if not (secrets / name).exists():
            write_file(secrets / name, _new_key())
    lines = "".join(f"{public_key(secrets / name)}\n" for name in (GATEWAY, DIRECT))
    write_file(secrets / "box-keys", lines.encode())


def _new_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def public_key(private: Path) -> str:
    """``ssh-ed25519 AAAA…``, of the private key in that file."""
    key = serialization.load_ssh_private_key(private.read_bytes(), password=None)
    return (
        key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    )


def prepare_box(folder: Path, *, ssh: int, echo: int, dies_with_us: bool) -> Sequence[Beside]:
    """The host on port ``ssh`` and the service on port ``echo``, which the host forwards to; not started."""
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700, exist_ok=True)
    write_keys(secrets)
    run_as = nobody()
    home = reachable_folder(run_as, folder / PLACE) / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    run_as.own(home)
    words = (
        f"--host-key={secrets / HOST}",
        f"--keys={secrets / 'box-keys'}",
        f"--home={home}",
        f"--forward={echo}",
    )
    module = __name__.rpartition(".")[0]
    return (
        Beside(f"{module}.ssh_host", folder, ssh, words, dies_with_us=dies_with_us),
        Beside(f"{module}.echo", folder, echo, dies_with_us=dies_with_us),
    )


def erase_box(folder: Path) -> None:
    """Remove its files, those behind a link included."""
    place = folder / PLACE
    if place.is_symlink():
        shutil.rmtree(os.path.realpath(place), ignore_errors=True)
