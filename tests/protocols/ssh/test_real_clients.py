"""OpenSSH's own sftp and scp, both ends, with a reader between: the files are the same, and so are the hashes."""

import hashlib
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SFTP_SERVER = "/usr/lib/openssh/sftp-server"
BETWEEN = Path(__file__).with_name("between.py")
DATA = random.Random(3).randbytes(3_000_000)
SHA = hashlib.sha256(DATA).hexdigest()

pytestmark = pytest.mark.skipif(
    not (shutil.which("sftp") and Path(SFTP_SERVER).exists()),
    reason="OpenSSH's client and sftp-server are not here",
)


def run(kind: str, folder: Path, *command: str, stdin: str = "") -> list[str]:
    """The records of a client's run."""
    records = folder / "records"
    wrapper = folder / "ssh"
    start = f"{shlex.quote(sys.executable)} {shlex.quote(str(BETWEEN))}"
    wrapper.write_text(f'#!/bin/sh\nfor last; do :; done\nexec {start} "$last"\n')
    wrapper.chmod(0o700)
    environment = {
        **os.environ,
        "BETWEEN": kind,
        "BETWEEN_RECORDS": str(records),
        "PYTHONPATH": str(BETWEEN.parents[3]),
    }
    done = subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return records.read_text().splitlines()


def texts(records: list[str]) -> list[str]:
    return [
        found[1] for each in records if (found := re.search(r"StatementStarted\(.* text=b['\"](.*?)['\"], t", each))
    ]


def hashes(records: list[str]) -> list[tuple[int, str]]:
    found = (re.search(r"Content\(.* size=(\d+), digest='(\w+)'", each) for each in records)
    return [(int(each[1]), each[2]) for each in found if each]


def test_sftp(tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(DATA)
    there = tmp_path / "there"
    there.mkdir()
    lines = [
        f'cd "{there}"',
        f'put "{tmp_path}/here" a',
        f'get a "{tmp_path}/back"',
        "rename a b",
        "chmod 600 b",
        "ln -s b c",
    ]
    lines += ["ln b d", "ls -l", "mkdir e", "rmdir e", "rm d", "cp b f", "df"]
    wrapper = tmp_path / "ssh"
    records = run(
        "sftp", tmp_path, "sftp", "-b", "-", "-S", str(wrapper), "-s", SFTP_SERVER, "h", stdin="\n".join(lines)
    )
    assert (tmp_path / "back").read_bytes() == DATA == (there / "b").read_bytes() == (there / "f").read_bytes()
    found = texts(records)
    for expected in ("put {}/a", "get {}/a", "rename {0}/a -> {0}/b", "chmod 0600 {}/b", "symlink b -> {}/c"):
        assert expected.format(there) in found, found
    for expected in ("link {0}/b -> {0}/d", "list {}", "mkdir {}/e", "rmdir {}/e", "remove {}/d", "statvfs {}"):
        assert any(each.startswith(expected.format(there)) for each in found), (expected, found)
    assert f"copy {there}/b -> {there}/f" in found
    assert hashes(records).count((len(DATA), SHA)) == 2
    assert not any("Close(" in each for each in records)
    assert sum("StatementStarted" in each for each in records) == sum(
        "StatementFinished" in each for each in records
    )


def test_the_old_scp(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub dir").mkdir(parents=True)
    (tree / "sub dir" / "one").write_bytes(DATA)
    (tree / "empty").write_bytes(b"")
    wrapper = str(tmp_path / "ssh")
    up = run("scp", tmp_path, "scp", "-O", "-S", wrapper, "-rp", str(tree), f"h:{shlex.quote(f'{tmp_path}/up')}")
    assert (tmp_path / "up" / "sub dir" / "one").read_bytes() == DATA
    assert f"mkdir {tmp_path}/up[/tree]" in texts(up) and f"put {tmp_path}/up[/tree]/sub dir/one" in texts(up)
    assert (len(DATA), SHA) in hashes(up) and (0, hashlib.sha256().hexdigest()) in hashes(up)
    (tmp_path / "records").unlink()
    down = run(
        "scp", tmp_path, "scp", "-O", "-S", wrapper, f"h:{shlex.quote(str(tree))}/sub*/o*", str(tmp_path / "down")
    )
    assert (tmp_path / "down").read_bytes() == DATA
    assert texts(down) == [f"get {tree}/sub*/one"] and hashes(down) == [(len(DATA), SHA)]
    assert all("UNKNOWN" not in each for each in (*up, *down))
