"""SSH, top to bottom: key exchange, ask for the credential, admit, dial, log in, say OK, converse. Async; called by
the kernel for each connection, speaks to its session in the kernel's verbs.

The order is the promise: nothing is dialled before the admission, and the client hears that it is in only after the
target let the gateway in and the session's start is committed.
"""

import asyncio
import copy
from typing import Any

import asyncssh

from proxy.core.access import Admission, Refusal, Wish
from proxy.core.errors import Denied, PeerError, TidegateError
from proxy.core.ports import LearntHosts, SshKeys
from proxy.protocols.ssh import lines, words
from proxy.protocols.ssh.client_side import ClientSide, Shown, client_side
from proxy.protocols.ssh.control import Processes
from proxy.protocols.ssh.conversation import SshConversation
from proxy.protocols.ssh.ledger import Ledger
from proxy.protocols.ssh.upstream import PACKET, WINDOW, Secrets, TargetSide, entry_of, log_in
from proxy.sessions.services import Front, Services
from proxy.sessions.session import Session

NAME = "ssh"
TRIES = 3
VERSION = "OpenSSH_9.9_Tidegate"
"""OpenSSH's client tells only servers of that name when its own reader is gone (PROTOCOL, 2.1); without that
``ssh host yes | head`` never ends. ssh2 of Node.js asks for nothing of OpenSSH's own where there is no number."""
RENEWED = 86400.0
"""Seconds after which the host's certificate is made anew."""
KEEPALIVE = 15.0
KEEPALIVES = 4


class SshEngines:
    """What all listeners of one worker share."""

    def __init__(self, services: Services, keys: SshKeys, hosts: LearntHosts) -> None:
        self.services = services
        self.secrets = Secrets(keys, hosts)

    def engine(self, front: Front) -> "SshEngine":
        """The engine for one listener, whose host certificate is for the names it is reached by."""
        return SshEngine(self, front)


class SshEngine:
    """``sessions.services.Engine`` for one listener."""

    name = NAME

    def __init__(self, shared: SshEngines, front: Front) -> None:
        self._services = shared.services
        self._secrets = shared.secrets
        self._names = front.names
        self._options: Any = None
        self._made = float("-inf")
        self._clients: dict[str, ClientSide] = {}

    def refusal(self, error: TidegateError, session: Session) -> bytes:
        """Words in a disconnect, said here: only asyncssh can encrypt them."""
        client = self._clients.get(session.id)
        if client is not None and not (isinstance(error, PeerError) and error.code == "closed"):
            client.disconnect(words.refusal(error, session.id))
        return b""

    async def serve(self, session: Session) -> None:
        """One connection, from its first byte."""
        options = copy.copy(self._server_options())
        authorities = frozenset(self._secrets.own.user_authorities())
        client = client_side(session, self._services.loop, options, authorities)
        self._clients[session.id] = client
        session.leaving.append(lambda: self._forget(session.id))
        try:
            await self._greet(session, client)
            await self._enter(session, client, await self._admitted(session, client))
        finally:
            client.transport.flush()

    def _forget(self, session: str) -> None:
        """At the session's end: nobody is there to be told anything any more."""
        client = self._clients.pop(session)
        if not client.line.is_closed():
            client.line.abort()
        client.forget()

    # -- the log-in ----------------------------------------------------------------------------------------------

    async def _greet(self, session: Session, client: ClientSide) -> None:
        """Keys are exchanged, and the client has said who it wants to be."""
        try:
            async with asyncio.timeout_at(session.startup_by):
                await client.visitor.began
        except TimeoutError:
            raise PeerError("the key exchange took too long", code="protocol") from None

    async def _admitted(self, session: Session, client: ClientSide) -> Admission:
        """Of the last try, which is the one that is answered. A credential that is not valid may be a typing error;
        anything else asks for another one."""
        for tries in range(1, TRIES + 1):
            shown = await client.visitor.shown()
            try:
                return await session.admit(shown.credential, self._wish(session, shown))
            except Denied as error:
                if error.code != Refusal.BAD_TOKEN or tries == TRIES or not client.visitor.holds():
                    raise
                client.line.say(f"tidegate: {words.refusal(error)}")
                client.visitor.answer(False)
        raise AssertionError("the last try is answered or raises")

    def _wish(self, session: Session, shown: Shown) -> Wish:
        return Wish(session=session.id, protocol=NAME, account=shown.user, source=session.source)

    async def _enter(self, session: Session, client: ClientSide, admission: Admission) -> None:
        stream, reached = await session.dial(admission)
        target: TargetSide | None = None
        try:
            own, hosts = self._secrets.own, self._secrets.hosts
            target = await log_in(self._services.loop, stream, reached, entry_of(admission), own, hosts)
            version = str(client.line.get_extra_info("client_version", ""))
            recorder = await session.start(NAME, version.removeprefix("SSH-2.0-")[:100], header(admission))
            ledger = Ledger(recorder, admission.grant, self._services.settings.durable, session.broke)
            allowance = admission.account.credential.allowance
            conversation = SshConversation(session, ledger, client, target, allowance)
            client.visitor.inside = conversation.openings
            client.visitor.answer(True)
            await session.converse(conversation, stream, Processes(conversation), conversation)
        finally:
            if target is not None and not target.line.is_closed():
                target.line.abort()
            stream.close()

    def _server_options(self) -> Any:
        """The listener's, with a host certificate of today."""
        now = self._services.clock.monotonic()
        if now - self._made > RENEWED:
            self._options, self._made = self._make_options(), now
        return self._options

    def _make_options(self) -> Any:
        key = asyncssh.import_private_key(self._secrets.own.host_key())
        certificate = asyncssh.import_certificate(self._secrets.own.host_certificate(self._names))
        return asyncssh.SSHServerConnectionOptions(
            server_host_keys=[(key, certificate)], server_version=VERSION, config=None, encoding=None,
            line_editor=False, agent_forwarding=False, x11_forwarding=False, compression_algs=None,
            encryption_algs=lines.ENCRYPTION, mac_algs=lines.MACS, kex_algs=lines.KEY_EXCHANGES,
            signature_algs=lines.SIGNATURES, login_timeout=0, keepalive_interval=KEEPALIVE,
            keepalive_count_max=KEEPALIVES, gss_kex=False, gss_auth=False, host_based_auth=False,
            send_server_host_keys=False, window=WINDOW, max_pktsize=PACKET, utf8_decode_errors="replace",
        )  # fmt: skip


def header(admission: Admission) -> dict[str, object]:
    """The recording's first words."""
    return {
        "identity": admission.identity.name,
        "resource": admission.resource.name,
        "account": admission.account.name,
        "grant": admission.grant.id,
        "source": admission.source,
    }
