"""The demo's target: an embedded PostgreSQL with the shop in it, taken up again where it is there already.

It runs beside the gateway, not under it: killing the gateway leaves it. Called by ``supervisor``.
"""

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from proxy.cli.demo import shop
from proxy.cli.demo.builds import embedded_build
from proxy.cli.demo.postgres import SUPERUSER, Server
from proxy.cli.demo.run_as import RunAs, reachable_folder

# With it the gateway verifies that a cut session's backend is gone.
CONTROL = "tidegate"
LOGINS = (SUPERUSER, shop.READER, shop.OWNER, CONTROL)


def new_passwords() -> dict[str, str]:
    """A password each for the target's logins: letters and digits, 128 random bits."""
    return {login: secrets.token_hex(16) for login in LOGINS}


def prepare_target(
    folder: Path, version: str, port: int, passwords: Mapping[str, str], *, dies_with_us: bool
) -> Server:
    """The target in ``folder``/postgres, not started. ``PostgresError`` where there is no such version."""
    run_as = RunAs.for_database()
    place = reachable_folder(run_as, folder / "postgres")
    build = embedded_build(version, place / "build")
    return Server(build, place / "server", port, passwords[SUPERUSER], dies_with_us=dies_with_us, run_as=run_as)


def start_target(server: Server, passwords: Mapping[str, str]) -> None:
    """Start it, made and filled first where it is not there yet."""
    filled = server.home.parent / "filled"
    if not filled.exists():
        shutil.rmtree(server.home, ignore_errors=True)  # an earlier start was interrupted half-way
    server.create()
    server.start()
    if not filled.exists():
        server.run(shop.logins({name: passwords[name] for name in (shop.READER, shop.OWNER)}))
        server.run(f"CREATE ROLE {CONTROL} LOGIN PASSWORD '{passwords[CONTROL]}'")
        server.run(f"GRANT pg_signal_backend, pg_read_all_stats TO {CONTROL}")
        server.run(shop.tables(), database=shop.DATABASE)
        filled.touch()


def erase_target(folder: Path) -> None:
    """Remove its files, those behind a link included."""
    place = folder / "postgres"
    if place.is_symlink():
        shutil.rmtree(place.resolve(), ignore_errors=True)
