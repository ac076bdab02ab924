"""``tidegate demo`` itself, behind the command line's front: ``run`` is what `commands.operating` calls."""

import sys
from pathlib import Path

from proxy.cli.demo.builds import EMBEDDED
from proxy.cli.demo.instructions import instructions, surroundings
from proxy.cli.demo.supervisor import again, keep_running
from proxy.cli.demo.world import World
from proxy.cli.failures import USAGE, Failed

MORE_PORTS = 6
LAST_BASE = 65_535 - MORE_PORTS


def run(folder: Path | None, port_base: int | None, postgres: str | None) -> int:
    """Run the world until Ctrl-C (0). ``Failed`` when it cannot be had, or when its gateway ends by itself.

    ``folder`` None: a world that is gone at the end. ``port_base``: the gateway's PostgreSQL listener there, and on
    the next ports its API, the database, its SSH and TCP listeners, the SSH host, the echo service; None: free
    ones.
    """
    if port_base is not None and not 1 <= port_base <= LAST_BASE:
        raise Failed(f"--port-base {port_base} is no port with {MORE_PORTS} more after it", code=USAGE)
    if postgres is not None and postgres not in EMBEDDED:
        raise Failed(
            f"there is no embedded PostgreSQL {postgres}", hint=f"one of: {', '.join(EMBEDDED)}", code=USAGE
        )
    print("Starting a database, an SSH host, an echo service, a gateway and five people …", file=sys.stderr)
    keep_running(folder, port_base=port_base, postgres=postgres, ready=_tell)
    kept = f"The world is kept; to take it up again: {again(folder)}" if folder else "The world is gone."
    print(kept, file=sys.stderr)
    return 0


def _tell(world: World) -> None:
    sys.stdout.write(instructions(world, surroundings()) + "\n")
    sys.stdout.flush()
