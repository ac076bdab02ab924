"""What a figure depends on besides the code: the interpreter and how it was built, the machine, who else uses it.

Linux: everything is read from ``/proc``. Knows no benchmark; used by ``series``.
"""

import ctypes
import os
import platform
import ssl
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36
BUILT_WITH = {"--enable-optimizations": "profile guided", "--with-lto": "link time optimised"}


def adopt_orphans() -> None:
    """From now on whoever this process started, or they, is below it: prctl(2), PR_SET_CHILD_SUBREAPER. A database
    that went into the background would else be somebody else's load."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def described() -> list[str]:
    """Lines that say what ran where."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    debians = Path(sys.base_prefix) == Path("/usr")
    whose = "Debian's" if debians else "built by hand"
    # Debian's rules optimise by profile behind configure's back: its arguments do not tell.
    unsaid = "optimised by the package's own rules" if debians else "NOT optimised"
    how = [words for flag, words in BUILT_WITH.items() if flag in arguments] or [unsaid]
    cores = len(os.sched_getaffinity(0))
    name = f"{platform.python_implementation()} {platform.python_version()}"
    return [
        f"interpreter: {name}, {whose}, {', '.join(how)} ({Path(sys.executable).resolve()})",
        f"with: uvloop {version('uvloop')}, asyncssh {version('asyncssh')}, {ssl.OPENSSL_VERSION}",
        f"machine: {cores} cores, {_processor()}, Linux {platform.release()}",
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()


def load() -> str:
    """The load averages of 1, 5 and 15 minutes."""
    return " ".join(f"{each:.2f}" for each in os.getloadavg())


@dataclass(frozen=True)
class Usage:
    """CPU seconds used until the moment ``at`` (monotonic): by everybody, and by this process and all below it."""

    at: float
    everybody: float
    own: float

    def others(self, until: "Usage") -> float:
        """Cores that others used between two moments: 0.05 is a twentieth of one. The kernel counts everybody by
        ticks, so a hundredth or two of a core is noise."""
        seconds = until.at - self.at
        return max(0.0, (until.everybody - self.everybody) - (until.own - self.own)) / seconds if seconds else 0.0


def usage() -> Usage:
    """Until now."""
    first = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    user, nice, system, stolen = (int(first[number]) for number in (1, 2, 3, 8))
    return Usage(time.monotonic(), (user + nice + system + stolen) / TICK, _own())


def _own() -> float:
    """Of the living and, by their parents, of the dead whose end was waited for."""
    parents, times = {}, {}
    for pid, fields in _processes():
        parents[pid], times[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    below, found = {os.getpid()}, True
    while found:
        found = {pid for pid, parent in parents.items() if parent in below} - below
        below |= found
    return sum(times[pid] for pid in below if pid in times) / TICK


def _processes() -> Iterator[tuple[int, list[str]]]:
    """The fields of ``/proc/PID/stat`` behind the name (proc(5)); the first is the state."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
