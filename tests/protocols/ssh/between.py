"""Stands in a real transfer's way as the gateway does: runs its last argument with ``sh -c``, lets both ways pass
through a reader (BETWEEN: sftp or scp), and writes the records to BETWEEN_RECORDS, one ``repr`` a line. A program
of its own: OpenSSH's clients start it in place of ssh."""

import itertools
import os
import select
import subprocess
import sys
from pathlib import Path

from proxy.core.records import Outcome
from proxy.core.steps import Forward, Observe, Reply, Side, Tell
from proxy.protocols.ssh.commands import scp_command
from proxy.protocols.ssh.scp import ScpReader
from proxy.protocols.ssh.sftp import SftpReader


def write_all(fd: int, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def main(kind: str, records: Path, command: str, size: int = 32768) -> int:
    target = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert target.stdin is not None and target.stdout is not None
    reader: SftpReader | ScpReader
    if kind == "sftp":
        reader = SftpReader(itertools.count(1).__next__)
    else:
        found = scp_command(command.encode())
        assert found is not None, command
        reader = ScpReader(itertools.count(2).__next__, found, 1)
    into, out = target.stdin.fileno(), target.stdout.fileno()
    ways = {0: (Side.CLIENT, into), out: (Side.TARGET, 1)}
    with records.open("a") as log:
        while out in ways:
            for fd in select.select(list(ways), [], [])[0]:
                side, to = ways[fd]
                data = os.read(fd, size)
                if not data:
                    del ways[fd]
                    if side is Side.CLIENT:
                        target.stdin.close()
                    continue
                for step in reader.feed(side, data):
                    if isinstance(step, Observe):
                        log.write(f"{step.record!r}\n")
                    elif isinstance(step, Forward):
                        write_all(to, step.data)
                    elif isinstance(step, Reply):
                        write_all(1, step.data)
                    elif isinstance(step, Tell):
                        write_all(into, step.data)
                    else:
                        log.write(f"{step!r}\n")
                        return 99
        for record in reader.finish(Outcome.UNKNOWN):
            log.write(f"{record!r}\n")
    return target.wait()


if __name__ == "__main__":
    sys.exit(main(os.environ["BETWEEN"], Path(os.environ["BETWEEN_RECORDS"]), sys.argv[-1]))
