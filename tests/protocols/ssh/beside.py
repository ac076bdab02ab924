"""A process that stands for a server's: it has a child that sleeps, runs a command beside that, and prints whether
the child "runs" or has "stopped". Run by ``test_control``:

    python -m tests.protocols.ssh.beside NAME COMMAND [orphan]

``orphan``: the command's own parent is gone before the command begins, so that this process, which like init takes
up what has lost its parent, becomes its parent.
"""

import ctypes
import os
import subprocess
import sys
import time

NAME, SUBREAPER = 15, 36
"""prctl(2): PR_SET_NAME, PR_SET_CHILD_SUBREAPER."""
PATIENCE = 1.0
"""Seconds that a signal which was sent has to be seen."""


def run(command: str, orphan: bool) -> None:
    """Until the command has ended."""
    shell = ["sh", "-c", command]
    child = os.fork()
    if child == 0:
        parent = os.getpid()
        if orphan and os.fork():
            os._exit(0)
        while orphan and os.getppid() == parent:
            time.sleep(0.001)
        os.execvp(shell[0], shell)
    os.waitpid(child, 0)
    if orphan:
        os.wait()


def main() -> None:
    name, command, orphan = sys.argv[1], sys.argv[2], sys.argv[3:] == ["orphan"]
    kernel = ctypes.CDLL(None)
    kernel.prctl(NAME, name.encode(), 0, 0, 0)
    kernel.prctl(SUBREAPER, 1, 0, 0, 0)
    beside = subprocess.Popen(["sleep", "600"], start_new_session=True)
    run(command, orphan)
    try:
        beside.wait(PATIENCE)
        print("stopped")
    except subprocess.TimeoutExpired:
        print("runs")
        beside.kill()


if __name__ == "__main__":
    main()
