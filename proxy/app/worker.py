"""A worker's process: the kernel with engines, gate, watch and recordings, and its duties to the store."""

import asyncio
import contextlib
import signal
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from gateway_config.listeners import Listener
from gateway_config.problems import ConfigProblems
from gateway_config.schema import Config
from proxy.access.gate import Gate
from proxy.adapters.doorbell import SUFFIX, bells
from proxy.adapters.feed import open_feed
from proxy.adapters.keys import cluster_secret
from proxy.adapters.learnt_hosts import FileLearntHosts
from proxy.adapters.metrics import Prometheus
from proxy.app import collector
from proxy.app.foundation import (
    VERSION,
    Configured,
    Foundation,
    bound,
    founded,
    load_certificate,
    machine_name,
)
from proxy.core.errors import TidegateError, Unavailable
from proxy.core.feed import FeedItem, FeedKind
from proxy.core.grounds import Ground
from proxy.core.ports import Page
from proxy.core.states import EndReason
from proxy.protocols.table import served
from proxy.recording.recorder import FileRecordings
from proxy.sessions.grounds import Grounds
from proxy.sessions.kernel import Door, Kernel
from proxy.sessions.lost import Lost
from proxy.sessions.presence import Presence
from proxy.sessions.registry import Registry
from proxy.sessions.services import Front, Services, Settings
from proxy.sessions.trail_guard import TrailGuard
from proxy.sessions.watch import Watch

LEFT_MOST = 100_000
"""Sessions a killed worker may have left."""


async def run_worker(configured: Configured, role: str) -> None:
    """Serve sessions until SIGTERM."""
    config = configured.config
    node = node_name(config, role)
    async with founded(configured, node) as foundation:
        bell = bells(config.state_dir) / f"{role}{SUFFIX}"
        following = open_feed(foundation.store_url, bell=bell, interval=config.store.poll_interval)
        async with following as feed, recordings_of(foundation) as recordings:
            start = await foundation.store.read(lambda reader: reader.feed_position())
            watch = Watch(feed, Registry(node), foundation.clock, config.store.lease, start)
            await Worker(foundation, watch, recordings, node).run()


def node_name(config: Config, role: str) -> str:
    """The name of this worker in records and keys: the machine's and the worker's."""
    return f"{machine_name(config)}-{role.removeprefix('worker-')}"


@contextlib.asynccontextmanager
async def recordings_of(foundation: Foundation):  # type: ignore[no-untyped-def]
    """The recordings' folder, started and stopped with the process."""
    config = foundation.configured.config
    recordings = FileRecordings(
        config.recordings_dir,
        foundation.clock,
        window=config.recordings.window,
        durability=config.recordings.durability,
        min_free=config.recordings.min_free,
    )
    recordings.start()
    try:
        yield recordings
    finally:
        recordings.stop()


def settings_of(config: Config) -> Settings:
    """The kernel's bounds."""
    limits = config.limits
    return Settings(
        pending=limits.pending,
        pending_per_source=limits.pending_per_source,
        startup_timeout=limits.startup_timeout,
        login_timeout=limits.login_timeout,
        tls_timeout=limits.tls_timeout,
        idle=limits.idle or 0.0,
        write_stall=limits.write_stall,
        shutdown_grace=limits.shutdown_grace,
        durable=config.recordings.durability == "disk",
        sessions_per_grant=limits.sessions_per_grant,
        max_waiting=limits.max_waiting,
    )


def bounds_of(config: Config) -> Mapping[str, int]:
    """What protocols may be made to keep or take: bytes, and wrong cancel keys a minute."""
    return {
        "max_message": config.limits.max_message,
        "max_bind": config.limits.max_bind,
        "max_text": config.recordings.max_text,
        "max_value": config.recordings.max_value,
        "cancel_guesses": config.limits.cancel_guesses_per_minute,
    }


