"""Who may see which request, grant and session: what is one's own, what one decides, and ``rights`` over the rest.
Pure.

Called by the other files of ``access`` and by the API. People are always judged by the catalog of now, not by what
they were when they logged in.
"""

from proxy.access.rights import Right, may, must
from proxy.core.access import Considered, Grant, Request
from proxy.core.errors import Denied, NotFound
from proxy.core.identity import Catalog, Identity
from proxy.core.ports import Viewer
from proxy.core.sessions import SessionRecord
from proxy.core.states import SessionStatus


def current(catalog: Catalog, identity: Identity) -> Identity:
    """The same person as the configuration has them now; ``Denied`` where it has them no more."""
    known = catalog.identities.get(identity.id)
    if known is None:
        raise Denied("you are not known here any more", hint="log in again", code="unauthenticated")
    return known


def is_admin(identity: Identity) -> bool:
    return may(identity, Right.ADMINISTER)


def sees_request(identity: Identity, request: Request) -> bool:
    """Its maker, those who may decide it, who said yes to it, admins and auditors."""
    return request.identity == identity.id or may(identity, Right.TRAIL) or decides(identity, request)


def decides(identity: Identity, request: Request) -> bool:
    """Return whether this person is of the group that decides the request, or said yes to it."""
    group = request.decision.approvers
    return approved(identity, request) or (bool(group) and group in identity.groups)


def sees_use(identity: Identity, request: Request) -> bool:
    """Its maker, those who may decide it, admins and auditors."""
    return request.identity == identity.id or may(identity, Right.USE) or decides(identity, request)


def trace_for(identity: Identity, request: Request) -> tuple[Considered, ...]:
    """Return what this person, who sees the request, may read of how policy looked at it: all of it, or of one's
    own request the rules that cover oneself."""
    trace = request.decision.trace
    if may(identity, Right.TRACE):
        return trace
    if request.identity != identity.id:
        return ()
    return tuple(each for each in trace if each.covers or each.matched)


def approved(identity: Identity, request: Request | None) -> bool:
    """Whether this person said yes to that request."""
    return request is not None and any(each.by == identity.id and each.approved for each in request.approvals)


def sees_grant(identity: Identity, grant: Grant, request: Request | None) -> bool:
    """Its holder, who approved it, admins and auditors. ``request`` is the grant's."""
    return grant.identity == identity.id or may(identity, Right.TRAIL) or approved(identity, request)


def viewer(identity: Identity) -> Viewer | None:
    """Whose lists this person's are, as ``sees_request`` and ``sees_grant`` say; None for who sees all."""
    return None if may(identity, Right.TRAIL) else Viewer(identity.id, identity.groups)


def sees_session(identity: Identity, session: SessionRecord) -> bool:
    """Its own person; of others' who holds the right over what is live, or over what is past."""
    over = Right.LIVE if session.status is SessionStatus.LIVE else Right.TRAIL
    return session.identity == identity.id or may(identity, over)


def sees_running(identity: Identity, session: SessionRecord) -> bool:
    """Return whether this person may read what a session runs at this moment."""
    return session.identity == identity.id or may(identity, Right.LIVE)


def must_read(catalog: Catalog, identity: Identity, session: SessionRecord) -> None:
    """Raise ``Denied`` unless this person, who sees the session, may read what it did."""
    if session.identity != identity.id:
        must(identity, Right.CONTENT, admins_read=catalog.admins_read)


def no_such(thing: str) -> NotFound:
    """One text for what does not exist and for what is not for the one who asks."""
    return NotFound(f"no such {thing}, or not for you")


def must_be_admin(identity: Identity) -> None:
    must(identity, Right.ADMINISTER)
