"""What the gateway holds to enter a target: opaque to all but the adapter that builds it and the protocol's engine.

Each protocol has its own credential (``identity.Account.credential``) and target settings
(``identity.Resource.options``). Built by ``adapters.configuration``; read by ``protocols``.
"""

from dataclasses import dataclass
from pathlib import Path


class Secret:
    """A secret's text. Only ``reveal`` gives it; it prints as ``***`` and cannot be pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be written anywhere")


@dataclass(frozen=True, slots=True)
class PostgresCredential:
    """How the gateway logs in as an account: by password, client certificate, or both (absolute PEM paths)."""

    password: Secret | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None


@dataclass(frozen=True, slots=True)
class PostgresControl:
    """The gateway's own role on the target: with it a cut session's backend is verified gone, or terminated."""

    user: str
    credential: PostgresCredential
    database: str = "postgres"


@dataclass(frozen=True, slots=True)
class PostgresTarget:
    """How the gateway reaches a PostgreSQL server.

    ``tls_mode`` is verify-full, verify-ca, require or disable, as libpq's sslmode; ``tls_ca`` an absolute PEM file,
    None for the system's authorities; ``tls_server_name`` the name to verify and to send where it is not the
    address's host ("" : the host); ``protocol_version`` is "client" (what the client speaks) or "3.0";
    ``application_name`` is "client" (sessions have the name their client gives), or where our mark stands, "prefix"
    or "suffix".
    """

    tls_mode: str = "verify-full"
    tls_ca: Path | None = None
    tls_server_name: str = ""
    protocol_version: str = "client"
    application_name: str = "client"
    control: PostgresControl | None = None

    @property
    def verified(self) -> bool:
        """Whether TLS proves who the target is: only then may md5 or a cleartext password be answered."""
        return self.tls_mode in ("verify-full", "verify-ca")


@dataclass(frozen=True, slots=True)
class SshCredential:
    """How the gateway logs in as an account: a password, a private key's file (absolute, OpenSSH or PEM), or a
    certificate that its own authority issues for each session (``issued``, for ``principal`` or, where that is "",
    for the account's name)."""

    password: Secret | None = None
    key: Path | None = None
    issued: bool = False
    principal: str = ""


PORT_MOST = 65535


@dataclass(frozen=True, slots=True)
class HostPorts:
    """The ports from ``first`` to ``last`` of a host, whose name or address is in lower case. A name is not the
    address it stands for: they are compared as they are asked for."""

    host: str
    first: int
    last: int

    def covers(self, host: str, port: int) -> bool:
        return host.lower() == self.host and self.first <= port <= self.last

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        if (self.first, self.last) == (1, PORT_MOST):
            return f"{host}:*"
        return f"{host}:{self.first}" if self.first == self.last else f"{host}:{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A unix socket, by its whole path."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class SshAllowance:
    """What an account's sessions may do. ``forward``: what direct-tcpip and direct-streamlocal may ask for;
    ``environment``: patterns (as in file names) of the variables that are passed on."""

    shell: bool = True
    exec: bool = True
    transfer: bool = True
    forward: tuple[HostPorts | UnixSocket, ...] = ()
    environment: tuple[str, ...] = ("LANG", "LC_*", "TERM", "COLORTERM")


@dataclass(frozen=True, slots=True)
class SshLogin:
    """``Account.credential`` of an SSH account. ``forced_command``: the host runs one command for it, whatever is
    asked for."""

    credential: SshCredential
    allowance: SshAllowance = SshAllowance()
    forced_command: bool = False


@dataclass(frozen=True, slots=True)
class SshTarget:
    """How the gateway knows that an SSH host is the right one: pinned ``host_keys`` or ``host_authorities`` (lines
    ``algorithm base64``), or, with ``trust_first``, the key it showed the first time. ``max_sessions`` and
    ``max_forwards``: channels for commands and forwarded connections that one connection may have at once."""

    host_keys: tuple[str, ...] = ()
    host_authorities: tuple[str, ...] = ()
    trust_first: bool = False
    max_sessions: int = 10
    max_forwards: int = 256


@dataclass(frozen=True, slots=True)
class TcpTarget:
    """A service behind plain TCP: there is nothing to know of it but its address."""
