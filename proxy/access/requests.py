"""Requests: made, decided at once by policy or by people, withdrawn, lapsed.

Each is one transaction: the request, its events, and the grant that follows are kept together or not at all. Called
by the API; the housekeeping of ``app`` calls ``expire_due`` and ``flush``. Knows nothing of tokens and sessions.

A request is sealed with every vote on it (``seals``), and nobody's yes counts for a row that was changed behind our
back, put back to what it was before it was decided, or made by a later version. Ending one always works.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from proxy.access.judge import GATEWAY, NEWER_GRANT, Judge, is_live, refusal
from proxy.access.limits import AccessLimits
from proxy.access.people import current, no_such, sees_request, viewer
from proxy.access.seals import Seals
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
from proxy.core.ports import Clock, Ids, Page, Reader, Store, Writer
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

_OVER = ("request_decided", "request_withdrawn", "request_expired")
"""Events after which a request is decided by nobody any more."""


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
        seals: Seals,
        limits: Callable[[], AccessLimits] = AccessLimits,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._ids = ids
        self._limits = limits
        self._judge = Judge(catalog, ids, seals)
        self._seals = seals
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
        asked = self._seals.seal(replace(asked, decision=decision))
        return self._decided(writer, asked, asked, _AT_ONCE[decision.outcome], _POLICY)

    def _check_extends(self, writer: Writer, person: Identity, wanted: Wanted) -> None:
        grant = writer.grant(wanted.extends or "")
        if grant is None or grant.identity != person.id or not self._seals.intact(grant):
            raise no_such("grant")
        if (grant.resource, grant.account) != (wanted.resource, wanted.account):
            raise no_such("grant")
        if not is_live(grant, writer.now()):
            raise PeerError(
                f"it is already {grant.status(writer.now())}", code="conflict", hint="make a new request"
            )
        if self._seals.newer(grant):
            raise PeerError(NEWER_GRANT, code="conflict")

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
        before = request = self._open(writer, id, person, RequestStatus.APPROVED)
        self._check_own(writer, request)
        decision = self._judge.judge(writer, request)
        voter(writer, request, person, decision)
        if approved_by(request, person):
            raise PeerError("you have approved it already", code="conflict", hint="it waits for others")
        request = self._with_word(writer, request, person, approved=True, reason=reason)
        if decision.outcome is Outcome.DENY:
            request = replace(request, decision=decision)
            return self._decided(writer, before, request, RequestStatus.DENIED, _POLICY, reason)
        request = replace(request, decision=decision)
        enough = self._yeses(request, decision) >= decision.approvals
        status = RequestStatus.APPROVED if enough else RequestStatus.PENDING
        return self._decided(writer, before, request, status, person.who, reason)

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
        before = request = self._open(writer, id, person, RequestStatus.DENIED)
        voter(writer, request, person, request.decision, admins_too=True)
        request = self._with_word(writer, request, person, approved=False, reason=reason)
        return self._decided(writer, before, request, RequestStatus.DENIED, person.who, reason)

    async def withdraw(self, id: str, by: Identity) -> Request:
        """The requester takes it back. ``NotFound`` for anybody else's."""
        return await self._store.commit(lambda writer: self._withdrawn(writer, id, by))

    def _withdrawn(self, writer: Writer, id: str, by: Identity) -> Request:
        request = writer.request(id)
        if request is None or request.identity != by.id:
            raise no_such("request")
        status = step(REQUEST_TRANSITIONS, request.status, RequestStatus.WITHDRAWN)
        request = self._kept(writer, request, replace(request, status=status, decided=writer.now()))
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
        due = []
        for before in writer.pending_requests(now):
            status = step(REQUEST_TRANSITIONS, before.status, RequestStatus.EXPIRED)
            request = self._kept(writer, before, replace(before, status=status, decided=now))
            due.append(request)
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
        if self._seals.intact(request) and self._seals.newer(request):
            raise PeerError(
                "this request was made by a newer version of Tidegate",
                code="conflict",
                hint="decide it through an upgraded gateway",
            )
        return request

    def _check_own(self, reader: Reader, request: Request) -> None:
        """``PeerError`` (conflict) unless the row is as we wrote it, votes and all, and not one that was put back
        after it had been decided. To say no, or to take it back, needs none of this."""
        if not self._seals.intact(request):
            raise PeerError(
                "this request has no good seal: it is from before the upgrade, or its row was changed",
                code="conflict",
                hint="nobody can approve it: deny it, and have them ask again",
            )
        subject = ("request", request.id)
        if any(reader.trail_after(0, 1, kind=kind, subject=subject) for kind in _OVER):
            raise PeerError(
                "the trail says that this request was decided: its row was put back",
                code="conflict",
                hint="have them ask again, and see `tidegate audit log`",
            )

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
        self,
        writer: Writer,
        before: Request,
        request: Request,
        status: RequestStatus,
        by: Who,
        reason: str = "",
    ) -> Request:
        """Keep the request, which was ``before``, in its new status, tell the trail, and carry out a yes."""
        if status is RequestStatus.PENDING:
            return self._kept(writer, before, request)
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
        return self._kept(writer, before, request)

    def _kept(self, writer: Writer, before: Request, after: Request) -> Request:
        """Store ``after``, sealed where ``before`` was: a row that somebody changed behind our back stays
        recognisable as such."""
        kept = self._seals.seal(after) if self._seals.intact(before) else after
        writer.put_request(kept)
        return kept


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
