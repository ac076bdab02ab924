"""SSH from the command line: key, certificate, ssh_config as stock ssh reads it, the client that connect runs."""

import asyncio
import errno
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.access import ssh_wire as wire
from proxy.adapters.clock import SystemClock
from proxy.adapters.ssh_keys import public
from proxy.cli.connect import ssh
from proxy.cli.failures import Failed
from proxy.core.access import Grant
from proxy.core.identity import Account
from tests.access.world import wish
from tests.api.world import ApiWorld
from tests.cli.conftest import Shell

ROOT = Path(__file__).parents[2]
needs_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh")


@dataclass
class Alice:
    """Alice's command line, with a home whose name has a blank in it, and her grant."""

    shell: Shell
    world: ApiWorld
    grant: Grant
    folder: Path

    def __call__(self, *words: str) -> tuple[int, str, str]:
        done = self.shell.run(*words)
        return done.code, done.out, done.err

    def says(self, name: str = "box-cert.pub") -> wire.Statement:
        return wire.read_certificate(wire.read_line((self.folder / name).read_text())).says

    def issued(self) -> int:
        return self.world.kinds().count("certificate_issued")

    def give_up(self) -> None:
        """The grant is no more."""
        from proxy.access.revocations import Target
        from proxy.core.feed import Scope

        target = Target(Scope.GRANT, self.grant.id)
        asyncio.run(self.world.revocations.revoke(target, self.world.who("alice"), "done"))


@pytest.fixture
def alice(tidegate: Shell, world: ApiWorld) -> Alice:
    """The API's clock is the real one here: a certificate's end is looked at by this machine's."""
    world.clock.jump(SystemClock().now() - world.clock.now())
    grant = asyncio.run(world.granted("alice", "ops", resource="box"))
    world.facts = replace(world.facts, listeners={"ssh": ("gate.example", 2222), "postgres": ("", 6432)})
    home = tidegate.home("a b")
    for name in ("TIDEGATE_SSH_HOST", "TIDEGATE_SSH_PORT"):
        tidegate.monkeypatch.delenv(name, raising=False)
    tidegate.monkeypatch.setenv("TIDEGATE_HOME", str(home))
    assert tidegate.run("login", "--user", "alice").code == 0
    return Alice(tidegate, world, grant, home / "ssh")


# -- ssh-certificate


def test_a_certificate_is_made_in_silence(alice: Alice) -> None:
    assert alice("ssh-certificate", "box") == (0, "", "")
    claims = alice.world.certificates.verify(
        wire.read_line((alice.folder / "box-cert.pub").read_text()), wish("ops", "", protocol="ssh")
    )
    assert (claims.grant, claims.subject) == (alice.grant.id, "alice")
    assert stat.S_IMODE((alice.folder / "id_ed25519").stat().st_mode) == 0o600
    assert stat.S_IMODE(alice.folder.stat().st_mode) == 0o700
    hosts = alice.world.ssh_keys.hosts_authority().decode()
    assert (alice.folder / "known_hosts").read_text() == f"@cert-authority tidegate {hosts}\n"
    assert sorted(each.name for each in alice.folder.iterdir()) == ["box-cert.pub", "id_ed25519", "known_hosts"]


