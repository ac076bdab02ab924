"""The gateway's own sections: ``[gateway] [store] [recordings] [trail] [tokens] [limits] [api]``."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import AfterValidator, model_validator

from gateway_config.listeners import ServerTls
from gateway_config.references import SecretReference
from gateway_config.settings import Section, setting
from gateway_config.values import Address, Count, Duration, Flag, Size


def node_name(value: str) -> str:
    """A prefix of ids, so in their alphabet."""
    if value and not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", value):
        raise ValueError("should be 1 to 31 of a-z, 0-9 and '-', beginning with a letter or digit")
    return value


def _split(value: str) -> SplitResult:
    """The parts of a URL. The port is looked at now: ``urlsplit`` refuses a wrong one only when it is used, and
    quotes it, which may be part of a password."""
    try:
        url = urlsplit(value)
        _ = url.port
    except ValueError:
        raise ValueError("is not a URL (special characters are written as %XX)") from None
    return url


def store_url(value: str) -> str:
    """``sqlite:///PATH`` or ``postgresql://USER@HOST:PORT/NAME``, without a password in it."""
    url = _split(value)
    if url.password is not None or any("pass" in key.lower() for key, _ in parse_qsl(url.query)):
        raise ValueError('should not hold the password: write password = "env:NAME" or "file:PATH" beside it')
    if url.scheme == "sqlite" and value.startswith("sqlite:///") and len(url.path) > 1:
        return value
    if url.scheme == "postgresql" and url.hostname and len(url.path) > 1:
        return value
    raise ValueError('should be "sqlite:///PATH" or "postgresql://USER@HOST:PORT/DATABASE"')


def issuer(value: str) -> str:
    """Short enough that a token with it can still be typed at a prompt, whatever is written around it."""
    if not re.fullmatch(r"[ -~]{1,128}", value):
        raise ValueError("should be 1 to 128 printable ASCII characters")
    return value


NodeName = Annotated[str, AfterValidator(node_name)]
StoreUrl = Annotated[str, AfterValidator(store_url)]
Issuer = Annotated[str, AfterValidator(issuer)]


class Gateway(Section):
    """The process itself."""

    node: NodeName = setting(
        "This node's name, in the ids of its workers; the host's name where empty.", "restart", "", per_node=True
    )
    state_dir: Path = setting(
        "Folder for what the gateway keeps: keys, the SQLite store, recordings, sockets.",
        "restart",
        Path("state"),
        per_node=True,
    )
    workers: Count = setting("Processes that serve sessions.", "restart", 1, ge=1, le=256, per_node=True)
    log_format: Literal["auto", "json", "console"] = setting(
        "`json`: a line per event; `console`: for people; `auto`: `console` on a terminal.",
        "restart",
        "auto",
        per_node=True,
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "The least level that is logged.", "restart", "info", per_node=True
    )


class Store(Section):
    """Where requests, grants, sessions and the trail live."""

    url: StoreUrl | None = setting(
        "`sqlite:///PATH` (relative to this file's folder) or `postgresql://USER@HOST:PORT/DATABASE`; "
        "`tidegate.db` in `state_dir` where left out. Nodes of one cluster share a PostgreSQL store.",
        "restart",
        None,
        per_node=True,
    )
    password: SecretReference | None = setting(
        "Reference to the password of the URL's user (`env:NAME`, `file:PATH`).", "restart", None, per_node=True
    )
    lease: Duration = setting(
        "How long a node may be without the store before it admits nobody and cuts what it holds.",
        "restart",
        "10s",
        ge=1,
        le=300,
    )
    poll_interval: Duration = setting(
        "How often the feed of an SQLite store is looked at where nothing rings. All processes of a gateway ring; "
        "PostgreSQL notifies.",
        "restart",
        "1s",
        ge=0.01,
        le=5,
    )


class Recordings(Section):
    """Where and how sessions are recorded."""

    dir: Path | None = setting(
        "Folder of the recordings; `recordings` in `state_dir` where left out.", "restart", None, per_node=True
    )
    durability: Literal["os", "disk"] = setting(
        "`os`: written before a statement leaves (survives a killed gateway); `disk`: synced too (survives power "
        "loss).",
        "restart",
        "os",
    )
    max_text: Size = setting(
        "Longest statement that may have a password or the like in it: a longer one that might is refused, since "
        "it is not searched for what to redact. All others are recorded whole.",
        "new_sessions",
        "1MiB",
        ge=1024,
        le=1 << 28,
    )
    max_value: Size = setting(
        "Bytes kept of a bind value; of longer ones a prefix, the length and a hash.",
        "new_sessions",
        "4KiB",
        ge=16,
        le=1 << 24,
    )
    window: Size = setting(
        "Bytes of a session's journal that are mapped into memory.", "restart", "64KiB", ge=4096, le=1 << 24
    )
    min_free: Size = setting("Free disk under which new sessions are refused.", "restart", "256MiB", per_node=True)
    low_free: Size = setting(
        "Free disk under which the log of a node that serves the API says so, in time before `min_free`.",
        "live",
        "1GiB",
        per_node=True,
    )
    admins_read: Flag = setting(
        "Whether administrators may watch and replay what others did, as auditors may. Without it they see who is "
        "where and what runs, and the trail, and what is done stays between who did it and the auditors.",
        "live",
        False,
    )
    keep: Duration | None = setting(
        "How long a recording is kept after its session's end; left out: for ever. A node that serves the API "
        "deletes its own, and the trail says so.",
        "live",
        None,
        ge=3600,
    )


