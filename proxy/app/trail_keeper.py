"""What an API's process does for trail and feed: signs the trail's end and remembers what was signed, begins a new
origin where somebody says that the store was put back, and prunes the feed.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from gateway_config.schema import Config
from proxy.access.revocations import Revocation, Revocations, Target
from proxy.adapters import configuration
from proxy.adapters.head_places import HeadFolder, HeadPlace, HeadWebhook
from proxy.api.services import Restored
from proxy.app.foundation import Foundation, machine_name
from proxy.audit.signing import Signed, Signing
from proxy.core.errors import Unavailable
from proxy.core.feed import FeedKind, Scope
from proxy.core.identity import Identity
from proxy.core.ports import Store, Writer
from proxy.core.trail import TrailHead

KEPT_LEASES = 10
"""Leases for which feed items are kept; a node that is further behind has cut everything long ago."""


class TrailKeeper:
    """One of each API's process. ``wrong``: why nothing is signed, in words; "" while all is well. ``listeners``
    are given each head once it is committed, and the same ones again. ``kept``: seconds that feed items stay."""

    def __init__(self, store: Store, signing: Signing, revocations: Revocations, kept: float) -> None:
        self.wrong = ""
        self.listeners: list[Callable[[TrailHead], None]] = []
        self.revocations = revocations
        self._store = store
        self._signing = signing
        self._kept = kept
        self._log = structlog.get_logger()
        self._in_order = asyncio.Lock()

    async def sign(self) -> None:
        """Sign the trail's end where it has grown, and prune the feed. Call it every few seconds; ``Unavailable``
        without the store, or where what was signed cannot be remembered."""
        async with self._in_order:
            signed = await self._store.commit(self._unit)
            if signed.wrong and signed.wrong != self.wrong:
                self._log.error("the trail was tampered with, or the store put back", detail=signed.wrong)
            self.wrong = signed.wrong
            if signed.head is not None:
                await self._keep(signed.head)

    def _unit(self, writer: Writer) -> Signed:
        writer.prune_feed(writer.now() - self._kept)
        return self._signing.unit(writer)

    async def restored(self, by: Identity, reason: str) -> Restored:
        """Go on from the store as it is: a new origin, told in the trail, and everything revoked, in one commit.
        ``Denied`` for who is no admin."""

        def unit(writer: Writer) -> tuple[TrailHead, int, int, Revocation]:
            seq, lost = self._signing.restore(writer, by.who, reason)
            revocation = self.revocations.revoke_in(writer, Target(Scope.ALL), by, reason)
            writer.publish(FeedKind.KEYS, Scope.ALL, "", by=by.id)  # what is beside the keys is another: look now
            return self._signing.seal(writer), seq, lost, revocation

        async with self._in_order:
            head, seq, lost, revocation = await self._store.commit(unit)
            self.wrong = ""
            try:
                await self._keep(head)
            except Unavailable as error:  # it is done, and this process remembers it
                self._log.error("what was signed cannot be remembered", detail=str(error))
        return Restored(seq, head.origin, lost, revocation)

    async def _keep(self, head: TrailHead) -> None:
        for listener in self.listeners:
            listener(head)
        await asyncio.to_thread(self._signing.keep, head)


def keeper_of(foundation: Foundation) -> TrailKeeper:
    """The one of this process."""
    configured, heads = foundation.configured, foundation.heads
    host = machine_name(configured.config)
    return TrailKeeper(
        foundation.store,
        Signing(heads.sign, heads.public(), foundation.head_memory, host),
        Revocations(foundation.store, lambda: configured.catalog, foundation.seals),
        KEPT_LEASES * configured.config.store.lease,
    )


def places_of(config: Config) -> Sequence[HeadPlace]:
    """Where heads are kept besides, as configured."""
    trail = config.trail
    places: list[HeadPlace] = []
    if trail.heads_folder is not None:
        places.append(HeadFolder(config.locate(trail.heads_folder), machine_name(config)))
    if trail.heads_url is not None:
        secret = configuration.heads_token(config)
        authority = config.locate(trail.heads_ca) if trail.heads_ca else None
        places.append(HeadWebhook(trail.heads_url, authority, lambda: secret.reveal() if secret else ""))
    return places
