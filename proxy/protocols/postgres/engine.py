"""PostgreSQL, top to bottom: negotiate, ask for the token, admit, dial, log in, say OK, relay. Async; called by the
kernel for each connection, speaks to its session in the kernel's verbs.

The order is the promise: nothing is dialled before the admission, and the client hears AuthenticationOk only after
the target said ReadyForQuery and the session's start is committed.
"""

import asyncio
from collections.abc import Callable, Mapping

from proxy.core.access import Admission, Refusal, Wish
from proxy.core.errors import PeerError, TidegateError, Unavailable
from proxy.core.sessions import ServedBy
from proxy.core.targets import PostgresCredential, PostgresTarget
from proxy.protocols.postgres import backend_name, messages, refusals, startup
from proxy.protocols.postgres.cancels import Cancellable, Cancels
from proxy.protocols.postgres.control import Backend, introduced
from proxy.protocols.postgres.inspector import PostgresInspector
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.login_refusal import NotUnderstood
from proxy.protocols.postgres.upstream import Entry, LoggedIn, Targets
from proxy.sessions.services import Front, Services
from proxy.sessions.session import Session
from proxy.sessions.transport import Stream

NAME = "postgres"
MAX_TOKEN_MESSAGE = 65_535
DIRECT_TLS = b"\x16"
CANCEL_FAREWELL = 1.0
"""Seconds to end a cancel's connection in: without close_notify libpq 17 and later take its end for a failure."""


class PostgresEngines:
    """What all listeners of one worker share. ``bounds`` gives what a session may cost, as configured now."""

    def __init__(self, services: Services, secret: bytes, bounds: Callable[[], Mapping[str, int]]) -> None:
        self.services = services
        self.bounds = bounds
        self.targets = Targets(services.loop)
        self.cancels = Cancels(services, secret, bounds()["cancel_guesses"])

    def engine(self, front: Front) -> "PostgresEngine":
        """The engine for one listener."""
        return PostgresEngine(self, front)


