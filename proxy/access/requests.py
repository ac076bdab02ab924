"""Requests: made, decided at once by policy or by people, withdrawn, lapsed.

Each is one transaction: the request, its events, and the grant that follows are kept together or not at all. Called
by the API; the housekeeping of ``app`` calls ``expire_due`` and ``flush``. Knows nothing of tokens and sessions.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from proxy.access.judge import GATEWAY, Judge, is_live, refusal
from proxy.access.limits import AccessLimits
from proxy.access.people import current, no_such, sees_request, viewer
from proxy.access.tally import Tally
from proxy.access.texts import reason as one_line
from proxy.access.texts import shown
from proxy.access.voting import approved_by, voter
from proxy.core.access import Approval, Decision, Outcome, Request
from proxy.core.errors import PeerError
from proxy.core.events import (
    RequestApproved,
    RequestDecided,
    RequestExpired,
    RequestMade,
    RequestWithdrawn,
)
from proxy.core.identity import Catalog, Identity, Who, names
from proxy.core.ports import Clock, GrantSeal, Ids, Page, Reader, Store, Writer
from proxy.core.states import REQUEST_TRANSITIONS, RequestStatus, step
from proxy.policy.decide import reachable

DURATION_LONGEST = 366 * 86_400.0

_POLICY: Who = (GATEWAY, GATEWAY)
"""Who decides what policy decides by itself."""

_AT_ONCE: Mapping[Outcome, RequestStatus] = {
    Outcome.ALLOW: RequestStatus.APPROVED,
    Outcome.DENY: RequestStatus.DENIED,
    Outcome.NEEDS_APPROVAL: RequestStatus.PENDING,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for, as they said it."""

    resource: str
    account: str
    duration: float
    reason: str
    source: str
    extends: str | None = None


