"""Files over SSH, straight at the sshd and through the gateway: scp (old and new), sftp, rsync and git. Content,
modes and times are those of the source, and so is every refusal."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.peers.line import line_apart
from tests.peers.openssh import Done, Door
from tests.peers.ssh_gateway import ssh_gateway
from tests.peers.sshd import SFTP_SERVER, program, sshd

MOMENT = 1_600_000_000
SIZES = {"empty": 0, "one": 1, "packet": 32_768, "packet and one": 32_769, "big.bin": 5_000_003}
SCP = pytest.mark.parametrize("old", [False, True], ids=["sftp", "rcp"])
"""scp speaks SFTP, and with -O what rcp spoke."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of awkward sizes, names and modes."""
    folder = tmp_path / "tree"
    (folder / "deep" / "er").mkdir(parents=True)
    for name, size in SIZES.items():
        (folder / name).write_bytes(os.urandom(size))
    (folder / "deep" / "er" / "ünï 'q\" $x;.txt").write_text("words\n")
    (folder / "one").chmod(0o750)
    (folder / "packet").chmod(0o600)
    for path in folder.rglob("*"):
        os.utime(path, (MOMENT, MOMENT))
    return folder


def hashes(folder: Path) -> dict[str, str]:
    """What is in each file, by its path below ``folder``."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    }


def kept(folder: Path) -> dict[str, tuple[int, int]]:
    """Mode and time of each file."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mode & 0o777, int(path.stat().st_mtime))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def well(done: Done) -> Done:
    assert done.returncode == 0, done
    return done


# -- scp -----------------------------------------------------------------------------------------------------------


def scp(door: Door, old: bool, *args: str) -> Done:
    return door.run(door.line("scp", *(["-O"] if old else []), *args))


@SCP
def test_scp_takes_one_file_each_way(door: Door, tree: Path, tmp_path: Path, old: bool) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    done = well(scp(door, old, str(tree / "big.bin"), f"box:{there}"))
    assert done.stderr == b""
    well(scp(door, old, f"box:{there}", str(back)))
    assert back.read_bytes() == there.read_bytes() == (tree / "big.bin").read_bytes()


@SCP
def test_scp_takes_a_tree_with_modes_and_times(door: Door, tree: Path, tmp_path: Path, old: bool) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    well(scp(door, old, "-rp", str(tree), f"box:{there}"))
    assert (hashes(there), kept(there)) == (hashes(tree), kept(tree))
    well(scp(door, old, "-rp", f"box:{there}", str(back)))
    assert (hashes(back), kept(back)) == (hashes(tree), kept(tree))


@SCP
def test_scp_says_what_is_not_there_and_what_may_not_be(door: Door, tree: Path, tmp_path: Path, old: bool) -> None:
    done = scp(door, old, "box:/no/such/file", str(tmp_path / "back"))
    assert done.returncode == 1
    assert b"No such file or directory" in done.stderr
    done = scp(door, old, str(tree / "one"), "box:/no/such/folder/one")
    assert done.returncode == 1
    assert b"/no/such/folder" in done.stderr
    assert not (tmp_path / "back").exists()


@SCP
def test_scp_takes_what_a_pattern_means(door: Door, tree: Path, tmp_path: Path, old: bool) -> None:
    back = tmp_path / "back"
    back.mkdir()
    well(scp(door, old, f"box:{tree}/packet*", f"box:{tree}/one", str(back)))
    assert sorted(each.name for each in back.iterdir()) == ["one", "packet", "packet and one"]