class PostgresEngine:
    """``sessions.services.Engine`` for one listener."""

    name = NAME

    def __init__(self, shared: PostgresEngines, front: Front) -> None:
        self._shared = shared
        self._services = shared.services
        self._context = front.tls
        self._require_tls = front.require_tls

    def refusal(self, error: TidegateError, session: Session) -> bytes:
        """A FATAL ErrorResponse; nothing for one who never spoke PostgreSQL."""
        return refusals.fatal(error, session.id)

    async def serve(self, session: Session) -> None:
        """One connection, from its first byte."""
        try:
            async with asyncio.timeout_at(session.startup_by):
                asked = await self._negotiate(session)
        except TimeoutError:
            raise PeerError("no startup packet came in time", code="protocol") from None
        if isinstance(asked, startup.Cancel):
            await self._shared.cancels.carry_out(asked, session.source)
            await session.client.finish(CANCEL_FAREWELL)
            return
        wish = self._wish(session, asked)
        admission = await session.admit(await self._token(session.client, wish, asked.negotiation), wish)
        await self._enter(session, asked, admission)

    # -- before the log-in ---------------------------------------------------------------------------------------

    async def _negotiate(self, session: Session) -> "startup.Startup | startup.Cancel":
        """TLS or not, in whatever order the client asks; then its startup packet, or a cancel."""
        client = session.client
        if await client.peek() == DIRECT_TLS:
            await self._secure(client)
            if client.tls is None or client.tls.selected_alpn_protocol() != "postgresql":
                raise PeerError("direct TLS needs the ALPN protocol postgresql", code="protocol")
        asked: set[type] = set()  # each kind of encryption may be asked for once, as the server has it
        while True:
            packet = startup.parse(await self._packet(client))
            if isinstance(packet, startup.Startup | startup.Cancel):
                return packet
            if type(packet) in asked:
                raise PeerError("unexpected packet before the startup packet", code="protocol")
            asked.add(type(packet))
            if isinstance(packet, startup.GssRequest) or client.tls is not None or self._context is None:
                await client.send(b"N")
            else:
                await client.send(b"S")
                await self._only_tls(session)
                await self._secure(client)

    async def _only_tls(self, session: Session) -> None:
        """Refuse whoever has something else behind the request for TLS than TLS (CVE-2021-3935). It would only make
        the handshake fail, but that it was tried belongs into the trail."""
        try:
            async with asyncio.timeout(self._services.settings.tls_timeout):
                first = await session.client.peek()
        except TimeoutError:
            raise PeerError("the TLS handshake took too long", code="tls") from None
        if first not in (b"", DIRECT_TLS):
            nobody = Wish(session=session.id, protocol=NAME, account="", source=session.source)
            raise await self._services.gate.refuse(Refusal.PLAINTEXT, nobody)

    async def _secure(self, client: Stream) -> None:
        if self._context is None:
            raise PeerError("this listener has no TLS", code="tls")
        try:
            async with asyncio.timeout(self._services.settings.tls_timeout):
                await client.start_tls(self._context, server_side=True)
        except TimeoutError:
            raise PeerError("the TLS handshake took too long", code="tls") from None

    async def _packet(self, client: Stream) -> bytes:
        length = startup.length_of(await client.read_exactly(4))
        return await client.read_exactly(length - 4)

    async def _token(self, client: Stream, wish: Wish, negotiation: bytes) -> str:
        """The token, asked for as a cleartext password over TLS."""
        if self._require_tls and client.tls is None:
            raise await self._services.gate.refuse(Refusal.NO_TLS, wish)
        await client.send(negotiation + messages.authentication_cleartext())
        head = await client.read_exactly(5)
        length = int.from_bytes(head[1:], "big")
        if head[:1] != b"p" or not 5 <= length <= MAX_TOKEN_MESSAGE:
            raise PeerError("expected the token as a password", code="protocol")
        body = await client.read_exactly(length - 4)
        return body.rstrip(b"\0").decode("utf-8", "replace")

    def _wish(self, session: Session, asked: "startup.Startup") -> Wish:
        return Wish(
            session=session.id,
            protocol=NAME,
            account=asked.user,
            source=session.source,
            database=asked.database,
        )

    # -- the log-in ----------------------------------------------------------------------------------------------

    async def _log_in(
        self, session: Session, asked: "startup.Startup", admission: Admission, entry: Entry
    ) -> LoggedIn:
        """In the protocol version the client speaks, and where the target does not understand that once in 3.0."""
        version = entry.target.protocol_version
        try:
            return await self._log_in_as(version, session, asked, admission, entry)
        except NotUnderstood:
            if version == "3.0" or asked.version == messages.PROTOCOL_3_0:
                raise
            return await self._log_in_as("3.0", session, asked, admission, entry)

    async def _log_in_as(
        self, version: str, session: Session, asked: "startup.Startup", admission: Admission, entry: Entry
    ) -> LoggedIn:
        ours = backend_name.mark(admission.identity.name, admission.session)
        name = backend_name.in_target(asked.given_name, ours, entry.target.application_name)
        packet = startup.upstream_packet(asked, account=entry.user, application_name=name, version=version)
        stream, address = await session.dial(admission)
        try:
            return await self._shared.targets.login(stream, address, entry, packet)
        except BaseException:
            stream.close()
            raise

    async def _enter(self, session: Session, asked: "startup.Startup", admission: Admission) -> None:
        entry = entry_of(admission)
        logged_in = await self._log_in(session, asked, admission, entry)
        stream = logged_in.stream
        try:
            life, functions = await introduced(logged_in)
            parameters = backend_name.told(logged_in.parameters, asked.given_name, entry.target.application_name)
            cancels = self._shared.cancels
            pid = cancels.pid(life.pid if life else 0)
            served_by = ServedBy(pid, life.since if life else None)
            await session.start(NAME, asked.application_name, header(asked, admission), served_by)
            key = cancels.key(session.id, pid, asked.key_length)
            await session.client.send(
                messages.authentication_ok()
                + b"".join(parameters)
                + messages.backend_key_data(pid, key)
                + messages.ready_for_query(logged_in.status)
            )
            inspector = PostgresInspector(
                limits_of(self._shared.bounds(), admission),
                status=logged_in.status,
                parameters=parameters,
                functions=functions,
            )
            control = Backend(self._shared.targets, entry, logged_in, life)
            cancels.file(pid, Cancellable(session, inspector, control))
            try:
                await session.relay(inspector, stream, control)
            finally:
                cancels.forget(pid, session.id)
        finally:
            stream.close()


def limits_of(bounds: Mapping[str, int], admission: Admission) -> Limits:
    """How much is taken and kept: the configuration's bounds, and what the grant's rule says of results."""
    conditions = admission.grant.conditions
    return Limits(
        max_message=bounds["max_message"],
        max_bind=bounds["max_bind"],
        max_text=bounds["max_text"],
        max_value=bounds["max_value"],
        record_rows=int(conditions.get("record_rows", 0)),
        record_bytes=int(conditions.get("record_bytes", 0)),
    )


def entry_of(admission: Admission) -> Entry:
    """How the gateway enters this admission's target."""
    target, credential = admission.resource.options, admission.account.credential
    if not isinstance(target, PostgresTarget) or not isinstance(credential, PostgresCredential):
        raise Unavailable("this resource is not set up for PostgreSQL")
    return Entry(target, admission.account.name, credential)


def header(asked: "startup.Startup", admission: Admission) -> dict[str, object]:
    """The recording's first words."""
    return {
        "identity": admission.identity.name,
        "resource": admission.resource.name,
        "account": admission.account.name,
        "database": admission.database,
        "grant": admission.grant.id,
        "source": admission.source,
        "parameters": asked.recorded(),
    }
