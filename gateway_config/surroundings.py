"""What the configuration needs of the machine: secrets that resolve, certificates and keys that exist and fit.

The only checks with I/O; ``load(..., with_surroundings=False)`` leaves them out, for checking a file
away from its machine.
"""

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from gateway_config.listeners import ServerTls
from gateway_config.postgres import Login, PostgresResource
from gateway_config.problems import Finding, Place
from gateway_config.references import (
    MAX_SECRET,
    SecretReference,
    Unresolved,
    open_to_everyone,
    resolve,
)
from gateway_config.resources import Resource
from gateway_config.schema import Config
from gateway_config.ssh import SshAccount, SshResource


def findings(config: Config, environ: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Every secret and file that the gateway would not be able to use."""
    for place, reference in secrets(config):
        try:
            resolve(reference, config.base, environ)
        except Unresolved as error:
            yield place, str(error)
    for index, listener in enumerate(config.listeners):
        yield from _server_tls(config, listener.tls, ("listeners", index, "tls"))
    yield from _server_tls(config, config.api.tls, ("api", "tls"))
    yield from _trail(config)
    for index, resource in enumerate(config.resources):
        yield from _resource(config, resource, ("resources", index))


def _trail(config: Config) -> Iterator[Finding]:
    folder, authority = config.trail.heads_folder, config.trail.heads_ca
    if folder is not None and not config.locate(folder).is_dir():
        yield ("trail", "heads_folder"), f"{config.locate(folder)} is no folder"
    if authority is not None:
        yield from _authorities(config.locate(authority), ("trail", "heads_ca"))


def secrets(config: Config) -> Iterator[tuple[Place, SecretReference]]:
    """Every reference of the file, with its place."""
    if config.store.password:
        yield ("store", "password"), config.store.password
    if config.trail.heads_token:
        yield ("trail", "heads_token"), config.trail.heads_token
    for index, resource in enumerate(config.resources):
        for place, login in _logins(resource, ("resources", index)):
            if login.password:
                yield (*place, "password"), login.password


def _logins(resource: Resource, place: Place) -> Iterator[tuple[Place, Login | SshAccount]]:
    for index, account in enumerate(resource.accounts):
        if isinstance(account, Login | SshAccount):
            yield (*place, "accounts", index), account
    if isinstance(resource, PostgresResource) and resource.control:
        yield (*place, "control"), resource.control


def _resource(config: Config, resource: Resource, place: Place) -> Iterator[Finding]:
    if isinstance(resource, PostgresResource):
        yield from _postgres(config, resource, place)
    elif isinstance(resource, SshResource):
        for index, account in enumerate(resource.accounts):
            if account.key:
                yield from _private_key(config.locate(account.key), (*place, "accounts", index, "key"))


def _postgres(config: Config, resource: PostgresResource, place: Place) -> Iterator[Finding]:
    if not resource.system_authorities:
        yield from _authorities(config.locate(resource.tls_ca), (*place, "tls_ca"))
    yield from _client_tls(config, resource.client_certificate, resource.client_key, place)
    for where, login in _logins(resource, place):
        if isinstance(login, Login):
            yield from _client_tls(config, login.client_certificate, login.client_key, where)


def _server_tls(config: Config, tls: ServerTls | None, place: Place) -> Iterator[Finding]:
    if tls:
        names = ("certificate", "key")
        yield from _chain(config.locate(tls.certificate), config.locate(tls.key), place, names)


def _client_tls(config: Config, certificate: Path | None, key: Path | None, place: Place) -> Iterator[Finding]:
    if certificate and key:
        names = ("client_certificate", "client_key")
        yield from _chain(config.locate(certificate), config.locate(key), place, names)


def _authorities(path: Path, place: Place) -> Iterator[Finding]:
    missing = _unreadable(path)
    if missing:
        yield place, missing
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError):
        yield place, f"{path} holds no certificate in PEM form"


def _chain(certificate: Path, key: Path, place: Place, names: tuple[str, str]) -> Iterator[Finding]:
    """Both files are there, the key is guarded, not encrypted, and the certificate's own."""
    unreadable = [(name, _unreadable(path)) for name, path in zip(names, (certificate, key), strict=True)]
    if any(problem for _, problem in unreadable):
        yield from (((*place, name), problem) for name, problem in unreadable if problem)
        return
    if open_to_everyone(key.stat()):
        yield (*place, names[1]), _open(key)
    try:
        # A password of "" keeps OpenSSL from asking at the terminal where the key is encrypted.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError, ValueError):
        yield (
            (*place, names[0]),
            f"{certificate} and {key} are not a certificate and its unencrypted private key, in PEM form",
        )


def _private_key(path: Path, place: Place) -> Iterator[Finding]:
    """The file is there, guarded, and a private key that needs no passphrase."""
    missing = _unreadable(path)
    if missing:
        yield place, missing
        return
    if open_to_everyone(path.stat()):
        yield place, _open(path)
    if not _is_private_key(path):
        yield place, f"{path} is no unencrypted private key, in OpenSSH's or PEM form"


def _is_private_key(path: Path) -> bool:
    with path.open("rb") as file:
        data = file.read(MAX_SECRET)
    load = load_ssh_private_key if b"BEGIN OPENSSH" in data else load_pem_private_key
    try:
        return isinstance(load(data, None), RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _open(path: Path) -> str:
    return f"{path}: everyone on this machine may read or change it; chmod o-rwx it"


def _unreadable(path: Path) -> str:
    try:
        with path.open("rb"):
            return ""
    except OSError as error:
        return f"{path}: {error.strerror or 'cannot be read'}"
