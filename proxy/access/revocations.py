"""Ending what was given: revocations, locks and cuts, each in one commit with its events and its feed item.

What is live ends because every node reads the feed; nothing here knows a node. Called by the API.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from proxy.access.judge import is_live
from proxy.access.paging import every
from proxy.access.people import approved, current, must_be_admin, no_such, sees_grant, sees_session
from proxy.access.rights import Right, may, must
from proxy.access.seals import Seals
from proxy.access.texts import reason as one_line
from proxy.core.access import Grant
from proxy.core.errors import Denied, PeerError
from proxy.core.events import GrantRevoked, Locked, Revoked, SessionCutOrdered, Unlocked
from proxy.core.feed import FeedKind, Scope, with_names
from proxy.core.identity import Catalog, Identity, Who, names
from proxy.core.ports import Lock, Reader, Store, Writer
from proxy.core.sessions import SessionRecord
from proxy.core.states import GRANT_TRANSITIONS, SESSION_TRANSITIONS, GrantStatus, SessionStatus, step

TOKEN_REMEMBERED = 366 * 86_400.0
"""Seconds a revoked token is remembered, which is longer than any token lives."""

_SHOWN_MOST = 1000
_KEY_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be ended: one grant, everything of an identity or on a resource, one token (``key`` is its jti),
    or everything (``key`` is empty). An identity is named by name or id as people do; ``Revocations`` makes an id
    of it before it looks at anything stored."""

    scope: Scope
    key: str = ""


@dataclass(frozen=True, slots=True)
class Impact:
    """What a revocation or lock would end now: at most 1000 of each are listed."""

    grants: tuple[Grant, ...]
    sessions: tuple[SessionRecord, ...]


@dataclass(frozen=True, slots=True)
class Revocation:
    """What was ordered: ``seq`` is its place in the feed (a node that has seen it has acted), ``grants`` were ended
    by it, ``sessions`` were live when it was committed."""

    seq: int
    at: float
    grants: tuple[str, ...]
    sessions: tuple[SessionRecord, ...]


