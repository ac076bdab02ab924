"""Who may see and do what with requests, grants and sessions: the few rules, in one place. Pure.

Called by the other files of ``access``. People are always judged by the catalog of now, not by what they were when
they logged in.
"""

from proxy.core.access import Grant, Request
from proxy.core.errors import Denied, NotFound
from proxy.core.identity import Catalog, Identity, Role
from proxy.core.ports import Viewer
from proxy.core.sessions import SessionRecord

_SEES_ALL = frozenset({Role.ADMIN, Role.AUDITOR})


def current(catalog: Catalog, identity: Identity) -> Identity:
    """The same person as the configuration has them now; ``Denied`` where it has them no more."""
    known = catalog.identities.get(identity.id)
    if known is None:
        raise Denied("you are not known here any more", hint="log in again", code="unauthenticated")
    return known


def is_admin(identity: Identity) -> bool:
    return Role.ADMIN in identity.roles


def sees_all(identity: Identity) -> bool:
    """Admins and auditors read everything."""
    return bool(identity.roles & _SEES_ALL)


def sees_request(identity: Identity, request: Request) -> bool:
    """Its maker, those who may decide it, who said yes to it, admins and auditors."""
    return (
        request.identity == identity.id
        or sees_all(identity)
        or approved(identity, request)
        or (bool(request.decision.approvers) and request.decision.approvers in identity.groups)
    )


def approved(identity: Identity, request: Request | None) -> bool:
    """Whether this person said yes to that request."""
    return request is not None and any(each.by == identity.id and each.approved for each in request.approvals)


def sees_grant(identity: Identity, grant: Grant, request: Request | None) -> bool:
    """Its holder, who approved it, admins and auditors. ``request`` is the grant's."""
    return grant.identity == identity.id or sees_all(identity) or approved(identity, request)


def viewer(identity: Identity) -> Viewer | None:
    """Whose lists this person's are, as ``sees_request`` and ``sees_grant`` say; None for who sees all."""
    return None if sees_all(identity) else Viewer(identity.id, identity.groups)


def sees_session(identity: Identity, session: SessionRecord) -> bool:
    return session.identity == identity.id or sees_all(identity)


def no_such(thing: str) -> NotFound:
    """One text for what does not exist and for what is not for the one who asks."""
    return NotFound(f"no such {thing}, or not for you")


def must_be_admin(identity: Identity) -> None:
    if not is_admin(identity):
        raise Denied("only an administrator may do that")
