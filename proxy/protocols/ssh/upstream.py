"""Towards the target: its host key is checked, the gateway logs in as the account, and the line is kept. Async;
used by ``engine`` and ``trial``.

Errors: ``Unreachable`` with a public text that names neither address nor credential.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncssh

from proxy.core.access import Admission
from proxy.core.errors import Unavailable, Unreachable
from proxy.core.identity import Account, Resource
from proxy.core.ports import LearntHosts, SshKeys, TargetCertificates
from proxy.core.targets import SshLogin, SshTarget
from proxy.protocols.ssh import lines
from proxy.protocols.ssh.lines import TargetLine
from proxy.protocols.ssh.transport import StreamTransport
from proxy.sessions.dialling import Reached
from proxy.sessions.transport import Stream

KEEPALIVE = 15.0
WINDOW = 2 * 1024 * 1024
PACKET = 32 * 1024
CERTIFICATE_LIFE = 300.0
PLAIN = tuple(each for each in lines.SIGNATURES if not each.startswith("sk-"))


class HostUnknown(Unreachable):
    """The target shows a host key, or the certificate of an authority, that is not known."""


class NotLetIn(Unreachable):
    """The target refuses the account's credential."""


class NothingInCommon(Unreachable):
    """The target speaks SSH, but has no algorithm that the gateway takes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How to enter a target: the resource's name and settings, the user's name, and the user's credential.
    ``key_id``: for whom a certificate says that it was issued."""

    resource: str
    target: SshTarget
    user: str
    login: SshLogin
    key_id: str


@dataclass(frozen=True, slots=True)
class TargetSide:
    """A target that let the gateway in as ``user``. ``forced``: it is known to run one command for that one,
    whatever is asked for."""

    line: TargetLine
    transport: StreamTransport
    watcher: "Watcher"
    user: str
    forced: bool

    def runs_commands(self) -> bool:
        """Whether a command of the gateway's own would be run as it is, by all that is known."""
        software = str(self.line.get_extra_info("server_version", ""))
        known = software.startswith(("SSH-2.0-OpenSSH_", "SSH-2.0-dropbear"))
        return known and not (self.forced or self.watcher.forced or self.watcher.closed)

    def disconnect(self) -> None:
        """Goodbye, politely; the line itself is the kernel's to close."""
        if not self.line.is_closed():
            self.line.disconnect(asyncssh.DISC_BY_APPLICATION, "done")
        self.transport.flush()

    def holds(self) -> int:
        """Bytes that wait, in channels and on their way to and from them."""
        return self.line.holds() + self.transport.holds()

    def forget(self) -> None:
        """Know nobody any more; the line may still be saying how processes ended."""
        self.watcher.forget()
        self.transport.forget()
        self.line.take_apart()


@dataclass(frozen=True, slots=True)
class Secrets:
    """The gateway's own keys, and the targets' that it has learnt."""

    own: SshKeys
    hosts: LearntHosts


class Watcher(asyncssh.SSHClient):
    """asyncssh's callbacks for one target. ``gone`` is told once the log-in is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, password: str | None, trusted: "Trusted") -> None:
        self.logged_in: asyncio.Future[None] = loop.create_future()
        self.gone: Any = None
        self.forced = False
        self.closed = False
        self._password = password
        self._trusted = trusted

    def forget(self) -> None:
        """Know nobody any more: an error of the log-in's knows all who waited for it."""
        self.gone = None
        self.logged_in.cancel()
        self.logged_in = self.logged_in.get_loop().create_future()
        self.logged_in.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if not self.logged_in.done():
            self.logged_in.set_exception(exc or ConnectionError("closed"))
            self.logged_in.exception()  # noqa: LOG004 (a future's; nobody may be waiting)
        elif self.gone is not None:
            self.gone(exc)

    def auth_completed(self) -> None:
        if not self.logged_in.done():
            self.logged_in.set_result(None)

    def debug_msg_received(self, msg: str, lang: str, always_display: bool) -> None:
        """OpenSSH's server tells what came with the key or certificate, ``command`` for one that is forced. It does
        not tell of ``ForceCommand``."""
        _, told, options = msg.partition("key options: ")
        if told and "command" in options.split():
            self.forced = True

    def password_auth_requested(self) -> str | None:
        password, self._password = self._password, None
        return password

    def password_change_requested(self, prompt: str, lang: str) -> Any:
        return None

    def kbdint_auth_requested(self) -> str | None:
        return "" if self._password is not None else None

    def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> Any:
        """Only what can be nothing but the password's prompt is answered."""
        if len(prompts) != 1 or prompts[0][1]:
            return None if prompts else []
        password, self._password = self._password, None
        return None if password is None else [password]

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        return self._trusted.first_time(key)

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self._trusted.shown = f"a certificate of {fingerprint(key)}"
        return False


