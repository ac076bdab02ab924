"""Secrets and certificates that the file names and the machine does not have, or has in a bad way."""

from functools import lru_cache

import pytest

from gateway_config.loading import read
from gateway_config.problems import ConfigProblems
from tests.gateway_config.files import pair, private_key, put, toml

TEXT = toml(
    """
    [api]
    tls = { certificate = "tls/a.pem", key = "tls/a.key" }

    [[listeners]]
    name = "pg"
    protocol = "postgres"
    address = "127.0.0.1:1"
    tls = { certificate = "tls/a.pem", key = "tls/a.key" }

    [[resources]]
    name = "shop"
    protocol = "postgres"
    address = "h:1"
    tls_ca = "tls/ca.pem"
    client_certificate = "tls/client.pem"
    client_key = "tls/client.key"
    [[resources.accounts]]
    name = "a"
    password = "file:secrets/a"
    [[resources.accounts]]
    name = "b"
    client_certificate = "tls/b.pem"
    client_key = "tls/b.key"
    [resources.control]
    user = "c"
    password = "env:CONTROL"
    """
)


@lru_cache
def known(name):
    return pair(name)


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "client", "b"):
        put(tmp_path / "tls" / f"{name}.pem", known(name).certificate)
        put(tmp_path / "tls" / f"{name}.key", known(name).key)
    put(tmp_path / "tls" / "ca.pem", known("ca").certificate)
    put(tmp_path / "secrets" / "a", "hunter2")
    return tmp_path


def found(folder, **options):
    try:
        read(TEXT, source="x", base=folder, environ={"CONTROL": "x"}, **options)
    except ConfigProblems as error:
        return {each.path: each.message for each in error.problems}
    return {}


def test_all_is_there(folder):
    assert found(folder) == {}


def test_nothing_is_there(tmp_path):
    with pytest.raises(ConfigProblems) as raised:
        read(TEXT, source="x", base=tmp_path, environ={})
    assert {each.path for each in raised.value.problems} == {
        "api.tls.certificate",
        "api.tls.key",
        "listeners[0].tls.certificate",
        "listeners[0].tls.key",
        "resources[0].tls_ca",
        "resources[0].client_certificate",
        "resources[0].client_key",
        "resources[0].accounts[0].password",
        "resources[0].accounts[1].client_certificate",
        "resources[0].accounts[1].client_key",
        "resources[0].control.password",
    }
    assert found(tmp_path, with_surroundings=False) == {}


@pytest.mark.parametrize(
    ("file", "data", "mode", "path", "why"),
    [
        ("tls/b.key", known("b").key, 0o644, "resources[0].accounts[1].client_key", "chmod o-rwx"),
        (
            "tls/b.key",
            known("b").encrypted_key,
            0o600,
            "resources[0].accounts[1].client_certificate",
            "unencrypted",
        ),
        (
            "tls/b.key",
            known("a").key,
            0o600,
            "resources[0].accounts[1].client_certificate",
            "are not a certificate",
        ),
        ("tls/b.pem", b"nothing", 0o600, "resources[0].accounts[1].client_certificate", "are not a certificate"),
        ("tls/ca.pem", b"nothing", 0o600, "resources[0].tls_ca", "no certificate in PEM form"),
        ("secrets/a", b"hunter2", 0o644, "resources[0].accounts[0].password", "everyone on this machine"),
    ],
)
def test_what_is_there_but_wrong(folder, file, data, mode, path, why):
    put(folder / file, data, mode)
    ((where, message),) = found(folder).items()
    assert where == path
    assert why in message
    assert "hunter2" not in message


HOST = toml(
    """
    [[resources]]
    name = "box"
    protocol = "ssh"
    address = "h:22"
    trust_first_use = true
    [[resources.accounts]]
    name = "a"
    password = "env:BOX"
    [[resources.accounts]]
    name = "b"
    key = "secrets/b"
    """
)


def found_of_host(folder, environ):
    try:
        read(HOST, source="x", base=folder, environ=environ)
    except ConfigProblems as error:
        return {each.path: each.message for each in error.problems}
    return {}


@pytest.mark.parametrize("key", [private_key(), known("a").key], ids=["openssh", "pem"])
def test_a_host_is_entered_by_what_is_there(tmp_path, key):
    assert set(found_of_host(tmp_path, {})) == {"resources[0].accounts[0].password", "resources[0].accounts[1].key"}
    put(tmp_path / "secrets" / "b", key)
    assert found_of_host(tmp_path, {"BOX": "x"}) == {}


@pytest.mark.parametrize(
    ("data", "mode", "why"),
    [
        (private_key(), 0o604, "chmod o-rwx"),
        (private_key(b"secret"), 0o600, "no unencrypted private key"),
        (known("a").encrypted_key, 0o600, "no unencrypted private key"),
        (known("a").certificate, 0o600, "no unencrypted private key"),
        (private_key(kind="dsa"), 0o600, "no unencrypted private key"),
        (b"", 0o600, "no unencrypted private key"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", 0o600, "no unencrypted private key"),
    ],
    ids=["open", "encrypted", "encrypted pem", "certificate", "dsa", "empty", "cut short"],
)
def test_a_key_of_a_host_that_cannot_be_used(tmp_path, data, mode, why):
    put(tmp_path / "secrets" / "b", data, mode)
    ((where, message),) = found_of_host(tmp_path, {"BOX": "x"}).items()
    assert where == "resources[0].accounts[1].key"
    assert why in message


def test_system_authorities_are_no_file(folder):
    text = TEXT.replace('tls_ca = "tls/ca.pem"', 'tls_ca = "system"')
    assert read(text, source="x", base=folder, environ={"CONTROL": "x"}).resources[0].system_authorities
