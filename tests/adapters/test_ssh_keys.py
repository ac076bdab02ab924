"""SSH keys of the folder: made once and apart from each other, and what real OpenSSH makes of what they sign."""

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_identity

from proxy.access import ssh_wire as wire
from proxy.access.certificates import LIFE_MOST, Certificates
from proxy.access.tokens import LEEWAY_MOST
from proxy.adapters.clock import SystemClock
from proxy.adapters.keys import OVERLAP, KeyFolder
from proxy.adapters.ssh_keys import ALIAS, Ed25519SshKeys, pem, ssh_keys
from proxy.core.access import Wish
from proxy.core.errors import Denied, PeerError, Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.things import a_grant

SSHD = Path("/usr/sbin/sshd")
real_openssh = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None or shutil.which("ssh") is None or not SSHD.exists(),
    reason="OpenSSH is not installed",
)
FILES = ("ssh_targets_ca", "ssh_hosts_ca", "ssh_host_key")


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "keys")


@pytest.fixture
def keys(folder: KeyFolder) -> Ed25519SshKeys:
    return ssh_keys(folder, SystemClock())


def public_key(key: Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return wire.read_line(line.decode())


def test_they_are_made_once_and_closed_to_others(folder: KeyFolder) -> None:
    first, second = (ssh_keys(folder, FakeClock()) for _ in range(2))
    (users,) = folder.path.glob("ssh-users-*.pem")
    for name in (*FILES, users.name):
        assert (folder.path / name).stat().st_mode & 0o777 == 0o600
        assert (folder.path / name).read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    hosts = [wire.read_certificate(wire.read_line(each.host_certificate([]).decode())) for each in (first, second)]
    assert hosts[0].says.key == hosts[1].says.key
    assert hosts[0].authority == hosts[1].authority
    assert first.user_authorities() == second.user_authorities()
    assert first.targets_authority() == second.targets_authority()


def test_the_authorities_are_apart(keys: Ed25519SshKeys) -> None:
    lines = [keys.targets_authority(), keys.hosts_authority(), *keys.user_authorities()]
    assert len(set(lines)) == 3
    (users,) = keys.user_authorities()
    assert users not in [wire.read_line(line.decode()) for line in lines[:2]]


@pytest.mark.parametrize("name", FILES)
def test_one_key_under_two_names_is_refused(folder: KeyFolder, name: str) -> None:
    ssh_keys(folder, FakeClock())
    (users,) = folder.path.glob("ssh-users-*.pem")
    folder.write(name, users.read_bytes())
    with pytest.raises(Unavailable, match="one key under two names"):
        ssh_keys(folder, FakeClock())


@pytest.mark.parametrize("data", [b"", b"rubbish", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_what_is_no_key_is_named(folder: KeyFolder, data: bytes) -> None:
    folder.write("ssh_hosts_ca", data)
    with pytest.raises(Unavailable, match="ssh_hosts_ca"):
        ssh_keys(folder, FakeClock())


def test_a_key_that_others_may_read_is_refused(folder: KeyFolder) -> None:
    ssh_keys(folder, FakeClock())
    (folder.path / "ssh_targets_ca").chmod(0o640)
    with pytest.raises(Unavailable, match="open to others"):
        ssh_keys(folder, FakeClock())


# -- rotation ------------------------------------------------------------------------------------------------------


def certified(keys: Ed25519SshKeys, clock: FakeClock) -> bytes:
    """A fresh certificate of a user's."""
    grant = a_grant("grant-1", starts=clock.now(), ends=clock.now() + 3600)
    key = public_key(Ed25519PrivateKey.generate())
    line, _ = Certificates(keys, clock, lambda: LIFE_MOST).issue(grant, "alice", key)
    return wire.read_line(line)


def believed(keys: Ed25519SshKeys, clock: FakeClock, certificate: bytes) -> bool:
    wish = Wish("sess-1", "ssh", a_grant("grant-1").account, "10.0.0.1")
    try:
        Certificates(keys, clock).verify(certificate, wish)
    except Denied:
        return False
    return True


def test_a_users_certificate_outlives_the_rotation_of_what_signed_it(folder: KeyFolder) -> None:
    clock = FakeClock()
    ours, theirs = (ssh_keys(folder, clock) for _ in range(2))
    old = certified(ours, clock)
    ours.users.rotate(clock.now())
    theirs.reload()
    clock.advance(OVERLAP / 2)
    between = certified(ours, clock)  # the new one signs when everybody has read it
    assert wire.read_certificate(between).authority == wire.read_certificate(old).authority
    clock.advance(OVERLAP / 2)
    new = certified(ours, clock)
    assert wire.read_certificate(new).authority != wire.read_certificate(old).authority
    for keys in (ours, theirs):
        assert [believed(keys, clock, each) for each in (old, between, new)] == [True] * 3
    clock.advance(LIFE_MOST + LEEWAY_MOST + 1)
    for keys in (ours, theirs):
        assert keys.user_authorities() == (wire.read_certificate(new).authority,)


def test_what_a_stolen_authority_signed_is_refused_at_once(folder: KeyFolder) -> None:
    clock = FakeClock()
    ours, theirs = (ssh_keys(folder, clock) for _ in range(2))
    old = certified(ours, clock)
    ours.users.rotate(clock.now(), overlap=0.0, distrust=True)
    assert believed(theirs, clock, old)
    theirs.reload()
    for keys in (ours, theirs):
        assert not believed(keys, clock, old)
        assert believed(keys, clock, certified(ours, clock))


def signer(keys: Ed25519SshKeys) -> bytes:
    """Who signs what targets are shown, as the blob of their line."""
    _, line = keys.issue_for_target("ops", "sess-1")
    return wire.read_certificate(wire.read_line(line.decode())).authority


def line_of(line: bytes) -> bytes:
    return wire.read_line(line.decode())


def test_the_next_authority_of_targets_signs_when_it_is_told_to(folder: KeyFolder) -> None:
    ours, theirs = (ssh_keys(folder, FakeClock()) for _ in range(2))
    first = line_of(ours.targets_authority())
    assert ours.next_targets_authority() == b""
    with pytest.raises(PeerError) as refused:
        ours.targets.switch()
    assert refused.value.code == "conflict"
    ours.targets.prepare()
    second = line_of(ours.next_targets_authority())
    ours.targets.prepare()  # it is there: targets may believe it already
    assert line_of(ours.next_targets_authority()) == second != first
    assert signer(ours) == first
    theirs.targets.switch()
    assert (signer(theirs), signer(ours)) == (second, first)
    ours.reload()
    assert (signer(ours), ours.next_targets_authority()) == (second, b"")
    assert line_of(ours.targets_authority()) == second


def test_a_step_that_nobody_was_told_of_is_taken_back(folder: KeyFolder) -> None:
    keys = ssh_keys(folder, FakeClock())
    first = line_of(keys.targets_authority())
    keys.targets.prepare()()
    assert keys.next_targets_authority() == b""
    keys.targets.prepare()
    second = line_of(keys.next_targets_authority())
    keys.targets.switch()()
    for each in (keys, ssh_keys(folder, FakeClock())):
        assert (line_of(each.targets_authority()), line_of(each.next_targets_authority())) == (first, second)
        assert signer(each) == first


def test_a_switch_that_was_killed_half_way_is_one(folder: KeyFolder) -> None:
    keys = ssh_keys(folder, FakeClock())
    keys.targets.prepare()
    second = line_of(keys.next_targets_authority())
    folder.write("ssh_targets_ca", (folder.path / "ssh_targets_ca.next").read_bytes())
    again = ssh_keys(folder, FakeClock())
    assert (signer(again), again.next_targets_authority()) == (second, b"")
    again.targets.prepare()
    assert line_of(again.next_targets_authority()) != second


def test_no_certificate_is_for_anybody(keys: Ed25519SshKeys) -> None:
    with pytest.raises(ValueError, match="somebody"):
        keys.issue_for_target("", "sess-1")
    key = public_key(Ed25519PrivateKey.generate())
    with pytest.raises(ValueError, match="somebody"):
        keys.issue_user(key, "", "grant-1", "alice", (), 1, 2)


KINDS = [
    Ed25519PrivateKey.generate(),
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP384R1()),
    ec.generate_private_key(ec.SECP521R1()),
    rsa.generate_private_key(65537, 2048),
]


@pytest.mark.parametrize("key", KINDS, ids=lambda key: wire.read_key(public_key(key)).type)
def test_another_library_reads_and_verifies_a_users_certificate(
    key: Ed25519PrivateKey, keys: Ed25519SshKeys
) -> None:
    line = keys.issue_user(public_key(key), "ops", "grant-1", "alice", ("10.0.0.0/8", "2001:db8::/32"), 100, 700)
    read = load_ssh_public_identity(line)
    read.verify_cert_signature()
    certified = read.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    assert wire.read_line(certified) == public_key(key)
    assert read.key_id == b"grant-1"
    assert read.valid_principals == [b"ops"]
    assert (read.valid_after, read.valid_before) == (100, 700)
    assert read.critical_options == {b"source-address": b"10.0.0.0/8,2001:db8::/32"}
    assert read.extensions == {b"identity@tidegate": b"alice"}
    signer = read.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    assert (wire.read_line(signer),) == keys.user_authorities()


def test_serials_differ(keys: Ed25519SshKeys) -> None:
    key = public_key(Ed25519PrivateKey.generate())
    lines = [keys.issue_user(key, "ops", "grant-1", "alice", (), 1, 2).decode() for _ in range(4)]
    assert len({wire.read_certificate(wire.read_line(line)).says.serial for line in lines}) == 4


def listed(tmp_path: Path, line: bytes) -> str:
    file = tmp_path / "shown-cert.pub"
    file.write_bytes(line + b"\n")
    done = subprocess.run(["ssh-keygen", "-L", "-f", file], capture_output=True, text=True, check=True)
    return done.stdout


SK_ED25519 = wire.PublicKey("sk-ssh-ed25519@openssh.com", (b"k" * 32, b"ssh:")).blob


@real_openssh
def test_ssh_keygen_reads_what_is_signed(keys: Ed25519SshKeys, tmp_path: Path) -> None:
    key = public_key(Ed25519PrivateKey.generate())
    now = int(SystemClock().now())
    user = listed(tmp_path, keys.issue_user(key, "ops", "grant-1", "alice", ("10.0.0.0/8",), now - 60, now + 600))
    assert "ssh-ed25519-cert-v01@openssh.com user certificate" in user
    assert 'Key ID: "grant-1"' in user
    assert "source-address 10.0.0.0/8" in user
    assert "identity@tidegate" in user
    assert "permit-" not in user
    token = listed(tmp_path, keys.issue_user(SK_ED25519, "ops", "grant-1", "alice", (), now, now + 600))
    assert "sk-ssh-ed25519-cert-v01@openssh.com user certificate" in token
    host = listed(tmp_path, keys.host_certificate(["Gate.example", "", "gate.example"]))
    assert "host certificate" in host
    assert [each.strip() for each in host.partition("Principals:")[2].splitlines()[1:3]] == [ALIAS, "gate.example"]
    target = listed(tmp_path, keys.issue_for_target("ops", "sess-1")[1])
    assert "permit-pty" in target
    assert "permit-port-forwarding" not in target
    forwarding = listed(tmp_path, keys.issue_for_target("ops", "sess-1", forwarding=True)[1])
    assert "permit-port-forwarding" in forwarding


@dataclass
class Sshd:
    """A real sshd that believes the targets' authority, and shows the gateway's host key with its certificate."""

    port: int
    folder: Path

    def run(self, key: bytes, certificate: bytes, *, alias: str = ALIAS) -> "subprocess.CompletedProcess[str]":
        identity = self.folder / "id"
        identity.write_bytes(key)
        identity.chmod(0o600)
        (self.folder / "id-cert.pub").write_bytes(certificate + b"\n")
        options = {
            "HostKeyAlias": alias,
            "UserKnownHostsFile": self.folder / "known_hosts",
            "GlobalKnownHostsFile": "none",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "BatchMode": "yes",
            "CertificateFile": self.folder / "id-cert.pub",
        }
        given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        command = ["ssh", "-F", "none", *given, "-i", identity, "-p", str(self.port), "127.0.0.1", "echo", "in"]
        return subprocess.run(command, capture_output=True, text=True, timeout=50)


@pytest.fixture
def sshd(keys: Ed25519SshKeys, folder: KeyFolder, tmp_path: Path) -> Iterator[Sshd]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "host-cert.pub").write_bytes(keys.host_certificate(["gate.example"]) + b"\n")
    (tmp_path / "targets.pub").write_bytes(keys.targets_authority() + b"\n")
    (tmp_path / "known_hosts").write_bytes(b"@cert-authority tidegate,other " + keys.hosts_authority() + b"\n")
    config = tmp_path / "sshd_config"
    config.write_text(
        f"""ListenAddress 127.0.0.1:{port}
HostKey {folder.path / "ssh_host_key"}
HostCertificate {tmp_path / "host-cert.pub"}
TrustedUserCAKeys {tmp_path / "targets.pub"}
AuthorizedKeysFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
"""
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with subprocess.Popen([SSHD, "-D", "-e", "-f", config], stderr=subprocess.PIPE) as running:
        assert running.stderr is not None
        while b"Server listening" not in (line := running.stderr.readline()):
            assert line, "sshd did not start"
        yield Sshd(port, tmp_path)
        running.terminate()
        running.stderr.read()


@real_openssh
def test_a_real_sshd_lets_its_sessions_in_and_no_user_past_the_gateway(keys: Ed25519SshKeys, sshd: Sshd) -> None:
    me = getpass.getuser()
    done = sshd.run(*keys.issue_for_target(me, "sess-1"))
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    assert sshd.run(*keys.issue_for_target("somebody-else", "sess-1")).returncode == 255
    own, now = Ed25519PrivateKey.generate(), int(SystemClock().now())
    users = keys.issue_user(public_key(own), me, "grant-1", "alice", (), now - 60, now + 600)
    refused = sshd.run(pem(own), users)
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr


@real_openssh
def test_a_real_client_believes_the_host_by_its_alias_and_by_no_other_name(
    keys: Ed25519SshKeys, sshd: Sshd
) -> None:
    done = sshd.run(*keys.issue_for_target(getpass.getuser(), "sess-1"), alias="other")
    assert done.returncode == 255
    assert "host key" in done.stderr.lower()
