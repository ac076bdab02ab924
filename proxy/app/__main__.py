"""One process of the gateway: ``python -m proxy.app worker-0|api FILE PARENT``, started by ``serving.serve``, whose
process id is PARENT."""

import asyncio
import contextlib
import resource
import signal
import sys
from pathlib import Path

import uvloop

from gateway_config.problems import ConfigProblems
from proxy.adapters import logs
from proxy.app.foundation import Configured
from proxy.app.supervision import die_with_parent
from proxy.core.errors import TidegateError

DESCRIPTORS = 65_536
SWITCH = 0.0005
"""Seconds after which a thread that computes lets the loop go on."""


def main(role: str, file: Path, parent: int) -> None:
    """One process of the gateway, started by ``serve`` in process ``parent``."""
    die_with_parent(parent)
    take_descriptors()
    configured = Configured.read(file)
    gateway = configured.config.gateway
    logs.configure(
        json=None if gateway.log_format == "auto" else gateway.log_format == "json", level=gateway.log_level
    )
    if role == "api":
        from proxy.app.api import run_api

        uvloop.run(run_api(configured))
    else:
        from proxy.app.worker import run_worker

        sys.setswitchinterval(SWITCH)
        uvloop.run(run_worker(configured, role))


def take_descriptors() -> None:
    """As many descriptors as we may have: a session holds two, and a flood must not use up what others need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor passes on what is meant
    try:
        with contextlib.suppress(asyncio.CancelledError):
            main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    except (ConfigProblems, TidegateError, OSError) as error:
        hint = getattr(error, "hint", "")
        sys.exit(f"tidegate {sys.argv[1]}: {error}{hint and f': {hint}'}")
