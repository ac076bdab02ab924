"""What every process of the gateway stands on: configuration, keys, store, tokens. For ``worker`` and ``api``."""

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from gateway_config.contents import FileContent, contents, renewed
from gateway_config.difference import Change, difference
from gateway_config.listeners import ServerTls
from gateway_config.loading import load
from gateway_config.schema import Config
from proxy.access.certificates import Certificates
from proxy.access.limits import AccessLimits
from proxy.access.seals import Seals
from proxy.access.tokens import Tokens
from proxy.adapters import configuration
from proxy.adapters.clock import SystemClock, UlidIds
from proxy.adapters.doorbell import UnixDoorbell, bells
from proxy.adapters.keys import FileHeadMemory, FileSeal, FileTokenKeys, HeadSigner, KeyFolder
from proxy.adapters.ssh_keys import Ed25519SshKeys, ssh_keys
from proxy.adapters.store.opening import open_store
from proxy.adapters.store.store import SqlStore
from proxy.core.identity import Catalog

VERSION = "0.1.0"


@dataclass(slots=True)
class Configured:
    """The configuration as it is now; replaced whole, kept when the file is broken."""

    file: Path
    config: Config
    catalog: Catalog
    contents: Mapping[str, FileContent] = field(default_factory=dict)
    """What stood behind the settings when they were read: see ``gateway_config.contents``."""
    listeners: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path) -> "Configured":
        """``ConfigProblems`` or ``Unavailable`` when it cannot be used."""
        config = load(file)
        return cls(file, config, configuration.catalog(config), contents(config))

    def reload(self) -> tuple[str, ...]:
        """Read the file again; the settings that changed, or lead to something new. Raises, changing nothing, when
        the file is broken."""
        return self.take(Configured.read(self.file))

    def take(self, fresh: "Configured") -> tuple[str, ...]:
        """Go by what ``fresh`` read; the settings that changed, or lead to something new."""
        changed = tuple(change.path for change in difference(self.config, fresh.config))
        news = tuple(each.path for each in self.renewed(fresh) if each.path not in changed)
        self.config, self.catalog, self.contents = fresh.config, fresh.catalog, fresh.contents
        for listener in self.listeners:
            listener()
        return changed + news

    def renewed(self, fresh: "Configured") -> list[Change]:
        """The settings that lead to something new in ``fresh``: another certificate, another password."""
        return renewed(self.contents, fresh.contents)

    def limits(self) -> AccessLimits:
        """What the access package may cost, as configured now."""
        return AccessLimits(
            sessions_per_grant=self.config.limits.sessions_per_grant,
            request_life=self.config.api.request_expiry,
            pending_per_identity=self.config.limits.pending_requests,
        )


@dataclass(frozen=True, slots=True)
class Foundation:
    """What both kinds of process stand on."""

    configured: Configured
    clock: SystemClock
    ids: UlidIds
    keys: FileTokenKeys
    key_folder: KeyFolder
    seals: Seals
    heads: HeadSigner
    head_memory: FileHeadMemory
    bell: UnixDoorbell
    store: SqlStore
    store_url: str
    tokens: Tokens
    ssh_keys: Ed25519SshKeys
    certificates: Certificates

    def reload_keys(self) -> None:
        """Read again what others rotated."""
        self.keys.reload()
        self.ssh_keys.reload()


@contextlib.asynccontextmanager
async def founded(configured: Configured, node: str) -> AsyncIterator[Foundation]:
    """Open keys and store for a process called ``node``."""
    config = configured.config
    clock = SystemClock()
    ids = UlidIds(clock)
    folder = KeyFolder(config.keys_dir)
    keys = FileTokenKeys(folder, clock, lambda: longest_token(configured.config))
    ssh = ssh_keys(folder, clock)
    bell = UnixDoorbell(bells(config.state_dir))
    url = store_url(config)
    async with open_store(url, node=node, clock=clock, bell=bell) as store:
        yield Foundation(
            configured,
            clock,
            ids,
            keys,
            folder,
            Seals(FileSeal(folder)),
            HeadSigner(folder),
            FileHeadMemory(folder),
            bell,
            store,
            url,
            Tokens(
                keys,
                clock,
                ids,
                config.tokens.issuer,
                lambda: configured.config.tokens.life,
                config.tokens.leeway,
            ),
            ssh,
            Certificates(ssh, clock, lambda: configured.config.tokens.life, config.tokens.leeway),
        )
    bell.close()


def longest_token(config: Config) -> float:
    """Seconds that anything we sign may be believed, as configured now: the key that signed it is believed as long.
    Where no policy gives tokens the life of their grant, a retired key is soon one that nothing rests on."""
    grants = (each.max_duration or 0.0 for each in config.policies if each.token_life == "grant")
    return max(config.tokens.life, config.api.login_life, *grants) + config.tokens.leeway


def machine_name(config: Config) -> str:
    """This machine's name, which its workers' names begin with."""
    name = config.gateway.node or "".join(c if c.isalnum() else "-" for c in socket.gethostname().lower())[:31]
    return name or "node"


def store_url(config: Config) -> str:
    """The store's URL with its password, for the adapters' eyes only."""
    secret = configuration.store_password(config)
    if secret is None:
        return config.store_url
    parts = urlsplit(config.store_url)
    user = parts.netloc.rpartition("@")
    location = f"{user[0]}:{quote(secret.reveal(), safe='')}@{user[2]}"
    return urlunsplit(parts._replace(netloc=location))


def load_certificate(context: ssl.SSLContext, config: Config, tls: ServerTls) -> None:
    """Show this certificate from now on. ``OSError`` (``ssl.SSLError`` is one) when it cannot be read."""
    context.load_cert_chain(str(config.locate(tls.certificate)), str(config.locate(tls.key)))


def bound(host: str, port: int, *, share: bool) -> socket.socket:
    """A listening address, shared between workers where there are several (SO_REUSEPORT)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host, port))
    return sock
