"""What the kernel needs of the rest of the gateway, handed over once by the composition root."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy.core.access import Admission, Claims, Decision, Grant, Outcome, Refusal, UserCertificate, Wish
from proxy.core.actions import Action
from proxy.core.errors import Denied, TidegateError
from proxy.core.ports import Clock, Ids, Metrics, Recordings, Store
from proxy.sessions.holdings import Holdings
from proxy.sessions.registry import Registry
from proxy.sessions.rests import Rests
from proxy.sessions.watch import Watch
from proxy.sessions.workshop import Workshop


class Gate(Protocol):
    """``access.gate.Gate`` as the kernel sees it."""

    async def admit(
        self, credential: str | UserCertificate, wish: Wish, register: Callable[[Claims], None]
    ) -> Admission: ...
    async def refuse(self, why: Refusal, wish: Wish) -> Denied: ...
    async def flush(self, now: float) -> None: ...
    def extended(self, grant: Grant, told: Mapping[str, object]) -> Grant | None: ...


class Engine(Protocol):
    """One protocol: ``serve`` reads top to bottom; ``refusal`` words an error from before the session stood."""

    name: str

    async def serve(self, session: Any) -> None: ...
    def refusal(self, error: TidegateError, session: Any) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Front:
    """What an engine must know of its listener: its TLS, whether a token needs that, and the names clients reach it
    by."""

    tls: ssl.SSLContext | None = None
    require_tls: bool = False
    names: tuple[str, ...] = ()


class TargetControl(Protocol):
    """How an engine stops what its target does: ``goodbye`` are the protocol's polite last bytes, None where it has
    no way to say that something has not come to its end: then a cut resets both lines, and a line that broke the
    other one, or a part would be taken for the whole."""

    @property
    def goodbye(self) -> bytes | None: ...

    async def abandon(self) -> None:
        """Make the target stop what it is doing for this session. Bounded by the caller."""
        ...

    async def stopped(self) -> str:
        """How it was verified that the target runs nothing for this session; "" when it could not be."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """Bounds, in seconds and counts; 0 switches ``idle`` and ``sessions_per_grant`` off."""

    pending: int = 256
    pending_per_source: int = 16
    startup_timeout: float = 10.0
    login_timeout: float = 30.0
    tls_timeout: float = 5.0
    idle: float = 0.0
    write_stall: float = 60.0
    shutdown_grace: float = 10.0
    durable: bool = False
    sessions_per_grant: int = 0
    max_waiting: int = 256 * 1024 * 1024


async def allowed(admission: Admission, action: Action) -> Decision:
    """What is decided where no rule is about single actions: who was admitted may do what the account may."""
    return Decision(Outcome.ALLOW, admission.grant.rule)


@dataclass(frozen=True, slots=True)
class Services:
    """``log`` is a structlog logger; ``node`` names this worker in records, ``started`` (epoch seconds) tells its
    lives apart. ``configured`` gives the settings as they are now; ``decide`` answers what inspectors ask,
    ``workshop`` does what takes them long; ``rests`` is what is left to do of chunks that were read."""

    loop: asyncio.AbstractEventLoop
    clock: Clock
    ids: Ids
    store: Store
    gate: Gate
    registry: Registry
    watch: Watch
    recordings: Recordings
    metrics: Metrics
    configured: Callable[[], Settings]
    node: str
    started: float
    log: Any
    decide: Callable[[Admission, Action], Awaitable[Decision]] = allowed
    workshop: Workshop = field(default_factory=Workshop)
    rests: Rests = field(default_factory=Rests)
    holdings: Holdings = field(init=False)

    def __post_init__(self) -> None:
        holdings = Holdings(lambda: self.settings.max_waiting, self.loop.time, self.log)
        object.__setattr__(self, "holdings", holdings)

    @property
    def settings(self) -> Settings:
        """The bounds as the configuration has them now."""
        return self.configured()