class Trusted:
    """Which host keys are the target's: those pinned, and with ``trust_first`` the one it showed first. ``shown``:
    what it showed and was not known."""

    def __init__(self, target: SshTarget, hosts: LearntHosts, resource: str) -> None:
        self._hosts = hosts
        self._resource = resource
        self._first = target.trust_first
        learnt = hosts.known(resource) if target.trust_first else ""
        self._learnt = learnt
        self.shown = ""
        # A certificate says nothing where no authority is known: without one, only plain keys are asked for.
        self.algorithms: Any = PLAIN if target.trust_first and not learnt and not target.host_authorities else ()
        pinned = [*target.host_keys, *([learnt] if learnt else [])]
        try:
            self.known_hosts: Any = (
                [asyncssh.import_public_key(each) for each in pinned],
                [asyncssh.import_public_key(each) for each in target.host_authorities],
                [],
            )
        except asyncssh.KeyImportError as error:
            raise Unavailable("this resource is not set up for SSH", detail=str(error)) from None

    def first_time(self, key: asyncssh.SSHKey) -> bool:
        """Whether a key that is not known yet is believed, and from now on known."""
        self.shown = fingerprint(key)
        if not self._first or self._learnt:
            return False
        self._learnt = key.export_public_key().decode().strip()
        return self._hosts.learn(self._resource, self._learnt) == self._learnt


def fingerprint(key: asyncssh.SSHKey) -> str:
    """As ``ssh-keygen -l`` shows it, with the kind of key before it."""
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


def entry_of(admission: Admission) -> Entry:
    """How the gateway enters this admission's target."""
    key_id = f"tidegate {admission.identity.name} {admission.session}"
    return entry(admission.resource, admission.account, key_id)


def entry(resource: Resource, account: Account, key_id: str) -> Entry:
    """``Unavailable`` where they are none of SSH's."""
    target, login = resource.options, account.credential
    if not isinstance(target, SshTarget) or not isinstance(login, SshLogin):
        raise Unavailable("this resource is not set up for SSH")
    return Entry(resource.name, target, account.name, login, key_id)


async def log_in(
    loop: asyncio.AbstractEventLoop,
    stream: Stream,
    reached: Reached,
    how: Entry,
    issuer: TargetCertificates,
    hosts: LearntHosts,
) -> TargetSide:
    """From a fresh connection to a target that let the account in."""
    trusted = Trusted(how.target, hosts, how.resource)
    credential = how.login.credential
    password = credential.password.reveal() if credential.password else None
    watcher = Watcher(loop, password, trusted)
    own = await asyncio.to_thread(_keys_of, how, issuer)
    options = asyncssh.SSHClientConnectionOptions(
        host=reached.host, port=reached.port, server_host_key_algs=trusted.algorithms,
        username=how.user, known_hosts=trusted.known_hosts,
        client_keys=own, client_factory=lambda: watcher, config=None, agent_path=None, agent_forwarding=False,
        password=None, gss_kex=False, gss_auth=False, host_based_auth=False,
        preferred_auth="publickey" if password is None else "password,keyboard-interactive",
        encryption_algs=lines.ENCRYPTION, mac_algs=lines.MACS, kex_algs=lines.KEY_EXCHANGES, compression_algs=None,
        signature_algs=lines.SIGNATURES, keepalive_interval=KEEPALIVE, keepalive_count_max=4, login_timeout=0,
        client_version="tidegate", encoding=None, window=WINDOW, max_pktsize=PACKET, utf8_decode_errors="replace",
    )  # fmt: skip
    line = TargetLine(loop, options)
    transport = StreamTransport(loop, stream)
    side = TargetSide(line, transport, watcher, how.user, how.login.forced_command)
    transport.start(line)
    try:
        await watcher.logged_in
    except BaseException as error:
        line.abort()
        side.forget()
        if isinstance(error, asyncssh.Error | OSError):
            raise _unreachable(error, reached, trusted.shown) from None
        raise
    return side


def _keys_of(how: Entry, issuer: TargetCertificates) -> Any:
    """What the gateway signs its log-in with. Reads a file: in a thread."""
    credential, forwards = how.login.credential, bool(how.login.allowance.forward)
    if credential.issued:
        principal = credential.principal or how.user
        private, certificate = issuer.issue_for_target(principal, how.key_id, CERTIFICATE_LIFE, forwarding=forwards)
        return [(asyncssh.import_private_key(private), asyncssh.import_certificate(certificate))]
    if credential.key is None:
        return None
    try:
        return [asyncssh.import_private_key(credential.key.read_bytes())]
    except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise Unavailable("the gateway's key for this account cannot be used", detail=str(error)) from None


def _unreachable(error: Exception, reached: Reached, shown: str) -> Unreachable:
    """Whose fault it is, without what the client should not know."""
    detail = f"{reached.host}:{reached.port}: {error}"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        detail += f"; it showed {shown}" if shown else ""
        return HostUnknown(
            "the target's host key is not the one that is known", hint="tell the gateway's operator", detail=detail
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return NotLetIn("the target does not let the gateway in", hint="tell the gateway's operator", detail=detail)
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return NothingInCommon("the target and the gateway have no cipher in common", detail=detail)
    return Unreachable("the target closed the connection during log-in", detail=detail)
