"""300 MB over SSH beside direct OpenSSH: ``ssh HOST cat``, sftp put and get: ``python -m benchmarks.ssh_bulk``.

The client is OpenSSH's with its own choice of ciphers, and once more with aes128-gcm asked for: directly its own
choice is chacha20-poly1305, while the gateway gives it AES-GCM whatever it prefers. Everything is recorded: the
command, each file with its SHA-256.
"""

import subprocess
from pathlib import Path

from benchmarks.series import Series, options, spread
from benchmarks.world import cpu_of
from tests.peers.openssh import Door, direct
from tests.peers.ssh_gateway import SshGateway, ssh_gateway
from tests.peers.sshd import Sshd, sshd

BYTES = 300_000_000
GCM = "aes128-gcm@openssh.com"
WORK = ("cat", "put", "get")


def main() -> None:
    """CPU and speed, each way with two choices of ciphers."""
    chosen = options(__doc__).parse_args()
    series = Series(f"{BYTES // 1_000_000} MB over SSH, recorded", chosen.runs, once=chosen.once)
    with sshd() as host, ssh_gateway(host) as gate:
        file = host.folder / "bulk"
        file.write_bytes(bytes(1 << 20) * (BYTES >> 20))
        for each in series.rounds():
            for cipher in ("own", GCM):
                for way in WORK:
                    for subject in ("direct", "through"):
                        cost, wall = measure(way, door(host, gate, subject, cipher), gate, file)
                        each.note(f"{way} {cipher} {subject}", cost=cost, wall=wall, speed=1 / wall)
    for way in WORK:
        for cipher in ("own", GCM):
            direct_one, through = (f"{way} {cipher} {subject}" for subject in ("direct", "through"))
            alone, ours = (spread(series.values(each, "wall")) for each in (direct_one, through))
            speed = spread(series.ratios(through, direct_one, "speed"))
            print(f"{way}  {cipher:24} direct {alone} s  through {ours} s, {speed} of direct's speed")
        print(f"{way}  CPU of the gateway {spread(series.values(f'{way} own through', 'cost'))} s")
    series.finish()


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
