"""The table of protocols: what the composition root can start, by name. Adding one is a line here."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from proxy.core.errors import TidegateError
from proxy.core.feed import FeedItem
from proxy.core.identity import Resource
from proxy.core.ports import LearntHosts, Rows, SshKeys, TargetCertificates
from proxy.core.trials import Way
from proxy.protocols.postgres.engine import PostgresEngines
from proxy.protocols.postgres.trial import PostgresTrial
from proxy.protocols.postgres.values import PostgresRows
from proxy.protocols.ssh.engine import SshEngines
from proxy.protocols.ssh.trial import SshTrial
from proxy.protocols.tcp.engine import ALPN, TcpEngine
from proxy.protocols.tcp.trial import TcpTrial
from proxy.recording.statements import NoRows
from proxy.sessions.dialling import Reached
from proxy.sessions.services import Engine, Front, Services
from proxy.sessions.transport import Stream


def _nothing(*_: object) -> None:
    """What a protocol does that has nothing to do."""


@dataclass(frozen=True, slots=True)
class Served:
    """One protocol as a worker serves it.

    ``engine(front)`` makes the engine of one listener, whose TLS offers ``alpn``; ``informed`` is told
    of feed items that end no session; ``reloaded`` is called when the configuration was read again; ``run`` does
    what the protocol has to do in the background, until cancelled.
    """

    engine: Callable[[Front], Engine]
    alpn: tuple[str, ...] = ()
    informed: Callable[[FeedItem], None] = _nothing
    reloaded: Callable[[], None] = _nothing
    run: Callable[[], Awaitable[object]] = partial(asyncio.sleep, 0)


def served(
    services: Services,
    secret: bytes,
    bounds: Callable[[], Mapping[str, int]],
    ssh_keys: SshKeys,
    hosts: LearntHosts,
) -> Mapping[str, Served]:
    """Protocol -> how it is served. ``secret`` is the cluster's (cancel keys); ``bounds``: ``worker.bounds_of`` of
    the configuration as it is now; ``ssh_keys``: the gateway's own;
    ``hosts``: the targets' that it has learnt."""
    postgres = PostgresEngines(services, secret, bounds)
    ssh = SshEngines(services, ssh_keys, hosts)
    return {
        "postgres": Served(
            postgres.engine,
            ("postgresql",),
            postgres.cancels.informed,
            postgres.targets.renew,
            postgres.cancels.run,
        ),
        "ssh": Served(ssh.engine),
        "tcp": Served(partial(TcpEngine, services), ALPN),
    }


def rows() -> Mapping[str, Rows]:
    """Protocol -> how its raw recorded values are decoded, for the API and replay."""
    return {"postgres": PostgresRows(), "ssh": NoRows(), "tcp": NoRows()}


class Trial(Protocol):
    """How one protocol finds out whether its targets can be entered."""

    def ways(self, resource: Resource) -> tuple[Way, ...]:
        """All that are to be tried, in the order of the configuration."""
        ...

    async def enter(self, stream: Stream, reached: Reached, resource: Resource, way: Way) -> str:
        """Log in on a fresh connection, by the code of sessions, and say goodbye; what is to be known besides. The
        caller bounds the time and closes the stream. Raises as a session would."""
        ...

    def words(self, error: TidegateError, resource: Resource, way: Way) -> tuple[str, str]:
        """For an admin: what is wrong, and what to do next."""
        ...


def trials(loop: asyncio.AbstractEventLoop, issuer: TargetCertificates, hosts: LearntHosts) -> Mapping[str, Trial]:
    """Protocol -> how its targets are tried."""
    return {"postgres": PostgresTrial(loop), "ssh": SshTrial(loop, issuer, hosts), "tcp": TcpTrial()}