def heads_url(value: str) -> str:
    """``https://HOST[:PORT]/PATH``, without a user or password in it."""
    url = _split(value)
    if url.scheme != "https" or not url.hostname or url.username is not None or url.password is not None:
        raise ValueError('should be "https://HOST/PATH", without a password in it: write heads_token beside it')
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("should be printable ASCII, without spaces")
    return value


HeadsUrl = Annotated[str, AfterValidator(heads_url)]


class Trail(Section):
    """Where signed heads of the trail are kept besides. They show that the store was put back, or the trail's end
    cut off, to whoever has them: `tidegate audit verify --against`."""

    heads_folder: Path | None = setting(
        "A folder, best on another machine's disk, in which a node that serves the API appends each signed head to "
        "a file of its own. It must be there.",
        "restart",
        None,
        per_node=True,
    )
    heads_url: HeadsUrl | None = setting(
        "An `https` address that each signed head is POSTed to, as JSON.", "restart", None, per_node=True
    )
    heads_ca: Path | None = setting(
        "The authority of that address's certificate, in PEM; the system's where left out.",
        "restart",
        None,
        per_node=True,
    )
    heads_token: SecretReference | None = setting(
        "Reference to what is sent there as a bearer token (`env:NAME`, `file:PATH`).",
        "restart",
        None,
        per_node=True,
    )

    @model_validator(mode="after")
    def _fit_together(self) -> "Trail":
        if self.heads_url is None and (self.heads_ca or self.heads_token):
            raise ValueError("has `heads_ca` or `heads_token` without `heads_url`")
        return self


class Tokens(Section):
    """The short-lived tokens that name a grant."""

    issuer: Issuer = setting("The `iss` of tokens; nodes of one cluster share it.", "restart", "tidegate")
    life: Duration = setting("How long a token may be presented.", "live", "10m", ge=10, le=3600)
    leeway: Duration = setting("Clock difference that is forgiven.", "restart", "5s", le=10)
    keys_dir: Path | None = setting(
        "Folder of the signing keys; `keys` in `state_dir` where left out.", "restart", None, per_node=True
    )


class Limits(Section):
    """What anyone may cost the gateway."""

    pending: Count = setting(
        "Connections that nobody has vouched for yet, in all, per worker. Where there are so many, the oldest of "
        "the network that has most of them (an IPv4 /24, an IPv6 /48) makes room for a new one.",
        "restart",
        256,
        ge=1,
    )
    pending_per_source: Count = setting("Of those, per source address.", "restart", 16, ge=1)
    startup_timeout: Duration = setting("Until the client's first message is whole.", "new_sessions", "10s", gt=0)
    login_timeout: Duration = setting("Until the client is logged in.", "new_sessions", "30s", gt=0)
    tls_timeout: Duration = setting("For the TLS handshake.", "new_sessions", "5s", gt=0)
    idle: Duration | None = setting(
        "A session in which nothing happened for so long ends; left out: never.", "new_sessions", None, gt=0
    )
    write_stall: Duration = setting(
        "A session whose client or target takes no bytes for so long ends.", "new_sessions", "60s", gt=0
    )
    shutdown_grace: Duration = setting(
        "How long a stop waits for sessions before it cuts them.", "live", "10s", le=3600
    )
    pending_requests: Count = setting("Undecided requests of one person.", "live", 20, ge=1)
    sessions_per_grant: Count = setting("Live sessions under one grant; 0: any number.", "live", 0, ge=0)
    max_message: Size = setting(
        "The longest message of a client that is taken; a longer statement is refused.",
        "new_sessions",
        "16MiB",
        ge=65536,
        le=1 << 30,
    )
    max_bind: Size = setting(
        "The longest message with bind values that is taken.", "new_sessions", "256MiB", ge=65536, le=1 << 30
    )
    max_waiting: Size = setting(
        "What may wait in the memory of one worker for all its sessions: messages that are not whole, bytes that "
        "a peer has not taken, what is kept under names. Beyond it those that hold most are not read, then nobody "
        "new is let in, and at last whoever holds most is ended.",
        "live",
        "256MiB",
        ge=1 << 20,
    )
    cancel_guesses_per_minute: Count = setting(
        "Cancel requests with a wrong key, per source address, before its cancel requests are ignored.",
        "restart",
        10,
        ge=1,
    )

    @model_validator(mode="after")
    def _fit_together(self) -> "Limits":
        if self.pending_per_source > self.pending:
            raise ValueError("has `pending_per_source` over `pending`")
        if self.max_waiting < 2 * self.max_message:
            raise ValueError("has `max_waiting` under twice `max_message`")
        return self


class Api(Section):
    """The HTTP API for engineers, approvers, admins and auditors."""

    enabled: Flag = setting("Whether this node serves the API.", "restart", True, per_node=True)
    listen: Address = setting("`host:port` to listen on.", "restart", Address("127.0.0.1", 8443), per_node=True)
    tls: ServerTls | None = setting("Certificate and key. Required except on loopback.", "restart", None)
    failed_logins_per_source: Count = setting(
        "Failed log-ins from one source network per minute before it has to wait.", "restart", 20, ge=1
    )
    failed_logins_per_user: Count = setting(
        "Failed log-ins of one user name per minute before it has to wait.", "restart", 10, ge=1
    )
    login_life: Duration = setting("How long a log-in to the API lasts.", "restart", "12h", ge=60, le=30 * 86400)
    request_expiry: Duration = setting(
        "When a request that nobody decides lapses.", "live", "24h", ge=60, le=30 * 86400
    )

    @model_validator(mode="after")
    def _is_safe(self) -> "Api":
        if self.tls is None and not self.listen.loopback:
            raise ValueError(
                "needs `tls` (certificate and key): without it only a loopback address may be listened on"
            )
        return self
