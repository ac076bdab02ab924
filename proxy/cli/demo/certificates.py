"""A certificate authority of one's own, for a world on loopback: the demo's and the tests'.

Certificates carry what strict verifiers ask for (RFC 5280: AKI, SKI, keyUsage, EKU, names as SAN), keys are
ECDSA P-256. It knows no protocol and no process; called by ``world`` and by ``tests/peers``.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = ("localhost", "127.0.0.1", "::1")
LIFETIME = timedelta(days=365)
# Machines that verify against a clock a little behind ours must not refuse a certificate made just now.
BACKDATED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key, both PEM (the key PKCS #8, not encrypted)."""

    certificate: bytes
    key: bytes = field(repr=False)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write ``name.crt`` (0644) and ``name.key`` (0600) into ``folder``; their paths."""
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        write_file(certificate, self.certificate, mode=0o644)
        write_file(key, self.key, mode=0o600)
        return certificate, key


class Authority:
    """Signs certificates of servers and clients. ``certificate`` is its own, PEM: what a verifier trusts."""

    def __init__(self, issued: Issued) -> None:
        self._issued = issued
        self._certificate = x509.load_pem_x509_certificate(issued.certificate)
        key = serialization.load_pem_private_key(issued.key, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("an authority's key is an ECDSA key")
        self._key = key

    @classmethod
    def create(cls, name: str = "Tidegate demo authority", *, now: datetime | None = None) -> Self:
        """A new authority: self-signed, may sign certificates of servers and clients and nothing below them."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        builder = _builder(subject, subject, key.public_key(), now)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
            )
        )
        return cls(_sealed(builder.sign(key, hashes.SHA256()), key))

    @classmethod
    def at(cls, folder: Path, *, now: datetime | None = None) -> Self:
        """The authority kept in ``folder`` as ``ca.crt`` and ``ca.key``; made there if there is none."""
        certificate, key = folder / "ca.crt", folder / "ca.key"
        if certificate.exists() and key.exists():
            return cls(Issued(certificate.read_bytes(), key.read_bytes()))
        authority = cls.create(now=now)
        authority.write(folder)
        return authority

    @property
    def certificate(self) -> bytes:
        return self._issued.certificate

    def write(self, folder: Path) -> Path:
        """Write ``ca.crt`` and ``ca.key`` into ``folder``; the certificate's path."""
        return self._issued.write(folder, "ca")[0]

    def server(self, names: Iterable[str] = LOOPBACK, *, now: datetime | None = None) -> Issued:
        """A server's certificate for DNS names and IP addresses; the first name is also its common name."""
        wanted = tuple(names)
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in wanted])
        return self._issue(wanted[0], ExtendedKeyUsageOID.SERVER_AUTH, alternatives, now)

    def client(self, name: str, *, now: datetime | None = None) -> Issued:
        """A client's certificate; ``name`` is its common name (what PostgreSQL maps to a role)."""
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name)])
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, alternatives, now)

    def _issue(
        self,
        name: str,
        purpose: x509.ObjectIdentifier,
        alternatives: x509.SubjectAlternativeName,
        now: datetime | None,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            _builder(_name(name), self._certificate.subject, key.public_key(), now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(alternatives, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(issuer, critical=False)
        )
        return _sealed(builder.sign(self._key, hashes.SHA256()), key)


def write_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write ``content`` so that the file never exists, not even for a moment, with more rights than ``mode``."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: datetime | None
) -> x509.CertificateBuilder:
    start = now or datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATED)
        .not_valid_after(start + LIFETIME)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _sealed(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    return Issued(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
