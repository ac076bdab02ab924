"""``[[resources]]`` with ``protocol = "postgres"``: servers, their roles, and how the gateway enters them."""

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from gateway_config.references import SecretReference
from gateway_config.settings import Section, setting
from gateway_config.targets import AnyResource
from gateway_config.values import TargetName


class Login(Section):
    """How the gateway proves to a target that it may use a login."""

    password: SecretReference | None = setting(
        "Reference to the password (`env:NAME`, `file:PATH`).", "new_sessions", None
    )
    client_certificate: Path | None = setting(
        "Certificate (PEM) to show to the target; the resource's where left out.", "new_sessions", None
    )
    client_key: Path | None = setting("The certificate's private key (PEM).", "new_sessions", None)

    @model_validator(mode="after")
    def _certificate_has_key(self) -> "Login":
        if (self.client_certificate is None) != (self.client_key is None):
            raise ValueError("needs both `client_certificate` and `client_key`, or neither")
        return self


class PostgresAccount(Login):
    """A login on the target (a database role) that people ask for; only the gateway holds its credential."""

    name: TargetName = setting("The account's name on the target: the user people connect as.", "new_sessions")
    databases: tuple[TargetName, ...] = setting("Databases it may open; empty: any.", "new_sessions", ())


class Control(Login):
    """A login the gateway uses for itself: to verify that a cut session's backend is gone, and to terminate it.
    It needs `pg_signal_backend` and `pg_read_all_stats`."""

    user: TargetName = setting("The role's name.", "new_sessions")
    database: TargetName = setting("The database it connects to.", "new_sessions", "postgres")


class PostgresResource(AnyResource):
    """A PostgreSQL server."""

    protocol: Literal["postgres"] = setting('`"postgres"`.', "new_sessions")
    tls_mode: Literal["verify-full", "verify-ca", "require", "disable"] = setting(
        "TLS to the target, as libpq's sslmode has it. Below `verify-ca` md5 and cleartext passwords are refused.",
        "new_sessions",
        "verify-full",
    )
    tls_ca: Path = setting(
        'Certificates (PEM) of the authorities that may vouch for the target; `"system"`: those of the machine.',
        "new_sessions",
        Path("system"),
    )
    tls_server_name: str | None = setting(
        "The name the target's certificate must have, where it is not the host of `address`.", "new_sessions", None
    )
    client_certificate: Path | None = setting(
        "Certificate (PEM) shown for accounts that have none of their own.", "new_sessions", None
    )
    client_key: Path | None = setting("The certificate's private key (PEM).", "new_sessions", None)
    protocol_version: Literal["client", "3.0"] = setting(
        "PostgreSQL protocol towards the target: what the client speaks, or always 3.0.", "new_sessions", "client"
    )
    application_name: Literal["client", "prefix", "suffix"] = setting(
        "What sessions are called on the target: what their client says (where it says nothing, "
        "`tidegate:WHO:SESSION`), or that with `tidegate:WHO:SESSION` before or behind it, within 63 bytes.",
        "new_sessions",
        "client",
    )
    accounts: tuple[PostgresAccount, ...] = setting(
        "The accounts people can ask for.", "new_sessions", min_length=1
    )
    control: Control | None = setting("The gateway's own login, for cuts that are verified.", "new_sessions", None)

    @property
    def system_authorities(self) -> bool:
        """Whether the machine's own authorities vouch for the target."""
        return self.tls_ca == Path("system")

    @model_validator(mode="after")
    def _can_be_entered(self) -> "PostgresResource":
        if (self.client_certificate is None) != (self.client_key is None):
            raise ValueError("needs both `client_certificate` and `client_key`, or neither")
        if self.tls_mode == "disable":
            self._check_no_tls_settings()
        logins: tuple[Login, ...] = (*self.accounts, self.control) if self.control else self.accounts
        if any(each.password is None and not self._certificate(each) for each in logins):
            raise ValueError("has a login with neither `password` nor `client_certificate`")
        return self

    def _certificate(self, login: Login) -> Path | None:
        return login.client_certificate or self.client_certificate

    def _check_no_tls_settings(self) -> None:
        logins: tuple[Login, ...] = (*self.accounts, self.control) if self.control else self.accounts
        if (
            not self.system_authorities
            or self.tls_server_name is not None
            or any(self._certificate(each) for each in logins)
        ):
            raise ValueError('has TLS settings or certificates together with tls_mode = "disable"')
