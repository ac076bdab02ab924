"""300 MB over SSH beside direct OpenSSH: ``ssh HOST cat``, sftp put and get: ``python -m benchmarks.ssh_bulk``.

The client is OpenSSH's with its own choice of ciphers, and once more with aes128-gcm asked for: directly its own
choice is chacha20-poly1305, while the gateway gives it AES-GCM whatever it prefers. Everything is recorded: the
command, each file with its SHA-256.
"""

import argparse
import subprocess
from collections import defaultdict
from pathlib import Path

from benchmarks.world import cpu_of, median
from tests.peers.openssh import Door, direct
from tests.peers.ssh_gateway import SshGateway, ssh_gateway
from tests.peers.sshd import Sshd, sshd

BYTES = 300_000_000
GCM = "aes128-gcm@openssh.com"
WORK = ("cat", "put", "get")


def main() -> None:
    """Interleaved runs; medians and ratios."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=5)
    runs = options.parse_args().runs
    walls: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    costs: dict[str, list[float]] = defaultdict(list)
    with sshd() as host, ssh_gateway(host) as gate:
        file = host.folder / "bulk"
        file.write_bytes(bytes(1 << 20) * (BYTES >> 20))
        for _ in range(runs):
            for cipher in ("own", GCM):
                for way in WORK:
                    for subject in ("direct", "through"):
                        cost, wall = measure(way, door(host, gate, subject, cipher), gate, file)
                        walls[subject, way, cipher].append(wall)
                        if subject == "through" and cipher == "own":
                            costs[way].append(cost)
    print(f"{BYTES // 1_000_000} MB over SSH, recorded; medians of {runs} interleaved runs (of direct)")
    for way in WORK:
        for cipher in ("own", GCM):
            alone, through = (median(walls[subject, way, cipher]) for subject in ("direct", "through"))
            print(f"{way}  {cipher:24} direct {alone:5.2f} s  through {through:5.2f} s  ({alone / through:4.2f})")
        print(f"{way}  CPU of the gateway {median(costs[way]):.2f} s")


def door(host: Sshd, gate: SshGateway, subject: str, cipher: str) -> Door:
    """A way to the host, with the client's own choice of ciphers or one that is asked for."""
    folder = host.folder / subject
    if subject == "direct":
        folder.mkdir(exist_ok=True)
        made = direct(host, folder)
    else:
        made = gate.door()
    return made if cipher == "own" else made.having(Ciphers=cipher)


def measure(way: str, door: Door, gate: SshGateway, file: Path) -> tuple[float, float]:
    """(the gateway's CPU s, wall s)"""
    command = {
        "cat": ["ssh", "-F", str(door.config), "box", f"cat {file}"],
        "put": ["sftp", "-q", "-F", str(door.config), "box"],
        "get": ["sftp", "-q", "-F", str(door.config), "box"],
    }[way]
    typed = {"cat": "", "put": f"put {file} {file}.put\n", "get": f"get {file} {file}.got\n"}[way]
    run = lambda: subprocess.run(  # noqa: E731
        command, input=typed.encode(), stdout=subprocess.DEVNULL, env=door.environment(), check=True
    )
    cost, wall, _ = cpu_of(gate.processes, run)
    return cost, wall


if __name__ == "__main__":
    main()