class Revocations:
    """``catalog`` gives the configuration as it is now; times are the store's own."""

    def __init__(self, store: Store, catalog: Callable[[], Catalog], seals: Seals) -> None:
        self._store = store
        self._catalog = catalog
        self._seals = seals

    # -- revoking

    async def preview(self, target: Target, by: Identity) -> Impact:
        """What ``revoke`` would end, changing nothing: for who may revoke it, and for who sees what is live. Errors
        as for ``revoke``."""
        return await self._store.read(lambda reader: self._preview(reader, target, by))

    def _preview(self, reader: Reader, target: Target, by: Identity) -> Impact:
        target = self._check(reader, target, by, Right.LIVE)
        grants = tuple(islice(live_grants(reader, target), _SHOWN_MOST))
        return Impact(grants, tuple(islice(live_sessions(reader, target), _SHOWN_MOST)))

    async def revoke(self, target: Target, by: Identity, reason: str) -> Revocation:
        """End it. Admins anything; others their own grants (giving back) and grants they approved.

        ``NotFound`` for what is unknown or not for ``by``; ``Denied`` for what they see but may not end;
        ``PeerError`` (conflict) for a grant that is over already.
        """
        return await self._store.commit(lambda writer: self.revoke_in(writer, target, by, reason))

    def revoke_in(self, writer: Writer, target: Target, by: Identity, reason: str) -> Revocation:
        """``revoke`` as a part of a commit."""
        return self._revoke(writer, target, by, one_line(reason))

    def _revoke(self, writer: Writer, target: Target, by: Identity, reason: str) -> Revocation:
        target = self._check(writer, target, by, Right.ADMINISTER)
        now, told = writer.now(), (by.who, self._who(target))
        ended = [self._end(writer, grant, by, reason) for grant in list(live_grants(writer, target))]
        if target.scope is Scope.TOKEN:
            writer.revoke_token(target.key, now + TOKEN_REMEMBERED, by.id, reason)
        writer.append(
            Revoked(
                actor=by.id,
                scope=target.scope,
                key=target.key,
                reason=reason,
                grants=len(ended),
                names=names(*told),
            )
        )
        seq = writer.publish(
            FeedKind.REVOKED, target.scope, target.key, by=by.id, reason=reason, data=with_names(*told)
        )
        return Revocation(seq, now, tuple(ended), tuple(live_sessions(writer, target)))

    def _end(self, writer: Writer, grant: Grant, by: Identity, reason: str) -> str:
        now = writer.now()
        step(GRANT_TRANSITIONS, grant.status(now), GrantStatus.REVOKED)
        ended = replace(grant, revoked=now, revoked_by=by.id, revoked_by_name=by.name, revoked_reason=reason)
        # A row that somebody changed behind our back stays recognisable as such.
        writer.put_grant(self._seals.seal(ended) if self._seals.intact(grant) else ended)
        writer.append(
            GrantRevoked(
                actor=by.id,
                grant=grant.id,
                identity=grant.identity,
                resource=grant.resource,
                reason=reason,
                names=names(by.who, grant.who),
            )
        )
        return grant.id

    def _resolved(self, target: Target) -> Target:
        """Return the target with an identity's id for its name."""
        if target.scope is not Scope.IDENTITY:
            return target
        return replace(target, key=self._catalog().id_of(target.key))

    def _who(self, target: Target) -> Who:
        """Return the (id, name) of the identity that ``target`` is; ("", "") for any other."""
        return (
            (target.key, self._catalog().name_of((target.key, ""))) if target.scope is Scope.IDENTITY else ("", "")
        )

    def _check(self, reader: Reader, target: Target, by: Identity, right: Right) -> Target:
        """Return ``target`` by its id, if there is such a thing, and it is ``by``'s own, or theirs to end by an
        approval of theirs, or they hold ``right``."""
        person = current(self._catalog(), by)
        if len(target.key) > _KEY_LONGEST:
            raise no_such(str(target.scope))
        target = self._resolved(target)
        if target.scope is Scope.GRANT:
            self._check_grant(reader, target.key, person, right)
        elif target.scope in {Scope.IDENTITY, Scope.RESOURCE}:
            if not (target.scope is Scope.IDENTITY and target.key == person.id):
                must(person, right)
            self._check_known(reader, target)
        elif target.scope in {Scope.ALL, Scope.TOKEN}:
            must(person, right)
            if bool(target.key) is (target.scope is Scope.ALL):
                raise PeerError("a token is revoked by its id, and everything by none")
        else:
            raise PeerError(f"a {target.scope} is not revoked", hint="a session is cut")
        return target

    def _check_grant(self, reader: Reader, id: str, person: Identity, right: Right) -> None:
        grant = reader.grant(id)
        request = None if grant is None else reader.request(grant.request)
        if grant is None or not sees_grant(person, grant, request):
            raise no_such("grant")
        if not (may(person, right) or grant.identity == person.id or approved(person, request)):
            raise Denied("only its holder, who approved it and administrators end a grant")
        step(GRANT_TRANSITIONS, grant.status(reader.now()), GrantStatus.REVOKED)

    def _check_known(self, reader: Reader, target: Target) -> None:
        """Somebody who left the configuration may still hold grants, so either will do."""
        catalog = self._catalog()
        known = catalog.identities if target.scope is Scope.IDENTITY else catalog.resources
        if target.key in known or next(live_grants(reader, target), None):
            return
        if next(live_sessions(reader, target), None) is None:
            raise no_such(str(target.scope))

    # -- locks

    async def locks(self, by: Identity) -> list[Lock]:
        """All locks, for admins and auditors; others see their own."""
        person = current(self._catalog(), by)
        locks = await self._store.read(lambda reader: reader.locks())
        if may(person, Right.TRAIL):
            return locks
        return [lock for lock in locks if lock.scope is Scope.IDENTITY and lock.key == person.id]

    async def lock(self, scope: Scope, key: str, by: Identity, reason: str) -> Revocation:
        """Let an identity or resource be used no more until it is unlocked, and end its sessions. Admins only.

        Grants stay and count on; ``NotFound`` for a name that is not there. Locking again renews who and why.
        """
        said = one_line(reason)
        return await self._store.commit(lambda writer: self._lock(writer, Target(scope, key), by, said))

    def _lock(self, writer: Writer, target: Target, by: Identity, reason: str) -> Revocation:
        target = self._resolved(target)
        self._check_lockable(target, by)
        self._check_known(writer, target)
        now, who = writer.now(), self._who(target)
        told = (by.who, who)
        writer.put_lock(Lock(target.scope, target.key, by.id, reason, now, name=who[1], by_name=by.name))
        writer.append(Locked(actor=by.id, scope=target.scope, key=target.key, reason=reason, names=names(*told)))
        seq = writer.publish(
            FeedKind.LOCKED, target.scope, target.key, by=by.id, reason=reason, data=with_names(*told)
        )
        return Revocation(seq, now, (), tuple(live_sessions(writer, target)))

    async def unlock(self, scope: Scope, key: str, by: Identity) -> None:
        """Take the lock away. Admins only; ``NotFound`` when there is none. Where a person has the name and no
        lock, a lock of that very id is meant: its holder may have left, and somebody else have their name."""
        await self._store.commit(lambda writer: self._unlock(writer, Target(scope, key), by))

    def _unlock(self, writer: Writer, target: Target, by: Identity) -> None:
        meant = self._resolved(target)
        self._check_lockable(meant, by)
        found = next((each for each in (meant, target) if writer.remove_lock(each.scope, each.key)), None)
        if found is None:
            raise no_such("lock")
        told = names(by.who, self._who(found))
        writer.append(Unlocked(actor=by.id, scope=found.scope, key=found.key, names=told))

    def _check_lockable(self, target: Target, by: Identity) -> None:
        must_be_admin(current(self._catalog(), by))
        if target.scope not in {Scope.IDENTITY, Scope.RESOURCE}:
            raise PeerError(f"a {target.scope} is not locked", hint="an identity or a resource is")
        if target == Target(Scope.IDENTITY, by.id):
            raise PeerError("that would lock you out, unlocking included", hint="have another administrator do it")

    # -- cutting

    async def cut(self, session: str, by: Identity, reason: str) -> Revocation:
        """End one live session and leave its grant. Admins any, others their own.

        ``NotFound`` for one they may not see; ``PeerError`` (conflict) for one that has ended.
        """
        said = one_line(reason)
        return await self._store.commit(lambda writer: self._cut(writer, session, by, said))

    def _cut(self, writer: Writer, id: str, by: Identity, reason: str) -> Revocation:
        person = current(self._catalog(), by)
        session = writer.session(id)
        if session is None or not sees_session(person, session):
            raise no_such("session")
        if session.identity != person.id:
            must_be_admin(person)
        step(SESSION_TRANSITIONS, session.status, SessionStatus.ENDED)
        writer.append(SessionCutOrdered(actor=by.id, session=id, reason=reason, names=names(by.who)))
        seq = writer.publish(FeedKind.CUT, Scope.SESSION, id, by=by.id, reason=reason, data=with_names(by.who))
        return Revocation(seq, writer.now(), (), (session,))


