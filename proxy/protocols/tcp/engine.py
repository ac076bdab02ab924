"""Any TCP service, top to bottom: TLS, CONNECT with a token, admit, dial, say 200, relay. Async; called by the
kernel for each connection, speaks to its session in the kernel's verbs.

The order is the promise: nothing is dialled before the admission, and the client hears 200 only after the target
has accepted and the session's start is committed. What it sends before that waits for the relay.
"""

import asyncio
from http import HTTPStatus

from proxy.core.access import Admission, Refusal, Wish
from proxy.core.errors import Denied, PeerError, TidegateError
from proxy.protocols.tcp import connect
from proxy.protocols.tcp.inspector import TcpInspector
from proxy.sessions.measures import up_to
from proxy.sessions.services import Front, Services
from proxy.sessions.session import Session
from proxy.sessions.transport import Stream

NAME = "tcp"
ALPN = ("http/1.1",)
TLS_HANDSHAKE = b"\x16"


class Line:
    """``sessions.services.TargetControl``: the connection is all there is of a session on the target. A cut resets
    it, so that the target neither takes the part it got for the whole nor works on for nobody; and the client's
    line, where a close_notify would say that this was all."""

    goodbye = None

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def abandon(self) -> None:
        """Nothing: see ``TcpInspector.running``."""

    async def stopped(self) -> str:
        """See ``TargetControl.stopped``."""
        return "connection closed" if self._stream.closed else ""


class TcpEngine:
    """``sessions.services.Engine`` for one listener."""

    name = NAME

    def __init__(self, services: Services, front: Front) -> None:
        self._services = services
        self._context = front.tls
        self._require_tls = front.require_tls

    def refusal(self, error: TidegateError, session: Session) -> bytes:
        """A problem document; nothing for one who never came to speak HTTP, nor once the bytes are the target's."""
        if error.code in ("tls", "closed") or session.client.bytes_written:
            return b""
        return connect.problem(error, session.id)

    async def serve(self, session: Session) -> None:
        """One connection, from its first byte."""
        try:
            async with asyncio.timeout_at(session.startup_by):
                head = await self._head(session.client)
        except TimeoutError:
            raise connect.NotUnderstood(HTTPStatus.REQUEST_TIMEOUT, "no CONNECT came in time") from None
        asked = connect.parse(head)
        wish = wish_of(session, asked)
        if self._require_tls and session.client.tls is None:
            raise await self._services.gate.refuse(Refusal.NO_TLS, wish)
        if not asked.token:
            hint = "send it as Proxy-Authorization: Bearer, or as the password of Basic"
            raise Denied("a token is needed", hint=hint, code="unauthenticated")
        admission = await session.admit(asked.token, wish)
        stream, reached = await session.dial(admission, asked.port)
        try:
            await session.start(NAME, asked.agent, header(admission, asked))
            await session.client.send(connect.OK)
            keeps = admission.grant.conditions.get("record_traffic") is True
            text = f"{admission.resource.name}:{reached.port}"
            inspector = TcpInspector(text, self._services.clock.now, keeps=keeps)
            await session.relay(inspector, stream, Line(stream))
        finally:
            stream.close()

    async def _head(self, client: Stream) -> bytes:
        """The request's head, in TLS or not."""
        if await client.peek() == TLS_HANDSHAKE:
            if self._context is None:
                raise PeerError("this listener has no TLS", code="tls")
            try:
                async with asyncio.timeout(self._services.settings.tls_timeout):
                    await client.start_tls(self._context, server_side=True)
            except TimeoutError:
                raise PeerError("the TLS handshake took too long", code="tls") from None
        return await client.read_one(up_to(connect.END), connect.HEAD_MOST)


def wish_of(session: Session, asked: connect.Asked) -> Wish:
    """Who comes by Bearer names no account: it is the grant's own."""
    return Wish(
        session=session.id,
        protocol=NAME,
        account=asked.user or None,
        source=session.source,
        resource=asked.name,
        port=asked.port,
    )


def header(admission: Admission, asked: connect.Asked) -> dict[str, object]:
    """The recording's first words."""
    return {
        "identity": admission.identity.name,
        "resource": admission.resource.name,
        "account": admission.account.name,
        "grant": admission.grant.id,
        "source": admission.source,
        "agent": asked.agent,
    }