@needs_ssh
def test_the_key_is_one_that_openssh_reads(alice: Alice) -> None:
    alice("ssh-certificate", "box")
    command = ["ssh-keygen", "-y", "-f", alice.folder / "id_ed25519"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (
        wire.read_line(shown)
        == alice.says().key.blob
        == ssh.public_half((alice.folder / "id_ed25519").read_bytes())
    )


def test_one_that_lives_is_kept_and_one_that_ends_is_not(alice: Alice) -> None:
    alice("ssh-certificate", "box")
    first = alice.says()
    alice("ssh-certificate", "box")
    assert alice.says() == first
    assert alice.issued() == 1
    key = ssh.public_half((alice.folder / "id_ed25519").read_bytes())
    file = alice.folder / "box-cert.pub"
    assert ssh.held(file, key, first.valid_before - 121.0) == first
    assert ssh.held(file, key, first.valid_before - 120.0) is None
    assert ssh.held(file, public(Ed25519PrivateKey.generate()), 0.0) is None


@pytest.mark.parametrize("broken", ["certificate", "known_hosts", "key"])
def test_what_is_broken_is_made_anew(alice: Alice, broken: str) -> None:
    alice("ssh-certificate", "box")
    first = alice.says()
    match broken:
        case "certificate":
            (alice.folder / "box-cert.pub").write_text("rubbish")
        case "known_hosts":
            (alice.folder / "known_hosts").unlink()
        case _:
            (alice.folder / "id_ed25519").unlink()
    assert alice("ssh-certificate", "box") == (0, "", "")
    assert alice.says().serial != first.serial
    assert (alice.says().key == first.key) is (broken != "key")
    assert (alice.folder / "known_hosts").exists()


def test_a_key_that_is_none_is_said(alice: Alice) -> None:
    alice.folder.mkdir(mode=0o700)
    (alice.folder / "id_ed25519").write_text("rubbish")
    code, _, err = alice("ssh-certificate", "box")
    assert code == 1
    assert "id_ed25519" in err


def test_another_grant_needs_another_certificate(alice: Alice) -> None:
    alice("ssh-certificate", "box")
    alice.give_up()
    code, out, err = alice("ssh-certificate", "box")
    assert (code, out) == (3, "")
    assert "no active grant for box" in err
    again = asyncio.run(alice.world.granted("alice", "ops", resource="box"))
    assert alice("ssh-certificate", "box")[0] == 0
    assert alice.says().key_id == again.id


def test_the_exit_codes(alice: Alice) -> None:
    assert alice("ssh-certificate", "nowhere")[0] == 3
    assert alice("ssh-certificate", "box", "--as", "root")[0] == 3
    assert alice("ssh-certificate")[0] == 2
    asyncio.run(alice.world.granted("alice"))
    code, _, err = alice("ssh-certificate", "shop")
    assert (code, "certificates are for SSH" in err) == (1, True)
    alice.shell.monkeypatch.setenv("TIDEGATE_API", "http://127.0.0.1:1")
    assert alice("ssh-certificate", "box")[0] == 3  # the log-in is for another
    assert not (alice.folder / "box-cert.pub").exists()


def test_a_gateway_that_is_away_does_not_matter_while_a_certificate_lives(alice: Alice) -> None:
    from proxy.cli.home import Home, SavedLogin

    alice("ssh-certificate", "box")
    alice.shell.monkeypatch.setenv("TIDEGATE_API", "http://127.0.0.1:1")
    Home(os.environ).save(SavedLogin("http://127.0.0.1:1", "alice", "t"))
    assert alice("ssh-certificate", "box") == (0, "", "")
    (alice.folder / "box-cert.pub").unlink()
    assert alice("ssh-certificate", "box")[0] == 4


def test_as_json_and_by_the_long_way(alice: Alice) -> None:
    for words in (["ssh-certificate", "box", "--as", "ops", "--json"], ["--json", "ssh-certificate", "box"]):
        code, out, _ = alice(*words)
        told = json.loads(out)
        assert code == 0
        assert (told["grant"], told["account"]) == (alice.grant.id, "ops")
        assert Path(told["certificate"]).exists()
        assert 500 < told["expires_in"] <= 600
    assert Path(told["certificate"]).name == "box-cert.pub"
    assert (alice.folder / "ops@box-cert.pub").exists()


def test_no_private_key_is_left_where_there_are_no_hard_links(
    alice: Alice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    folder = ssh.Folder(os.environ)
    key = folder.public_key()
    assert [each.name for each in alice.folder.iterdir()] == ["id_ed25519"]
    assert folder.public_key() == key


def test_many_at_once_make_one_key(alice: Alice) -> None:
    made: list[bytes] = []
    folder = ssh.Folder(os.environ)
    threads = [threading.Thread(target=lambda: made.append(folder.public_key())) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert len(made) == 8
    assert len(set(made)) == 1
    assert [each.name for each in alice.folder.iterdir()] == ["id_ed25519"]


# -- ssh-config


def resolved(config: Path, *words: str) -> dict[str, list[str]]:
    """What stock ssh makes of it."""
    command = ["ssh", "-T", "-G", "-F", str(config), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    found: dict[str, list[str]] = {"stderr": [done.stderr]}
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def runnable(alice: Alice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A ``tidegate`` in a folder with a blank and a percent sign in its name."""
    program = tmp_path / "100% ours" / "tidegate"
    program.parent.mkdir()
    start = f"cd {shlex.quote(str(ROOT))} && exec {shlex.quote(sys.executable)} -m proxy.cli"
    program.write_text(f'#!/bin/sh\n{start} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    return program


@needs_ssh
def test_stock_ssh_reads_the_snippet_and_gets_its_certificate(alice: Alice, runnable: Path, tmp_path: Path) -> None:
    code, text, err = alice("ssh-config", "box")
    assert (code, err) == (0, "")
    assert not (alice.folder / "ops@box-cert.pub").exists()
    config = tmp_path / "config"
    config.write_text(text + "    Compression yes\n")
    # neither the log-in nor the folder depends on where and when ssh is started
    for name in ("TIDEGATE_API", "TIDEGATE_HOME"):
        alice.shell.monkeypatch.delenv(name)
    found = resolved(config, "box")
    assert found["stderr"] == [""]
    assert alice.says("ops@box-cert.pub").principals == ("ops",)
    assert found["certificatefile"] == [str(alice.folder / "ops@box-cert.pub")]
    assert found["identityfile"] == [str(alice.folder / "id_ed25519")]
    assert found["userknownhostsfile"][0].strip('"') == str(alice.folder / "known_hosts")
    assert (found["hostname"], found["port"], found["user"]) == (["gate.example"], ["2222"], ["ops"])
    assert (found["hostkeyalias"], found["stricthostkeychecking"]) == (["tidegate"], ["true"])
    assert (found["identitiesonly"], found["forwardagent"]) == (["yes"], ["no"])
    assert found["preferredauthentications"] == ["publickey"]
    assert "proxycommand" not in found
    assert found["compression"] == ["yes"]  # what comes after is for every host


@needs_ssh
def test_without_a_grant_ssh_still_goes_to_the_gateway_alone(alice: Alice, runnable: Path, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(alice("ssh-config")[1])
    alice.give_up()
    found = resolved(config, "box")
    assert found["hostname"] == ["gate.example"]
    assert "certificatefile" not in found
    assert "no active grant" in found["stderr"][0]
    other = resolved(config, "elsewhere")
    assert other["hostname"] == ["elsewhere"]
    assert other["stderr"] == [""]


@needs_ssh
def test_of_several_accounts_each_has_a_name(alice: Alice, runnable: Path, tmp_path: Path) -> None:
    from tests.access.world import RULES, rule

    box = replace(alice.world.catalog.resources["box"], accounts=(Account("ops"), Account("root")))
    resources = {**alice.world.catalog.resources, "box": box}
    rules = (*RULES, rule("roots", "root", resources=("box",)))
    alice.world.catalog = replace(alice.world.catalog, resources=resources, rules=rules)
    config = tmp_path / "config"
    config.write_text(alice("ssh-config", "box")[1])
    found = resolved(config, "ops@box")
    assert (found["user"], found["hostname"]) == (["ops"], ["gate.example"])
    assert found["certificatefile"] == [str(alice.folder / "ops@box-cert.pub")]
    root = resolved(config, "root@box")
    assert (root["user"], root["hostname"]) == (["root"], ["gate.example"])
    assert "no active grant for root@box" in root["stderr"][0]
    config.write_text(alice("ssh-config", "box", "--as", "ops")[1])
    assert resolved(config, "box")["user"] == ["ops"]


def test_the_environment_wins_over_what_the_gateway_says(alice: Alice) -> None:
    alice.shell.monkeypatch.setenv("TIDEGATE_SSH_HOST", "10.0.0.9")
    alice.shell.monkeypatch.setenv("TIDEGATE_SSH_PORT", "22022")
    _, text, _ = alice("ssh-config")
    assert "HostName 10.0.0.9\n" in text
    assert "Port 22022\n" in text
    alice.shell.monkeypatch.setenv("TIDEGATE_SSH_PORT", "many")
    assert alice("ssh-config")[0] == 2


def test_what_cannot_be_written(alice: Alice) -> None:
    assert alice("ssh-config", "shop")[0] == 2
    assert alice("ssh-config", "nowhere")[0] == 1
    assert alice("ssh-config", "box", "--as", "root")[0] == 2
    alice.world.facts = replace(alice.world.facts, listeners={})
    code, _, err = alice("ssh-config")
    assert (code, "no listener for SSH" in err) == (4, True)


@pytest.mark.parametrize("text", ['a"b', "a\\b", "${HOME}", "a\nb"])
def test_quotes_and_the_like_are_refused(text: str) -> None:
    for write in (ssh.quoted, ssh.shell_word):
        with pytest.raises(Failed, match="cannot be written"):
            write(text)


def test_a_single_quote_is_for_ssh_to_read_but_for_no_shell_within_double_ones() -> None:
    assert ssh.quoted(Path("/home/o'brien/a b")) == '"/home/o\'brien/a b"'
    with pytest.raises(Failed, match="cannot be written"):
        ssh.shell_word("/home/o'brien")


@needs_ssh
def test_real_ssh_reads_what_is_written_for_a_home_with_a_quote(tmp_path: Path) -> None:
    folder = ssh.Folder({"TIDEGATE_HOME": str(tmp_path / "o'brien's home")})
    file = tmp_path / "config"
    file.write_text(
        ssh.plain_config(ssh.Place("box", "ops", "gateway", 22, "tidegate"), str(folder.certificate("box")), folder)
    )
    read = subprocess.run(
        ["ssh", "-G", "-F", str(file), "box"], capture_output=True, text=True, check=True, timeout=20
    ).stdout.splitlines()
    assert f"identityfile {folder.key}" in read
    assert f"certificatefile {folder.certificate('box')}" in read
    assert f"userknownhostsfile {folder.known_hosts}" in read


@pytest.mark.parametrize(
    "host", ["gate\n    ProxyCommand touch /tmp/x", "-oProxyCommand=x", "gate x", "%h", "`x`", "../gate", ""]
)
def test_a_gateway_that_lies_writes_no_line_of_ssh_config(alice: Alice, host: str) -> None:
    """ssh takes the first of two: what stands before ``ProxyCommand none`` would be run."""
    for place in ({"host": host}, {"alias": host}, {"resource": host}):
        named = {"resource": "box", "account": "ops", "host": "gate", "port": 22, "alias": "tidegate", **place}
        with pytest.raises(Failed, match="no name or address"):
            ssh.Place(**named)
    if host:
        alice.world.facts = replace(alice.world.facts, listeners={"ssh": (host, 2222)})
        code, out, err = alice("ssh-config")
        assert (code, out) == (4, "")
        assert "no name or address" in err
    for each in ("gate.example", "192.0.2.7", "::1", "fe80::1", "alice@box"):
        ssh.Place("box", "ops", each, 22, "tidegate")


def test_a_word_is_one_word() -> None:
    assert ssh.quoted(Path("/a b/100%")) == '"/a b/100%%"'
    for text in ("/a b", "a;b", "$HOME", "", "*", "plain", "é"):
        assert shlex.split(ssh.shell_word(text)) == [text]
    assert ssh.shell_word("/usr/bin/tidegate") == "/usr/bin/tidegate"


# -- connect

SSH = """#!/bin/sh
for each in "$@"; do printf '%s\\n' "$each"; done
exit 7
"""


@pytest.fixture
def fake_ssh(alice: Alice, tmp_path: Path) -> Iterator[Path]:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    alice.shell.monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return program


def test_connect_runs_ssh_with_a_certificate_and_makes_no_token(alice: Alice, fake_ssh: Path) -> None:
    code, out, err = alice("connect", "box", "--", "-v", "ls", "-l")
    assert (code, err) == (7, "")
    option, config, *rest = out.splitlines()
    assert (option, rest) == ("-F", ["box", "-v", "ls", "-l"])
    text = Path(config).read_text()
    assert f'CertificateFile "{alice.folder / "box-cert.pub"}"' in text
    assert "HostName gate.example\n" in text
    assert "exec" not in text
    assert "token_issued" not in alice.world.kinds()
    assert alice.issued() == 1


@needs_ssh
def test_what_connect_writes_is_read_by_ssh(alice: Alice, tmp_path: Path) -> None:
    alice.shell.monkeypatch.setenv("TIDEGATE_SSH_PORT", "2200")
    code, out, err = alice("connect", "box", "--", "-T", "-G")
    assert code == 0, err
    assert {"port 2200", "user ops", "hostname gate.example", "hostkeyalias tidegate"} <= set(out.splitlines())


def test_connect_without_a_grant_runs_nothing(alice: Alice, fake_ssh: Path) -> None:
    alice.give_up()
    code, out, err = alice("connect", "box")
    assert (code, out) == (3, "")
    assert "no active grant" in err
    assert alice("connect", "box", "--listen", "0")[0] == 2


def test_no_ssh_is_said_plainly(alice: Alice) -> None:
    alice.shell.monkeypatch.setenv("PATH", "/nonexistent")
    code, _, err = alice("connect", "box")
    assert (code, "there is no ssh here" in err) == (1, True)


# -- keys ssh


def test_the_authorities_for_operators(alice: Alice) -> None:
    keys = alice.world.ssh_keys
    targets, hosts = keys.targets_authority().decode(), keys.hosts_authority().decode()
    assert alice("keys", "ssh", "--targets") == (0, f"{targets}\n", "")
    assert alice("keys", "ssh", "--hosts") == (0, f"@cert-authority tidegate {hosts}\n", "")
    _, both, _ = alice("keys", "ssh")
    assert [line for line in both.splitlines() if not line.startswith("#")] == [
        targets,
        f"@cert-authority tidegate {hosts}",
    ]
    assert json.loads(alice("keys", "ssh", "--json")[1])["targets"] == targets
    assert alice("keys", "ssh", "--targets", "--hosts")[0] == 2
