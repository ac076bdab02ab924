"""The API's process: everything of the foundation behind HTTP, in a loop that no session shares."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable

import structlog
import uvicorn

from gateway_config.schema import Config
from proxy.access.grants import Grants
from proxy.access.logins import Logins
from proxy.access.requests import Requests
from proxy.adapters import configuration, metrics
from proxy.adapters.doorbell import SUFFIX, bells
from proxy.adapters.feed import open_feed
from proxy.adapters.head_places import HeadPlaces
from proxy.adapters.passwords import ArgonPasswords
from proxy.api.application import create_api
from proxy.api.folder import FolderRecordings
from proxy.api.services import Facts, Services
from proxy.app import collector
from proxy.app.changes import Changes, reload_at
from proxy.app.foundation import VERSION, Configured, Foundation, founded, load_certificate, machine_name
from proxy.app.patience import patient
from proxy.app.resting import RestingServer
from proxy.app.retention import Retention
from proxy.app.trail_keeper import TrailKeeper, keeper_of, places_of
from proxy.core.errors import TidegateError, Unavailable
from proxy.core.grounds import NO_KEY, WORDS, Ground
from proxy.protocols.table import rows

CONNECTIONS = 512
"""Of the API at a time; one source has half of them at most."""
HOUSEKEEPING = 5.0
"""Seconds between two looks at what has lapsed."""


async def run_api(configured: Configured) -> None:
    """Serve until SIGTERM."""
    async with founded(configured, "api") as foundation:
        changes = Changes(foundation)
        await changes.warned()  # before anything runs beside: what follows must not see a server half made
        keeper = keeper_of(foundation)
        services = services_of(foundation, changes, keeper)
        api = create_api(services)
        config = configured.config
        tls = config.api.tls
        server = RestingServer(
            uvicorn.Config(
                api,
                host=config.api.listen.host,
                port=config.api.listen.port,
                ssl_certfile=str(config.locate(tls.certificate)) if tls else None,
                ssl_keyfile=str(config.locate(tls.key)) if tls else None,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=5,
                limit_concurrency=CONNECTIONS,
                http=patient(CONNECTIONS // 2),  # type: ignore[arg-type]
            )
        )
        hangup = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
        retention = Retention(foundation, services.metrics)
        duties = (services.requests.expire_due, changes.settle, retention.keep, keeper.sign)
        places = HeadPlaces(places_of(config), services.metrics, structlog.get_logger())
        keeper.listeners.append(places.offer)
        with contextlib.suppress(TidegateError):  # tried again later; who asks for the trail should find it signed
            await keeper.sign()
        bell = bells(config.state_dir) / f"api{SUFFIX}"
        following = open_feed(foundation.store_url, bell=bell, interval=config.store.poll_interval)
        async with following as feed, asyncio.TaskGroup() as tasks:
            configured.listeners.append(lambda: renew_certificate(server, configured.config))
            beside = [
                tasks.create_task(keep_house(*duties), name="housekeeping"),
                tasks.create_task(reload_at(hangup, services.reload), name="reload at SIGHUP"),
                tasks.create_task(changes.follow(feed), name="follow the feed"),
                tasks.create_task(places.run(), name="keep heads elsewhere"),
            ]
            collector.settle()
            await server.serve()
            for task in beside:
                task.cancel()


def renew_certificate(server: uvicorn.Server, config: Config) -> None:
    """Connections from now on are shown the certificate that is in the file now."""
    # there is none before the server has read its own, with that file
    context = getattr(server.config, "ssl", None)
    if context is None or config.api.tls is None:
        return
    try:
        load_certificate(context, config, config.api.tls)
    except OSError as error:
        structlog.get_logger().error("certificate not reloaded", listener="api", problem=str(error))


async def keep_house(*duties: Callable[[], Awaitable[object]]) -> None:
    """What has to be done now and then, by one process."""
    while True:
        await asyncio.sleep(HOUSEKEEPING)
        for duty in duties:
            try:
                await duty()
            except (TidegateError, OSError) as error:
                structlog.get_logger().warning("housekeeping failed", detail=str(error))


def services_of(foundation: Foundation, changes: Changes, keeper: TrailKeeper) -> Services:
    """The API's view of the foundation."""
    configured, store, clock = foundation.configured, foundation.store, foundation.clock
    catalog = lambda: configured.catalog  # noqa: E731
    requests = Requests(store, catalog, clock, foundation.ids, foundation.seals, configured.limits)
    prometheus = metrics.Prometheus()
    return Services(
        store=store,
        requests=requests,
        grants=Grants(store, catalog, foundation.seals, foundation.tokens, foundation.certificates, requests),
        revocations=keeper.revocations,
        tokens=foundation.tokens,
        ssh_keys=foundation.ssh_keys,
        logins=Logins(
            store,
            catalog,
            clock,
            foundation.ids,
            foundation.keys,
            issuer=configured.config.tokens.issuer,
            life=configured.config.api.login_life,
        ),
        passwords=ArgonPasswords(lambda: configuration.password_hashes(configured.config)),
        catalog=catalog,
        clock=clock,
        doorbell=foundation.bell,
        metrics=prometheus,
        recordings=FolderRecordings(configured.config.recordings_dir, rows()),
        metrics_text=lambda: metrics.render(prometheus, metrics.shared_directory()),
        head_keys=foundation.heads.public,
        head_memory=foundation.head_memory,
        grounds=lambda: own_grounds(foundation, keeper),
        reload=changes.reload,
        rotate_keys=changes.rotate,
        rotate_targets=changes.rotate_targets,
        restored=keeper.restored,
        facts=lambda: facts(configured),
    )


def own_grounds(foundation: Foundation, keeper: TrailKeeper) -> list[str]:
    """Why this process gives nobody a token, or signs nothing, in general words."""
    why = [WORDS[Ground.STORE_OLDER]] if keeper.wrong else []
    try:
        foundation.keys.current()
    except Unavailable:
        why.append(NO_KEY)
    return why


def facts(configured: Configured) -> Facts:
    """What clients may know of the configuration."""
    config = configured.config
    return Facts(
        failed_logins=(config.api.failed_logins_per_source, config.api.failed_logins_per_user),
        listeners={
            each.protocol: reached_at
            for each in reversed(config.listeners)  # of several, the first is the one to name
            if (reached_at := each.reached_at) is not None
        },
        lease=config.store.lease,
        keep=config.recordings.keep,
        version=VERSION,
        machine=machine_name(config),
    )
