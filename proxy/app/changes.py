"""What changes under a running API: the configuration and the signing keys, by its own doing or another node's.

The store is told first and what this process goes by is changed after, so that what nobody was told of is not in
force anywhere. Other nodes hear of it by the feed, which the API follows too: two of them must not decide by two
configurations. Following never publishes, so no change goes round.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection

import structlog

from gateway_config.cautions import cautions
from gateway_config.difference import difference, needs_restart
from gateway_config.problems import ConfigProblems
from proxy.access.stray_locks import stray_locks
from proxy.adapters.keys import OVERLAP
from proxy.api.services import Reload
from proxy.app.foundation import Configured, Foundation
from proxy.core.errors import PeerError, TidegateError, Unavailable
from proxy.core.events import ConfigurationChanged, Event, KeysRotated, TargetsAuthorityRotated
from proxy.core.feed import FeedKind, Scope, with_names
from proxy.core.identity import Who, names
from proxy.core.ports import Feed, Writer

RETRY = 1.0
SYSTEM: Who = ("gateway", "gateway")
"""Who reloads at a SIGHUP."""
FOLLOWED = frozenset({FeedKind.RELOADED, FeedKind.KEYS})


class Changes:
    """One of these at a time: they end in the order in which the store was told."""

    def __init__(self, foundation: Foundation) -> None:
        self._foundation = foundation
        self._in_order = asyncio.Lock()
        self._own: set[int] = set()
        self._keys_in_doubt = False

    async def reload(self, by: Who) -> Reload:
        """Read the file, tell the trail and every node, go by it. ``PeerError`` with everything that is wrong with
        the file, ``Unavailable`` when nobody could be told: the old configuration stays in force."""
        configured = self._foundation.configured
        async with self._in_order:
            try:
                fresh = Configured.read(configured.file)
            except ConfigProblems as problems:
                raise PeerError(
                    "the configuration has problems; the old one stays in use", hint=str(problems)
                ) from None
            changes, digest = difference(configured.config, fresh.config), fresh.catalog.digest
            changed = tuple(each.path for each in changes)
            news = [each for each in configured.renewed(fresh) if each.path not in changed]
            anew = tuple(each.path for each in news)

            def unit(writer: Writer) -> int:
                event = ConfigurationChanged(by[0], digest=digest, changed=changed + anew, names=names(by))
                writer.append(event)
                data = {"digest": digest, **with_names(by)}
                return writer.publish(FeedKind.RELOADED, Scope.ALL, "", by=by[0], data=data)

            self._own.add(await self._foundation.store.commit(unit))
            configured.take(fresh)
            warnings = await self.warned()
        restart = tuple(each.path for each in needs_restart([*changes, *news]))
        return Reload(digest, changed, restart, anew, warnings)

    async def warned(self) -> tuple[str, ...]:
        """Return what somebody should look at in the configuration of now, and log it. The reload is done by then:
        a store that is away meanwhile only keeps the locks from being looked at."""
        configured, log = self._foundation.configured, structlog.get_logger()
        warnings = list(cautions(configured.config))
        try:
            locks = await self._foundation.store.read(lambda reader: reader.locks())
        except Unavailable as error:
            warnings.append(f"whether every lock is still on somebody is not known: {error.public}")
        else:
            warnings += stray_locks(configured.catalog, locks)
        for each in warnings:
            log.warning("configuration", warning=each)
        return tuple(warnings)

    async def rotate(self, by: Who, distrust: bool) -> str:
        """The kid of a new key for tokens; users' SSH certificates get one too. The old ones are believed while
        what they signed lives, or, with ``distrust``, no more.

        The keys are in their folder before any node is told to look there, and sign nothing unless they were told.
        """
        both, clock = (self._foundation.keys, self._foundation.ssh_keys.users), self._foundation.clock
        async with self._in_order, contextlib.AsyncExitStack() as undoing:
            kids = []
            for keys in both:
                kids.append(keys.prepare(clock.now(), overlap=0.0 if distrust else OVERLAP, distrust=distrust))
                undoing.callback(keys.undo, kids[-1])
            event = KeysRotated(by[0], kid=kids[0], ssh_kid=kids[1], distrust=distrust, names=names(by))
            await self._told(by, event)
            undoing.pop_all()
            for keys in both:
                keys.adopt(clock.now())
        return kids[0]

    async def rotate_targets(self, by: Who, switch: bool) -> None:
        """Have a next authority that SSH targets are to believe, or, with ``switch``, sign with it: they must do so
        by then. ``PeerError`` where there is none to switch to."""
        keys = self._foundation.ssh_keys
        async with self._in_order, contextlib.AsyncExitStack() as undoing:
            undoing.callback(keys.targets.switch() if switch else keys.targets.prepare())
            line = keys.targets_authority() if switch else keys.next_targets_authority()
            event = TargetsAuthorityRotated(by[0], authority=line.decode(), signs=switch, names=names(by))
            await self._told(by, event)
            undoing.pop_all()

    async def _told(self, by: Who, event: Event) -> None:
        """Every node, and the trail."""

        def unit(writer: Writer) -> int:
            writer.append(event)
            return writer.publish(FeedKind.KEYS, Scope.ALL, "", by=by[0], data=with_names(by))

        try:
            self._own.add(await self._foundation.store.commit(unit))
        except BaseException:
            self._keys_in_doubt = True  # a COMMIT whose answer was lost may have told them all the same
            raise

    async def settle(self) -> None:
        """Have the nodes look at the keys once more where it is not known what they were told. Call it every few
        seconds; ``Unavailable`` while they cannot be told."""
        if self._keys_in_doubt:
            await self._foundation.store.commit(lambda writer: writer.publish(FeedKind.KEYS, Scope.ALL, ""))
            self._keys_in_doubt = False

    async def follow(self, feed: Feed) -> None:
        """Take up what other nodes change, until cancelled."""
        position = None
        while True:
            try:
                if position is None:
                    position = await self._foundation.store.read(lambda reader: reader.feed_position())
                    await self._take_up(FOLLOWED)  # what was changed between this process's first look and now
                items = await feed.after(position)
            except Unavailable:
                await asyncio.sleep(RETRY)
                continue
            if not items:
                await feed.wait()
                continue
            missed = items[0].seq != position + 1
            position = items[-1].seq
            async with self._in_order:
                news = FOLLOWED if missed else {each.kind for each in items if each.seq not in self._own}
                self._own -= {each.seq for each in items}
            await self._take_up(news)

    async def _take_up(self, kinds: Collection[FeedKind]) -> None:
        """Read again what these tell of. What cannot be read is logged, and what was known before stays."""
        log = structlog.get_logger()
        async with self._in_order:
            if FeedKind.RELOADED in kinds:
                try:
                    changed = self._foundation.configured.reload()
                except (ConfigProblems, TidegateError) as error:
                    log.error("configuration not reloaded", problems=str(error))
                else:
                    log.info("configuration reloaded", changed=changed)
                    await self.warned()
            if FeedKind.KEYS in kinds:
                try:
                    self._foundation.reload_keys()
                except TidegateError as error:
                    log.error("keys not read again", problem=str(error))


async def reload_at(hangup: asyncio.Event, reload: Callable[[Who], Awaitable[Reload]]) -> None:
    """At each SIGHUP the file is read again; a broken one changes nothing and says so in the log."""
    log = structlog.get_logger()
    while True:
        await hangup.wait()
        hangup.clear()
        try:
            done = await reload(SYSTEM)
        except TidegateError as error:
            log.error("configuration not reloaded", problems=error.hint or str(error))
        else:
            log.info("configuration reloaded", changed=done.changed + done.renewed, restart=done.restart)
