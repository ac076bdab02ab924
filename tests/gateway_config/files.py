"""A folder an operator might have: certificates, keys and secrets, and TOML texts that use them."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519

import gateway_config
from gateway_config.references import SecretReference
from gateway_config.schema import Config
from gateway_config.ssh import SshAccount
from gateway_config.surroundings import secrets

EXAMPLES = sorted((Path(gateway_config.__file__).parent / "examples").glob("*.toml"))

# The hash of a random password that nobody knows.
HASH = "$argon2id$v=19$m=65536,t=3,p=4$b0tPaVJmZ0R5bUs5Q1VwUA$Y1pWb0x5dEhYb2pKZ2V4bE1wWnBrT3d6VmFiY2RlZmc"

MINIMAL = f"""
[[users]]
name = "alice"
password_hash = "{HASH}"

[[resources]]
name = "shop"
protocol = "postgres"
address = "db.example.com:5432"

[[resources.accounts]]
name = "readonly"
password = "env:SHOP"
"""

ENVIRON = {"SHOP": "hunter2"}


def toml(text: str) -> str:
    """``text`` without its indentation."""
    return dedent(text).lstrip("\n")


@dataclass(frozen=True)
class Pair:
    certificate: bytes
    key: bytes
    encrypted_key: bytes


def pair(name: str = "localhost") -> Pair:
    """A self-signed certificate and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(*form, serialization.NoEncryption()),
        key.private_bytes(*form, serialization.BestAvailableEncryption(b"secret")),
    )


def private_key(passphrase: bytes = b"", *, kind: str = "ed25519") -> bytes:
    """A user's private key, as `ssh-keygen` writes it; of kind "dsa" in PEM."""
    if kind == "dsa":
        old = dsa.generate_private_key(1024)
        form = serialization.PrivateFormat.PKCS8
        return old.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    guard = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, guard
    )


def put(path: Path, data: bytes | str, mode: int = 0o600) -> Path:
    """Write a file with this mode, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(mode)
    return path


def furnish(config: Config, folder: Path, certificates: Pair) -> dict[str, str]:
    """Put what the configuration speaks of into ``folder``; the environment it needs."""
    for name in ("gateway", "gateway-client", "database-ca"):
        put(folder / "tls" / f"{name}.pem", certificates.certificate)
        put(folder / "tls" / f"{name}.key", certificates.key)
    for resource in config.resources:
        for account in resource.accounts:
            if isinstance(account, SshAccount) and account.key:
                put(folder / account.key, private_key())
    references: list[SecretReference] = [reference for _, reference in secrets(config)]
    for reference in references:
        if reference.kind == "file":
            put(folder / reference.target, "a secret\n")
    return {each.target: "a secret" for each in references if each.kind == "env"}
