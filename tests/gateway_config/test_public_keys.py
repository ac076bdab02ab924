"""OpenSSH's public keys: what is one, and what is said of what is not."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_config.public_keys import public_key


def blob(*fields):
    return base64.b64encode(b"".join(len(each).to_bytes(4) + each for each in fields)).decode()


def rsa(bits):
    return blob(b"ssh-rsa", b"\1\0\1", b"\0" + (1 << (bits - 1) | 1).to_bytes((bits + 7) // 8))


ED25519 = blob(b"ssh-ed25519", b"k" * 32)
POINT = b"\4" + b"p" * 64


@pytest.mark.parametrize(
    "line",
    [
        f"ssh-ed25519 {ED25519}",
        f"ssh-rsa {rsa(2048)}",
        f"ssh-rsa {rsa(4096)}",
        f"ecdsa-sha2-nistp256 {blob(b'ecdsa-sha2-nistp256', b'nistp256', POINT)}",
    ],
)
def test_a_key_keeps_its_algorithm_and_itself(line):
    assert public_key(line) == line
    assert public_key(f"  {line} root@web with words ") == line


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "in one line"),
        ("ssh-ed25519", "in one line"),
        (f"ssh-ed25519\n{ED25519}", "in one line"),
        (f"ssh-ed25519 {ED25519} \x1b[2J", "in one line"),
        ("ssh-ed25519 " + "A" * 20_000, "in one line"),
        (f"ssh-dss {blob(b'ssh-dss', b'p', b'q', b'g', b'y')}", "DSA"),
        (f"ssh-ed25519-cert-v01@openssh.com {blob(b'ssh-ed25519-cert-v01@openssh.com')}", "host_authorities"),
        (f"web-1 ssh-ed25519 {ED25519}", "leave out what `known_hosts` has"),
        (f"@cert-authority * ssh-ed25519 {ED25519}", "leave out what `known_hosts` has"),
        (f"sk-ssh-ed25519@openssh.com {ED25519}", "should begin with one of ssh-ed25519, ssh-rsa"),
        (f"ssh-ed448 {ED25519}", "should begin with one of"),
        (f"SSH-ED25519 {ED25519}", "should begin with one of"),
        (f"ssh-rsa {ED25519}", "is another kind"),
        (f"ssh-ed25519 {blob(b'ssh-dss', b'k' * 32)}", "is another kind"),
        (f"ssh-ed25519 {ED25519[:-3]}", "not base64"),
        ("ssh-ed25519 AAAA!AAAA", "not base64"),
        ("ssh-ed25519 ä", "not base64"),
        (f"ssh-ed25519 {ED25519[:-4]}", "cut short"),
        ("ssh-ed25519 AAA=", "cut short"),
        (f"ssh-ed25519 {blob(b'ssh-ed25519')}", "no ssh-ed25519 key"),
        (f"ssh-ed25519 {blob(b'ssh-ed25519', b'k' * 31)}", "no ssh-ed25519 key"),
        (f"ssh-ed25519 {blob(b'ssh-ed25519', b'k' * 32, b'')}", "no ssh-ed25519 key"),
        (f"ssh-rsa {blob(b'ssh-rsa', b'', b'n' * 256)}", "no ssh-rsa key"),
        (f"ssh-rsa {rsa(1024)}", "1024 bits"),
        (f"ssh-rsa {rsa(2047)}", "2047 bits"),
        (
            f"ecdsa-sha2-nistp256 {blob(b'ecdsa-sha2-nistp256', b'nistp384', POINT)}",
            "no ecdsa-sha2-nistp256 key",
        ),
        (f"ecdsa-sha2-nistp256 {blob(b'ecdsa-sha2-nistp256', POINT, b'nistp256')}", "no ecdsa-sha2-nistp256 key"),
    ],
)
def test_what_is_no_key(line, why):
    with pytest.raises(ValueError, match=why):
        public_key(line)


@given(st.binary(max_size=80), st.sampled_from(["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp521"]))
def test_any_bytes_are_a_key_or_are_refused(data, algorithm):
    with pytest.raises(ValueError, match=r"."):
        public_key(f"{algorithm} {base64.b64encode(data).decode()}")
