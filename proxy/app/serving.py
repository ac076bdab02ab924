"""``serve``: the supervisor's side. Called by the command line; it starts ``proxy.app`` again."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from gateway_config.loading import load
from gateway_config.problems import ConfigProblems
from gateway_config.schema import Config
from proxy.adapters.doorbell import SUFFIX, bells
from proxy.app.supervision import supervise

CONCLUDING = 20.0
"""Seconds for sessions that are cut at the end of the grace to be concluded, and for the API to answer."""


def serve(file: Path) -> int:
    """Supervise the API and the workers until SIGTERM or SIGINT; SIGHUP reads the configuration again. At a stop
    the API goes last: sessions can be revoked while they are waited for.

    Returns 0 after a wanted stop, 1 when a process died (the others are stopped: fail closed) or the configuration
    has problems, which are printed.
    """
    try:
        config = load(file)
    except ConfigProblems as problems:
        print(f"tidegate: the configuration cannot be used\n{problems}", file=sys.stderr)
        return 1
    run = bells(config.state_dir)
    # One by one: `parents` would make all but the last as open as the umask has it.
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    run.mkdir(mode=0o700, exist_ok=True)
    try:
        with alone(run / "lock"):
            return _supervised(file, config)
    except BlockingIOError:
        print(
            f"tidegate: another gateway runs with the state folder {config.state_dir}\n"
            "  next: stop it first, or give this one a state_dir of its own",
            file=sys.stderr,
        )
        return 1


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock at ``path``, which ends with this process whatever ends that. ``BlockingIOError`` when another
    has it: a second gateway would take the first one's sessions for those of a process that was killed."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _supervised(file: Path, config: Config) -> int:
    metrics = config.state_dir / "run" / "metrics"
    metrics.mkdir(mode=0o700, exist_ok=True)
    # Of a gateway that was killed; whoever holds the lock is the only one there is.
    for stale in (*metrics.glob("*.db"), *bells(config.state_dir).glob(f"*{SUFFIX}")):
        stale.unlink()
    roles = [f"worker-{index}" for index in range(config.gateway.workers)]
    if config.api.enabled:
        roles.append("api")
    told = (str(file.absolute()), str(os.getpid()))
    commands = {role: [sys.executable, "-m", "proxy.app", role, *told] for role in roles}
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(metrics)}
    return supervise(commands, environment, patience=lambda: patience(file, config), last=("api",))


def patience(file: Path, started_with: Config) -> float:
    """Seconds a process may take to stop. The grace may have been changed since the start: the longer counts. What
    cannot be read counts for nothing, whatever the reason: it must not keep anybody from being stopped."""
    graces = [started_with.limits.shutdown_grace]
    with contextlib.suppress(Exception):
        graces.append(load(file).limits.shutdown_grace)
    return max(graces) + CONCLUDING
