"""The authority's certificates, as a strict verifier and as OpenSSL see them."""

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from proxy.cli.demo.certificates import LOOPBACK, Authority, Issued, write_file

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


def verifier(authority: Authority) -> verification.PolicyBuilder:
    trusted = verification.Store([x509.load_pem_x509_certificate(authority.certificate)])
    return verification.PolicyBuilder().store(trusted).time(NOW + timedelta(days=1))


def leaf(issued: Issued) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issued.certificate)


@pytest.mark.parametrize("name", LOOPBACK)
def test_a_strict_verifier_accepts_every_name_of_loopback(name: str) -> None:
    authority = Authority.create(now=NOW)
    subject = x509.IPAddress(ip_address(name)) if name != "localhost" else x509.DNSName(name)
    issued = leaf(authority.server(now=NOW))
    chain = verifier(authority).build_server_verifier(subject).verify(issued, [])
    assert chain[0] == issued


def test_another_name_another_authority_and_another_purpose_are_refused() -> None:
    authority, stranger = Authority.create(now=NOW), Authority.create(now=NOW)
    localhost = x509.DNSName("localhost")
    with pytest.raises(verification.VerificationError):
        verifier(authority).build_server_verifier(x509.DNSName("example.com")).verify(
            leaf(authority.server(now=NOW)), []
        )
    with pytest.raises(verification.VerificationError):
        verifier(authority).build_server_verifier(localhost).verify(leaf(stranger.server(now=NOW)), [])
    client = authority.client("localhost", now=NOW)
    assert verifier(authority).build_client_verifier().verify(leaf(client), []).subjects
    with pytest.raises(verification.VerificationError):
        verifier(authority).build_server_verifier(localhost).verify(leaf(client), [])


def test_what_verifiers_ask_for_is_in_every_certificate() -> None:
    authority = Authority.create(now=NOW)
    root = x509.load_pem_x509_certificate(authority.certificate)
    for certificate in (root, leaf(authority.server(now=NOW)), leaf(authority.client("alice", now=NOW))):
        found = certificate.extensions
        assert found.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        assert found.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        assert found.get_extension_for_class(x509.KeyUsage).critical
        assert found.get_extension_for_class(x509.BasicConstraints).value.ca is (certificate is root)
        assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc
    server = leaf(authority.server(now=NOW)).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(server) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_openssl_shakes_hands_with_them(tmp_path: Path) -> None:
    authority = Authority.create()
    ca = authority.write(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    server.load_cert_chain(*authority.server().write(tmp_path, "server"))
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(ca))
    client.load_cert_chain(*authority.client("alice").write(tmp_path, "client"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    here, there = socket.socketpair()
    names: list[object] = []

    def accept() -> None:
        with server.wrap_socket(there, server_side=True) as accepted:
            names.append(accepted.getpeercert())
            accepted.recv(1)

    thread = threading.Thread(target=accept)
    thread.start()
    with client.wrap_socket(here, server_hostname="127.0.0.1") as connected:
        connected.send(b"x")
        thread.join(10)
    assert isinstance(names[0], dict)
    assert names[0]["subject"] == ((("commonName", "alice"),),)


def test_a_folder_keeps_its_authority(tmp_path: Path) -> None:
    first = Authority.at(tmp_path)
    assert Authority.at(tmp_path).certificate == first.certificate
    issued = leaf(Authority.at(tmp_path).server())
    issued.verify_directly_issued_by(x509.load_pem_x509_certificate(first.certificate))


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    certificate, key = Authority.create().server().write(tmp_path, "server")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(certificate.stat().st_mode) == 0o644
    assert "PRIVATE" not in repr(Authority.create().server())
    key.chmod(0o666)
    write_file(key, b"new")
    assert (stat.S_IMODE(key.stat().st_mode), key.read_bytes()) == (0o600, b"new")