class LastLife:
    """When this worker's last life began, in a file of this machine's: in the store others may have its name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def before(self) -> float:
        """Epoch seconds; 0.0 where there was none."""
        try:
            return float(self._path.read_text())
        except (OSError, ValueError):
            return 0.0

    def begin(self, started: float) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self._path.with_suffix(".new")
        beside.write_text(repr(started))
        beside.replace(self._path)


def grounds_of(
    watch: Watch, presence: Presence, guard: TrailGuard, recordings: FileRecordings, kernel: Kernel
) -> Grounds:
    """What the worker admits nobody for: a check for every ground there is."""
    return Grounds(
        {
            Ground.NOT_FRESH: lambda: not watch.fresh(),
            Ground.CLOCK_DIFFERS: lambda: not presence.synchronous,
            Ground.TWIN: lambda: not presence.alone,
            Ground.STORE_OLDER: guard.holds,
            Ground.RECORDER: recordings.refuses,
            Ground.MEMORY: kernel.memory_is_short,
            Ground.CLOSED: kernel.closed,
        }
    )


class Worker:
    """One worker: built from a foundation, run once."""

    def __init__(self, foundation: Foundation, watch: Watch, recordings: FileRecordings, node: str) -> None:
        configured = foundation.configured
        self._foundation = foundation
        self._watch = watch
        self._recordings = recordings
        self._node = node
        self._life = LastLife(configured.config.state_dir / "run" / "lives" / node)
        self._log = structlog.get_logger().bind(node=node)
        self._metrics = Prometheus()
        self._settings = settings_of(configured.config)
        self._contexts: dict[str, ssl.SSLContext] = {}
        started = foundation.clock.now()
        self._guard = TrailGuard(
            foundation.store, foundation.head_memory, foundation.heads.public(), foundation.clock, self._log
        )
        self._presence = Presence(
            foundation.store,
            foundation.clock,
            watch,
            node,
            started,
            lambda: configured.catalog.digest,
            self._log,
            self._refuses,
        )
        self._gate = Gate(
            foundation.store,
            foundation.tokens,
            foundation.certificates,
            lambda: configured.catalog,
            foundation.clock,
            foundation.seals,
            self._ground,
            configured.limits,
        )
        self._services = Services(
            loop=asyncio.get_running_loop(),
            clock=foundation.clock,
            ids=foundation.ids,
            store=foundation.store,
            gate=self._gate,
            registry=watch.registry,
            watch=watch,
            recordings=recordings,
            metrics=self._metrics,
            configured=lambda: self._settings,
            node=node,
            started=started,
            log=self._log,
        )
        self._kernel = Kernel(self._services)
        self._grounds = grounds_of(watch, self._presence, self._guard, recordings, self._kernel)
        self._lost = Lost(
            foundation.store,
            foundation.clock,
            node,
            configured.config.store.lease,
            self._kernel.known,
            recordings.digest_of,
        )

    async def run(self) -> None:
        """Seal what a crash left, listen, serve, say goodbye to the store."""
        foundation = self._foundation
        configured = foundation.configured
        loop = asyncio.get_running_loop()
        await self._presence.claim(self._life.before())
        self._life.begin(self._services.started)
        await self._bury_the_dead()
        await self._guard.look()
        await self._presence.arrive(VERSION)
        self._watch.listeners.append(self._informed)
        self._kernel.every_second += [
            self._guard.beat,
            self._presence.keep,
            self._drain,
            self._look_for_lost,
            self._measure,
        ]
        share = configured.config.gateway.workers > 1
        secret = cluster_secret(foundation.key_folder)
        protocols = served(
            self._services,
            secret,
            lambda: bounds_of(configured.config),
            foundation.ssh_keys,
            FileLearntHosts(foundation.key_folder),
        )
        for each in protocols.values():
            self._watch.listeners.append(each.informed)
            configured.listeners.append(each.reloaded)
            self._kernel.background.append(each.run)
        for listener in configured.config.listeners:
            protocol = protocols[listener.protocol]
            engine = protocol.engine(self._front(listener, protocol.alpn))
            sock = bound(listener.address.host, listener.address.port, share=share)
            self._kernel.listen(Door(sock, engine, listener.proxy_protocol_from, listener.takes_strangers))
        loop.add_signal_handler(signal.SIGTERM, self._kernel.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._log.info("serving", listeners=[str(each.address) for each in configured.config.listeners])
        collector.settle()
        with contextlib.suppress(Unavailable):  # who is asked whether we are ready need not wait for the next one
            await self._presence.beat()
        await self._kernel.run()
        with contextlib.suppress(Unavailable):
            await self._presence.leave()

    def _refuses(self) -> tuple[str, ...]:
        return self._grounds.all()

    def _ground(self) -> Ground | None:
        return self._grounds.first()

    def _front(self, listener: Listener, alpn: Sequence[str]) -> Front:
        reached = (listener.public_address or listener.address).host
        return Front(self._context(listener, alpn), listener.require_tls, (reached, *listener.host_names))

    def _context(self, listener: Listener, alpn: Sequence[str]) -> ssl.SSLContext | None:
        """The listener's TLS, or None where it has none."""
        if listener.tls is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0  # as PostgreSQL itself: no client takes a session up again; two are a sixth of this
        context.set_alpn_protocols(list(alpn))
        load_certificate(context, self._foundation.configured.config, listener.tls)
        self._contexts[listener.name] = context
        return context

    async def _drain(self) -> None:
        left = self._presence.drains_in
        if left is not None:
            self._kernel.drain(left)

    async def _look_for_lost(self) -> None:
        if self._presence.alone:
            await self._lost.look()

    async def _measure(self) -> None:
        self._metrics.gauge("tidegate_recorder_lag_bytes", self._recordings.lag_bytes)

    async def _bury_the_dead(self) -> None:
        """Sessions this worker had when it was killed: their recordings are sealed, their rows ended."""
        await asyncio.to_thread(self._recordings.seal_orphans)
        left = await self._foundation.store.read(
            lambda reader: reader.sessions(Page(limit=LEFT_MOST), live=True, node=self._node)
        )
        before = [each for each in left if each.started < self._services.started]
        await self._lost.bury(before, "the gateway's process was killed")

    # -- what the feed tells -------------------------------------------------------------------------------------

    def _informed(self, item: FeedItem) -> None:
        if item.kind is FeedKind.RELOADED:  # the same digest too: a secret or a certificate may be another
            self._reload()
        elif item.kind is FeedKind.KEYS:
            self._foundation.reload_keys()
            self._guard.look_soon()

    def _reload(self) -> None:
        """Read the configuration again; sessions that it no longer allows end."""
        try:
            changed = self._foundation.configured.reload()
        except (ConfigProblems, TidegateError) as error:
            self._log.error("configuration not reloaded", problems=str(error))
            return
        self._log.info("configuration reloaded", changed=changed)
        self._settings = settings_of(self._foundation.configured.config)
        self._renew_certificates()
        for session in self._watch.registry:
            admission = getattr(session, "admission", None)
            if admission is not None and not self._gate.still_holds(admission.grant):
                session.end(EndReason.POLICY_CHANGED)

    def _renew_certificates(self) -> None:
        """Connections from now on are shown the certificate that is in the file now."""
        config = self._foundation.configured.config
        for listener in config.listeners:
            context = self._contexts.get(listener.name)
            if context is None or listener.tls is None:
                continue
            try:
                load_certificate(context, config, listener.tls)
            except OSError as error:
                self._log.error("certificate not reloaded", listener=listener.name, problem=str(error))