def test_scp_from_host_to_host_by_way_of_the_client(door: Door, tree: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    well(scp(door, False, "-3", f"box:{tree}/big.bin", f"box:{there}"))
    assert there.read_bytes() == (tree / "big.bin").read_bytes()


# -- sftp ----------------------------------------------------------------------------------------------------------


def test_sftp_does_all_that_it_can(door: Door, tree: Path, tmp_path: Path) -> None:
    work, back = tmp_path / "work", tmp_path / "back"
    back.mkdir()
    done = well(
        door.batch(
            f"mkdir {work}",
            f"cd {work}",
            "pwd",
            f"lcd {tree}",
            "put big.bin",
            "put -p one renamed",
            "mput packet*",
            "mkdir sub",
            "rename renamed sub/one",
            "chmod 640 big.bin",
            "ln -s big.bin link",
            "ln big.bin hard",
            "ls -ln",
            f"lcd {back}",
            "get big.bin",
            "get -p sub/one",
            "mget packet*",
            "rm packet",
            "-rm nothing",
            "df -h",
            "bye",
        )
    )
    assert str(work).encode() in done.stdout
    assert b"-rw-r-----" in done.stdout
    assert b"nothing" in done.stderr
    names = sorted(str(each.relative_to(work)) for each in work.rglob("*"))
    assert names == ["big.bin", "hard", "link", "packet and one", "sub", "sub/one"]
    assert (work / "link").readlink() == Path("big.bin")
    wanted = {
        name: digest for name, digest in hashes(tree).items() if name in ("big.bin", "one") or "packet" in name
    }
    assert hashes(back) == wanted
    assert kept(back)["one"] == kept(tree)["one"]


def test_sftp_lists_patterns_as_it_does_there(door: Door, tree: Path) -> None:
    done = well(door.batch(f"ls -1 {tree}/pack*"))
    assert done.stdout.decode().splitlines()[1:] == [f"{tree}/packet", f"{tree}/packet and one"]
    assert door.batch(f"ls {tree}/none*").returncode == 1


def test_sftp_goes_on_where_it_was_interrupted(door: Door, tree: Path, tmp_path: Path) -> None:
    data = (tree / "big.bin").read_bytes()
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(data[:2_000_000])
    back.write_bytes(data[:1_234_567])
    well(door.batch(f"reput {tree}/big.bin {there}", f"reget {there} {back}"))
    assert there.read_bytes() == back.read_bytes() == data


def test_sftp_takes_a_tree(door: Door, tree: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    well(door.batch(f"put -R {tree} {there}", f"get -R {there} {back}"))
    assert hashes(there) == hashes(back) == hashes(tree)


def test_sftp_stops_at_the_first_that_fails(door: Door, tmp_path: Path) -> None:
    done = door.batch("mkdir /no/such/folder", f"mkdir {tmp_path}/after")
    assert done.returncode == 1
    assert b"No such file or directory" in done.stderr or b"Failure" in done.stderr
    assert not (tmp_path / "after").exists()


@pytest.mark.parametrize("way", ["up", "down"])
def test_sftp_byte_by_byte(door: Door, tree: Path, tmp_path: Path, way: str) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    with line_apart("127.0.0.1", door.port) as hostile:
        getattr(hostile.line, way).slice = 1
        well(door.over(hostile.port).batch(f"put '{tree}/packet and one' {there}", f"get {there} {back}"))
    assert there.read_bytes() == back.read_bytes() == (tree / "packet and one").read_bytes()


def test_sftp_with_new_keys_every_megabyte(door: Door, tree: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    well(door.having(RekeyLimit="1M").batch(f"put {tree}/big.bin {there}", f"get {there} {back}"))
    assert there.read_bytes() == back.read_bytes() == (tree / "big.bin").read_bytes()


def test_sftp_of_the_server_that_is_a_program(tree: Path, tmp_path: Path) -> None:
    """Not sshd's own, but the one it starts: other limits, other extensions; and a host key of another kind."""
    if not SFTP_SERVER.exists():
        pytest.skip(f"{SFTP_SERVER} is not there: apt-get install openssh-sftp-server")
    there, back = tmp_path / "there", tmp_path / "back"
    with sshd(sftp=str(SFTP_SERVER), kind="ecdsa") as other, ssh_gateway(other) as gate:
        well(gate.door().batch(f"put {tree}/big.bin {there}", f"get {there} {back}", f"ls -l {tmp_path}"))
    assert there.read_bytes() == back.read_bytes() == (tree / "big.bin").read_bytes()


# -- rsync ---------------------------------------------------------------------------------------------------------


def rsync(door: Door, *args: str) -> Done:
    command = " ".join(door.line("ssh"))
    return door.run([program("rsync"), "-a", "--stats", "--no-h", "-e", command, *args])


def test_rsync_both_ways_and_a_second_time_only_what_has_changed(door: Door, tree: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    well(rsync(door, f"{tree}/", f"box:{there}/"))
    assert (hashes(there), kept(there)) == (hashes(tree), kept(tree))
    with (tree / "big.bin").open("r+b") as changed:
        changed.seek(1_000_000)
        changed.write(b"the tide")
    (tree / "one").unlink()
    second = well(rsync(door, "--delete", f"{tree}/", f"box:{there}/"))
    sent = next(line for line in second.stdout.decode().splitlines() if line.startswith("Literal data:"))
    assert 0 < int(sent.split()[2]) < 100_000
    assert hashes(there) == hashes(tree)
    well(rsync(door, f"box:{there}/", f"{back}/"))
    assert (hashes(back), kept(back)) == (hashes(tree), kept(tree))


def test_rsync_says_what_is_not_there(door: Door, tmp_path: Path) -> None:
    done = rsync(door, "box:/no/such/folder/", str(tmp_path / "back"))
    assert done.returncode == 23
    assert b"No such file or directory" in done.stderr


# -- git -----------------------------------------------------------------------------------------------------------


def git(door: Door, folder: Path, *args: str) -> Done:
    """One that knows neither the machine's configuration nor the user's."""
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "Alice"), ("EMAIL", "alice@example.org"))
    }
    command = [program("git"), "-c", "init.defaultBranch=main", *args]
    ssh = " ".join(door.line("ssh"))
    return door.run(command, cwd=folder, GIT_SSH_COMMAND=ssh, GIT_CONFIG_NOSYSTEM="1", **who)


def test_git_clones_pushes_and_fetches(door: Door, tree: Path, tmp_path: Path) -> None:
    bare = tmp_path / "there.git"
    subprocess.run([program("git"), "init", "-q", "--bare", "-b", "main", str(bare)], check=True, timeout=20)
    for words in (
        ("init", "-q"),
        ("add", "."),
        ("commit", "-qm", "everything"),
        ("push", "-q", f"box:{bare}", "main"),
    ):
        well(git(door, tree, *words))
    well(git(door, tmp_path, "clone", "-q", f"ssh://box{bare}", "clone"))
    clone = tmp_path / "clone"
    assert hashes(clone) == hashes(tree)
    (clone / "new").write_text("more\n")
    for words in (("add", "new"), ("commit", "-qm", "more"), ("push", "-q")):
        well(git(door, clone, *words))
    well(git(door, tree, "pull", "-q", f"box:{bare}", "main"))
    assert hashes(tree) == hashes(clone)
    assert git(door, tmp_path, "clone", "-q", "box:/no/such/repository", "none").returncode == 128