class Requests:
    """``catalog`` and ``limits`` give the configuration as it is now; times are the store's own."""

    def __init__(
        self,
        store: Store,
        catalog: Callable[[], Catalog],
        clock: Clock,
        ids: Ids,
        seal: GrantSeal,
        limits: Callable[[], AccessLimits] = AccessLimits,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._ids = ids
        self._limits = limits
        self._judge = Judge(catalog, ids, seal)
        self._seal = seal
        self._unreachable: Tally[RequestDecided] = Tally(store, clock, limits().window, repeated)

    # -- making

    async def make(
        self,
        identity: Identity,
        resource: str,
        account: str,
        duration: float,
        reason: str,
        source: str,
        extends: str | None = None,
    ) -> Request:
        """Ask for ``account`` on ``resource`` for ``duration`` seconds; the request as it was decided.

        ``approved`` with its grant, ``pending``, or ``denied`` with the decision that says why. ``NotFound`` for
        what does not exist and what no rule could ever give this person alike; ``PeerError`` for what cannot be
        asked, ``Denied`` (unauthenticated) for somebody whom the configuration has no more.
        """
        wanted = Wanted(resource, account, duration, one_line(reason), source, extends)
        check(wanted)
        person = current(self._catalog(), identity)
        if not self._reachable(person, wanted):
            await self._note_unreachable(person, wanted)
            raise no_such("resource or account")
        return await self._store.commit(lambda writer: self._made(writer, person, wanted))

    def _made(self, writer: Writer, person: Identity, wanted: Wanted) -> Request:
        if wanted.extends:
            self._check_extends(writer, person, wanted)
        self._check_pending(writer, person)
        now = writer.now()
        asked = Request(
            id=self._ids.new("request"),
            identity=person.id,
            identity_name=person.name,
            groups=person.groups,
            resource=wanted.resource,
            account=wanted.account,
            duration=wanted.duration,
            reason=wanted.reason,
            status=RequestStatus.PENDING,
            created=now,
            expires=now + self._limits().request_life,
            decision=refusal("not decided yet"),
            extends=wanted.extends,
            source=wanted.source,
        )
        decision = self._judge.judge(writer, asked)
        writer.append(made(asked))
        return self._decided(writer, replace(asked, decision=decision), _AT_ONCE[decision.outcome], _POLICY)

    def _check_extends(self, writer: Writer, person: Identity, wanted: Wanted) -> None:
        grant = writer.grant(wanted.extends or "")
        if grant is None or grant.identity != person.id or not self._seal.intact(grant):
            raise no_such("grant")
        if (grant.resource, grant.account) != (wanted.resource, wanted.account):
            raise no_such("grant")
        if not is_live(grant, writer.now()):
            raise PeerError(
                f"it is already {grant.status(writer.now())}", code="conflict", hint="make a new request"
            )

    def _check_pending(self, writer: Writer, person: Identity) -> None:
        most = self._limits().pending_per_identity
        pending = writer.requests(Page(most), identity=person.id, status=RequestStatus.PENDING)
        if len(pending) >= most:
            raise PeerError(
                f"you have {most} undecided requests already", code="conflict", hint="withdraw one, or wait"
            )

    def _reachable(self, person: Identity, wanted: Wanted) -> bool:
        catalog = self._catalog()
        resource = catalog.resources.get(wanted.resource)
        if resource is None or resource.account(wanted.account) is None:
            return False
        return reachable(catalog.rules, person, resource, wanted.account)

    async def _note_unreachable(self, person: Identity, wanted: Wanted) -> None:
        """Into the trail, but counted when it is many: whoever tries names fills no disk."""
        event = RequestDecided(
            actor=person.id,
            request="",
            identity=person.id,
            resource=shown(wanted.resource),
            status=RequestStatus.DENIED,
            decision=refusal(f"no such resource or account, or not for {person.name}: {shown(wanted.account)}"),
            reason=wanted.reason,
            names=names(person.who),
        )
        await self._unreachable.note((person.id,), event)

    async def flush(self, now: float) -> None:
        """Write what was counted of windows closed by ``now`` (monotonic seconds); call it about every second."""
        await self._unreachable.flush(now)

    # -- deciding

    async def approve(self, id: str, by: Identity, reason: str = "") -> Request:
        """One approver's yes; with the last one needed the grant is issued, if policy still allows it then.

        ``NotFound`` where ``by`` may not see it; ``Denied`` for the requester and for those outside the group,
        admins included; ``PeerError`` (conflict) when it is decided already, has lapsed, or ``by`` has said yes.
        """
        said = one_line(reason)
        person = current(self._catalog(), by)
        return await self._store.commit(lambda writer: self._approved(writer, id, person, said))

    def _approved(self, writer: Writer, id: str, person: Identity, reason: str) -> Request:
        request = self._open(writer, id, person, RequestStatus.APPROVED)
        decision = self._judge.judge(writer, request)
        voter(writer, request, person, decision)
        if approved_by(request, person):
            raise PeerError("you have approved it already", code="conflict", hint="it waits for others")
        request = self._with_word(writer, request, person, approved=True, reason=reason)
        if decision.outcome is Outcome.DENY:
            return self._decided(writer, replace(request, decision=decision), RequestStatus.DENIED, _POLICY, reason)
        request = replace(request, decision=decision)
        if self._yeses(request, decision) < decision.approvals:
            writer.put_request(request)
            return request
        return self._decided(writer, request, RequestStatus.APPROVED, person.who, reason)

    def _yeses(self, request: Request, decision: Decision) -> int:
        """How many different people said yes who may say so by the configuration of now."""
        known = self._catalog().identities
        voters = {each.by for each in request.approvals if each.approved} - {request.identity}
        return sum(each in known and decision.approvers in known[each].groups for each in voters)

    async def deny(self, id: str, by: Identity, reason: str) -> Request:
        """One approver's no ends it. Errors as for ``approve``; admins may say no, since that gives nothing."""
        said = one_line(reason)
        person = current(self._catalog(), by)
        return await self._store.commit(lambda writer: self._denied(writer, id, person, said))

    def _denied(self, writer: Writer, id: str, person: Identity, reason: str) -> Request:
        request = self._open(writer, id, person, RequestStatus.DENIED)
        voter(writer, request, person, request.decision, admins_too=True)
        request = self._with_word(writer, request, person, approved=False, reason=reason)
        return self._decided(writer, request, RequestStatus.DENIED, person.who, reason)

    async def withdraw(self, id: str, by: Identity) -> Request:
        """The requester takes it back. ``NotFound`` for anybody else's."""
        return await self._store.commit(lambda writer: self._withdrawn(writer, id, by))

    def _withdrawn(self, writer: Writer, id: str, by: Identity) -> Request:
        request = writer.request(id)
        if request is None or request.identity != by.id:
            raise no_such("request")
        status = step(REQUEST_TRANSITIONS, request.status, RequestStatus.WITHDRAWN)
        request = replace(request, status=status, decided=writer.now())
        writer.put_request(request)
        writer.append(
            RequestWithdrawn(by.id, request=id, identity=by.id, resource=request.resource, names=names(by.who))
        )
        return request

    async def expire_due(self) -> list[Request]:
        """Let lapse what nobody decided in time; those requests. Call it every few seconds."""
        if not await self._store.read(lambda reader: reader.pending_requests(reader.now())):
            return []
        return await self._store.commit(self._lapse)

    def _lapse(self, writer: Writer) -> list[Request]:
        now = writer.now()
        due = [
            replace(request, status=step(REQUEST_TRANSITIONS, request.status, RequestStatus.EXPIRED), decided=now)
            for request in writer.pending_requests(now)
        ]
        for request in due:
            writer.put_request(request)
            writer.append(
                RequestExpired(
                    GATEWAY,
                    request=request.id,
                    identity=request.identity,
                    resource=request.resource,
                    names=names(request.who),
                )
            )
        return due

    # -- reading

    async def get(self, id: str, by: Identity) -> Request:
        """One request; ``NotFound`` where ``by`` may not see it."""
        person = current(self._catalog(), by)
        request = await self._store.read(lambda reader: reader.request(id))
        if request is None or not sees_request(person, request):
            raise no_such("request")
        return request

    async def visible_to(
        self, by: Identity, page: Page, *, status: str | None = None, resource: str | None = None
    ) -> list[Request]:
        """Newest first: one's own, those one may decide or said yes to; admins and auditors see all."""
        whose = viewer(current(self._catalog(), by))
        return await self._store.read(
            lambda reader: reader.requests(page, status=status, resource=resource, viewer=whose)
        )

    # -- shared

    def _open(self, writer: Writer, id: str, person: Identity, new: RequestStatus) -> Request:
        """The request, if ``person`` may know of it and it can still become ``new``."""
        request = writer.request(id)
        if request is None or not self._may_know(writer, person, request):
            raise no_such("request")
        step(REQUEST_TRANSITIONS, request.status, new)
        if request.expires <= writer.now():
            raise PeerError("it is already expired", code="conflict", hint="ask for a new request")
        return request

    def _may_know(self, reader: Reader, person: Identity, request: Request) -> bool:
        """Besides those who see it: who may decide it by a configuration that changed since it was made."""
        if sees_request(person, request):
            return True
        if request.status is not RequestStatus.PENDING:
            return False
        return self._judge.judge(reader, request).approvers in person.groups

    def _with_word(
        self, writer: Writer, request: Request, person: Identity, *, approved: bool, reason: str
    ) -> Request:
        word = Approval(person.id, approved, writer.now(), reason, by_name=person.name)
        writer.append(
            RequestApproved(
                actor=person.id,
                request=request.id,
                identity=request.identity,
                resource=request.resource,
                approved=word.approved,
                reason=word.reason,
                names=names(person.who, request.who),
            )
        )
        return replace(request, approvals=(*request.approvals, word))

    def _decided(
        self, writer: Writer, request: Request, status: RequestStatus, by: Who, reason: str = ""
    ) -> Request:
        """Keep the request in its new status, tell the trail, and carry out a yes."""
        if status is RequestStatus.PENDING:
            writer.put_request(request)
            return request
        request = replace(request, status=step(REQUEST_TRANSITIONS, request.status, status), decided=writer.now())
        writer.append(
            RequestDecided(
                actor=by[0],
                request=request.id,
                identity=request.identity,
                resource=request.resource,
                status=status,
                decision=request.decision,
                reason=reason,
                names=names(by, request.who),
            )
        )
        if status is RequestStatus.APPROVED:
            request = replace(request, grant=self._judge.carry_out(writer, request).id)
        writer.put_request(request)
        return request


def check(wanted: Wanted) -> None:
    """``PeerError`` for what nobody can ask; ``NotFound`` for names longer than any is."""
    if not math.isfinite(wanted.duration) or not 1 <= wanted.duration <= DURATION_LONGEST:
        raise PeerError("a duration is between 1 second and 366 days")
    if max(len(wanted.resource), len(wanted.account), len(wanted.source)) > 255:
        raise no_such("resource or account")


def made(request: Request) -> RequestMade:
    return RequestMade(
        actor=request.identity,
        request=request.id,
        identity=request.identity,
        resource=request.resource,
        account=request.account,
        duration=request.duration,
        reason=request.reason,
        extends=request.extends or "",
        names=names(request.who),
    )


def repeated(last: RequestDecided, times: int) -> RequestDecided:
    """The event for ``times`` more that were like ``last``."""
    return replace(last, decision=refusal(f"{times} more like it; the last: {last.decision.reason}"))
