"""What a revocation touched and how far it has got: from the feed, the sessions and the nodes.

Nothing is kept here: a revocation's number in the feed says when it was committed and what it names; sessions carry
their own receipts; nodes say how far they have read. Called by the routes of grants, revocations, locks, sessions.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from proxy.access.people import no_such, sees_running
from proxy.access.revocations import Impact, Revocation, Target
from proxy.access.rights import Right, may
from proxy.api.recordings import running
from proxy.api.services import Services
from proxy.api.shapes.access import CutShown, GrantShown, RevocationMade, RevocationShown, TouchedSession
from proxy.core.access import Grant
from proxy.core.feed import FeedItem, Scope
from proxy.core.identity import Catalog, Identity
from proxy.core.ports import Node, Page, Reader
from proxy.core.sessions import SessionRecord
from proxy.core.states import SessionStatus

SHOWN_MOST = 1000
LOOKED_AT_FOR_STATEMENTS = 50
"""Sessions whose running statement is looked up for one answer: each is a read of a file."""

SKEW_MOST = 5.0


async def made(services: Services, target: Target, revocation: Revocation, by: Identity) -> RevocationMade:
    """A revocation that was ordered, as ``by`` may see it."""
    catalog = services.catalog()

    def query(reader: Reader) -> tuple[list[GrantShown], list[Node]]:
        grants = [reader.grant(each) for each in revocation.grants[:SHOWN_MOST]]
        return _grants(reader, [each for each in grants if each], catalog), fresh(services, reader)

    grants, nodes = await services.store.read(query)
    sessions = await touched(services, revocation.sessions, by, revocation.at)
    return _shown(catalog, target, grants, sessions, nodes, revocation.seq)


async def previewed(services: Services, target: Target, impact: Impact, by: Identity) -> RevocationMade:
    """What a revocation would end, as ``by`` may see it."""
    catalog = services.catalog()
    grants, nodes = await services.store.read(
        lambda reader: (_grants(reader, impact.grants, catalog), fresh(services, reader))
    )
    sessions = await touched(services, impact.sessions, by)
    return _shown(catalog, target, grants, sessions, nodes, None)


def _grants(reader: Reader, grants: Iterable[Grant], catalog: Catalog) -> list[GrantShown]:
    now = reader.now()
    return [GrantShown.of(each, now, catalog) for each in grants]


def _shown(
    catalog: Catalog,
    target: Target,
    grants: list[GrantShown],
    sessions: list[TouchedSession],
    nodes: Sequence[Node],
    seq: int | None,
) -> RevocationMade:
    key = catalog.id_of(target.key) if target.scope is Scope.IDENTITY else target.key
    return RevocationMade(
        dry_run=seq is None,
        scope=target.scope.value,
        key=_called(catalog, target.scope, key),
        seq=seq,
        grants=grants,
        sessions=sessions,
        nodes=[each.id for each in nodes],
    )


def _called(catalog: Catalog, scope: Scope, key: str, name: str = "") -> str:
    """Return what to call what was ended: of a person with the id ``key`` their name of now, else ``name``."""
    return catalog.name_of((key, name)) if scope is Scope.IDENTITY else key


async def touched(
    services: Services, sessions: Sequence[SessionRecord], by: Identity, at: float | None = None
) -> list[TouchedSession]:
    """The sessions with what the first of them run now, or ran ``at`` the instant that ended them, where ``by`` may
    read that: who ends what they approved is told which sessions end, and no text."""
    shown, made = [], ("statement", "identity", "identity_id")
    for index, each in enumerate(sessions[:SHOWN_MOST]):
        looks = index < LOOKED_AT_FOR_STATEMENTS and sees_running(by, each)
        found = await running(services, each, at) if looks else None
        shown.append(
            TouchedSession(
                **{name: getattr(each, name) for name in TouchedSession.model_fields if name not in made},
                identity=services.catalog().name_of(each.who),
                identity_id=each.identity,
                statement=found.text if found else None,
            )
        )
    return shown


async def progress(services: Services, seq: int, by: Identity) -> RevocationShown:
    """How far the revocation, lock or cut with feed number ``seq`` has got. ``NotFound`` for what is not one, is
    somebody else's, or is older than the feed keeps (then the trail tells)."""

    def query(reader: Reader) -> tuple[FeedItem, list[SessionRecord], list[Node]]:
        item = next((each for each in reader.feed_after(seq - 1, 1) if each.seq == seq), None)
        if item is None or not item.ends or not (item.by == by.id or may(by, Right.TRAIL)):
            raise no_such("revocation")
        return item, named_sessions(reader, item), fresh(services, reader)

    item, sessions, nodes = await services.store.read(query)
    catalog = services.catalog()
    shown = [cut_shown(each, catalog) for each in sessions]
    waiting = [each.id for each in nodes if each.feed_seen < seq]
    live = [each for each in shown if each.status == SessionStatus.LIVE]
    return RevocationShown(
        seq=seq,
        at=item.at,
        scope=item.scope.value,
        key=_called(catalog, item.scope, item.key, item.name_of(item.key)),
        by=catalog.name_of((item.by, item.name_of(item.by))),
        reason=item.reason,
        ended=[each for each in shown if each.status == SessionStatus.ENDED],
        live=live,
        unconfirmed=waiting,
        done=not live and not waiting,
    )


def named_sessions(reader: Reader, item: FeedItem) -> list[SessionRecord]:
    """The sessions that the item names and that were live when it was published."""
    if item.scope is Scope.SESSION:
        found = reader.session(item.key)
        return [found] if found else []
    if item.scope is Scope.TOKEN:
        return []  # the nodes alone know whose sessions it let in
    filters: Any = {
        Scope.ALL: {},
        Scope.GRANT: {"grant": item.key},
        Scope.IDENTITY: {"identity": item.key},
        Scope.RESOURCE: {"resource": item.key},
        Scope.NODE: {"node": item.key},
    }.get(item.scope, {})  # what names something unknown ends everything, see ``sessions.registry``
    page = Page(SHOWN_MOST)
    rows = [*reader.sessions(page, live=True, **filters), *reader.sessions(page, live=False, **filters)]
    return [each for each in rows if each.started <= item.at and ended_by(each, item.at)]


def ended_by(session: SessionRecord, at: float) -> bool:
    """Whether a session had not ended before ``at``. The two instants may be of two machines' clocks, so one with a
    cut receipt is given the skew that a ready node may have."""
    if session.ended is None:
        return True
    return session.ended >= at - (SKEW_MOST if session.receipt else 0.0)


def cut_shown(session: SessionRecord, catalog: Catalog) -> CutShown:
    receipt = session.receipt
    closed = receipt.client_closed if receipt else None
    milliseconds = round((closed - receipt.requested) * 1000, 3) if receipt and closed is not None else None
    return CutShown(
        session=session.id,
        node=session.node,
        identity=catalog.name_of(session.who),
        identity_id=session.identity,
        status=session.status.value,
        end_reason=session.end_reason.value if session.end_reason else None,
        milliseconds=milliseconds,
        requested=receipt.requested if receipt else None,
        client_closed=closed,
        target_stopped=receipt.target_stopped if receipt else None,
        verified=receipt.verified if receipt else "",
    )


def fresh(services: Services, reader: Reader) -> list[Node]:
    """Nodes whose heartbeat is within the lease, by the clock it was made by: the store's. One that is silent for
    longer has cut everything by itself."""
    oldest = reader.now() - services.facts().lease
    return [each for each in reader.nodes() if each.heartbeat >= oldest]
