"""Who may say yes or no to a request. Pure; called by ``requests``.

Nobody decides their own request, whatever their role; only the group that the decision names decides, as the
configuration has it now.
"""

from proxy.access.people import is_admin
from proxy.core.access import Decision, Request
from proxy.core.errors import Denied
from proxy.core.feed import Scope
from proxy.core.identity import Identity
from proxy.core.ports import Reader


def voter(
    reader: Reader, request: Request, person: Identity, decision: Decision, *, admins_too: bool = False
) -> None:
    """``Denied`` unless ``person`` may decide ``request`` under ``decision`` (the one of now)."""
    if person.id == request.identity:
        raise Denied("nobody decides their own request", hint="ask somebody else, or withdraw it")
    if reader.lock(Scope.IDENTITY, person.id) is not None:
        raise Denied("you are locked", hint="ask an administrator of Tidegate")
    group = decision.approvers or request.decision.approvers
    if (not group or group not in person.groups) and not (admins_too and is_admin(person)):
        raise Denied(f"only members of group {group or '(none)'} decide this request")


def approved_by(request: Request, person: Identity) -> bool:
    """Whether ``person`` said yes already."""
    return any(each.by == person.id and each.approved for each in request.approvals)
