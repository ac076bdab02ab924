"""``tests/run`` brings the machine packages, and no service that starts by itself."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORLD = ("unshare", "--map-root-user", "--mount")
# In a mount namespace of its own: what is enabled there is in a folder of the test.
SCRIPT = """
set -euo pipefail
for each in systemd/system rc2.d; do
  [ ! -d "/etc/$each" ] || mount --bind "$1/$each" "/etc/$each"
done
say() { echo "$*" >&2; }
. tests/debian.sh
install_packages openssh-server haproxy
"""
# As packages do: units, an alias, a script of System V's init, with a K for the levels it does not run in.
APT_GET = """#!/bin/sh
echo "apt-get $*" >>"$LOG"
case "$*" in *install*) ;; *) exit ;; esac
cd /etc/systemd/system
ln -s /lib/systemd/system/ssh.service sshd.service
mkdir -p multi-user.target.wants sockets.target.wants
ln -s /lib/systemd/system/ssh.service multi-user.target.wants/ssh.service
ln -s "/lib/systemd/system/odd name@.socket" "sockets.target.wants/odd name@1.socket"
[ ! -d /etc/rc2.d ] || ln -s ../init.d/haproxy /etc/rc2.d/S01haproxy
exit $CODE
"""
UPDATE = '#!/bin/sh\necho "update-rc.d $*" >>"$LOG"\n'


@pytest.mark.parametrize("code", ["0", "100"])
def test_what_comes_is_not_enabled_and_what_was_there_stays(tmp_path: Path, code: str) -> None:
    """Also where the installation fails half-way."""
    if subprocess.run([*WORLD, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no namespace can be had here: unshare(1)")
    units, levels = tmp_path / "etc" / "systemd" / "system", tmp_path / "etc" / "rc2.d"
    for folder in (units / "multi-user.target.wants", levels, tmp_path / "bin"):
        folder.mkdir(parents=True)
    for mine in (units / "multi-user.target.wants" / "mine.service", units / "alias.service", levels / "S01mine"):
        mine.symlink_to("somewhere")
    before = sorted(each for each in tmp_path.joinpath("etc").rglob("*") if each.is_symlink())
    for name, text in (("apt-get", APT_GET), ("update-rc.d", UPDATE)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    log = tmp_path / "log"
    env = {"PATH": f"{tmp_path / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin", "LOG": str(log), "CODE": code}
    command = [*WORLD, "bash", "-c", SCRIPT, "bash", str(tmp_path / "etc")]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 0, done.stderr
    assert ("could not install" in done.stderr) is (code != "0")
    told = log.read_text().splitlines()
    assert told[1].startswith("apt-get -qq install -y --no-upgrade ")
    after = {each for each in tmp_path.joinpath("etc").rglob("*") if each.is_symlink()}
    assert after - {levels / "S01haproxy"} == set(before)
    assert told[2:] == (["update-rc.d haproxy disable"] if Path("/etc/rc2.d").is_dir() else [])
