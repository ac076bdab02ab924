"""The API's process: everything of the foundation behind HTTP, in a loop that no session shares."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import structlog
import uvicorn

from gateway_config.schema import Config
from proxy.access.grants import Grants
from proxy.access.logins import Logins
from proxy.access.requests import Requests
from proxy.access.revocations import Revocations
from proxy.adapters import configuration, metrics
from proxy.adapters.doorbell import SUFFIX, bells
from proxy.adapters.feed import open_feed
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
from proxy.audit.signing import Signing
from proxy.core.errors import TidegateError
from proxy.core.ports import Writer
from proxy.protocols.table import rows

CONNECTIONS = 512
"""Of the API at a time; one source has half of them at most."""
HOUSEKEEPING = 5.0
"""Seconds between two looks at what has lapsed."""
KEPT_LEASES = 10
"""Leases for which feed items are kept; a node that is further behind has cut everything long ago."""


async def run_api(configured: Configured) -> None:
    """Serve until SIGTERM."""
    async with founded(configured, "api") as foundation:
        changes = Changes(foundation)
        await changes.warned()  # before anything runs beside: what follows must not see a server half made
        services = services_of(foundation, changes)
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
        duties = (services.requests.expire_due, changes.settle, retention.keep)
        bell = bells(config.state_dir) / f"api{SUFFIX}"
        following = open_feed(foundation.store_url, bell=bell, interval=config.store.poll_interval)
        async with following as feed, asyncio.TaskGroup() as tasks:
            configured.listeners.append(lambda: renew_certificate(server, configured.config))
            beside = [
                tasks.create_task(keep_house(foundation, *duties), name="housekeeping"),
                tasks.create_task(reload_at(hangup, services.reload), name="reload at SIGHUP"),
                tasks.create_task(changes.follow(feed), name="follow the feed"),
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


async def keep_house(foundation: Foundation, *duties: Callable[[], Awaitable[object]]) -> None:
    """What has to be done now and then, by one process: prune the feed, sign the trail's head, and ``duties``."""
    log = structlog.get_logger()
    kept = KEPT_LEASES * foundation.configured.config.store.lease
    signing = Signing(foundation.heads.sign)

    def unit(writer: Writer) -> str:
        writer.prune_feed(writer.now() - kept)
        return signing.unit(writer)

    async def sign_and_prune() -> None:
        wrong = await foundation.store.commit(unit)
        if wrong:
            log.error("the trail was tampered with", detail=wrong)

    while True:
        await asyncio.sleep(HOUSEKEEPING)
        for duty in (*duties, sign_and_prune):
            try:
                await duty()
            except (TidegateError, OSError) as error:
                log.warning("housekeeping failed", detail=str(error))


def services_of(foundation: Foundation, changes: Changes) -> Services:
    """The API's view of the foundation."""
    configured, store, clock = foundation.configured, foundation.store, foundation.clock
    catalog = lambda: configured.catalog  # noqa: E731
    requests = Requests(store, catalog, clock, foundation.ids, foundation.seals, configured.limits)
    prometheus = metrics.Prometheus()
    return Services(
        store=store,
        requests=requests,
        grants=Grants(store, catalog, foundation.seals, foundation.tokens, foundation.certificates, requests),
        revocations=Revocations(store, catalog, foundation.seals),
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
        reload=changes.reload,
        rotate_keys=changes.rotate,
        rotate_targets=changes.rotate_targets,
        facts=lambda: facts(configured),
    )


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
