"""What a demo has left running in its folder, as it is meant to: ended here, after a test."""

from pathlib import Path

from proxy.cli.demo.beside import Beside
from proxy.cli.demo.builds import Build
from proxy.cli.demo.postgres import Server
from proxy.cli.demo.world import World


def end_targets(folder: Path) -> None:
    """End the targets of the world in ``folder``. Their files may tell of process ids that are somebody else's by
    now: whoever is ended holds the lock, or runs on the data."""
    world = World.found(folder)
    if world is None:
        return
    for name in ("ssh_host", "echo"):
        Beside(f"proxy.cli.demo.{name}", folder, 0).stop()
    place = (folder / "postgres").resolve()
    for program in place.glob("build/*/*/bin/postgres"):
        Server(Build(world.postgres, program.parent, tls=False), place / "server", 0, "").stop()