def live_grants(reader: Reader, target: Target) -> Iterator[Grant]:
    """The grants that ``target`` names and that are not over; none for a token."""
    now = reader.now()
    if target.scope is Scope.GRANT:
        grant = reader.grant(target.key)
        return iter([grant] if grant is not None and is_live(grant, now) else [])
    if target.scope not in {Scope.ALL, Scope.IDENTITY, Scope.RESOURCE}:
        return iter([])
    identity, resource = _names(target)
    return every(lambda page: reader.grants(page, identity=identity, resource=resource, live_at=now))


def live_sessions(reader: Reader, target: Target) -> Iterator[SessionRecord]:
    """The sessions that are live under ``target``. A token's are known to the nodes alone: none are listed."""
    if target.scope is Scope.GRANT:
        return every(lambda page: reader.sessions(page, live=True, grant=target.key))
    if target.scope not in {Scope.ALL, Scope.IDENTITY, Scope.RESOURCE}:
        return iter([])
    identity, resource = _names(target)
    return every(lambda page: reader.sessions(page, live=True, identity=identity, resource=resource))


def _names(target: Target) -> tuple[str | None, str | None]:
    """(identity, resource) as filters."""
    return (
        target.key if target.scope is Scope.IDENTITY else None,
        target.key if target.scope is Scope.RESOURCE else None,
    )
