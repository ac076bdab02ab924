"""Requests, grants, tokens, revocations and locks."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from proxy.api.shapes.people import ConnectHint
from proxy.api.shapes.values import Asked, AskedDuration, Instant, Name, NeededReason, Reason, Seconds, Shape
from proxy.core.access import Considered, Grant, Request
from proxy.core.feed import Scope
from proxy.core.identity import Catalog
from proxy.core.ports import Lock


class RequestAsked(Asked):
    resource: Name
    account: Name
    duration: AskedDuration
    reason: Reason = ""


class ExtensionAsked(Asked):
    duration: AskedDuration
    reason: Reason = ""


class Word(Asked):
    """A reason that may be left out."""

    reason: Reason = ""


class NeededWord(Asked):
    reason: NeededReason


class ConsideredShown(Shape):
    rule: str
    matched: bool
    why: str


class DecisionShown(Shape):
    """``trace`` lists the rules that were looked at: all for auditors and admins, for others those that cover who
    asked."""

    outcome: str = Field(description="allow, deny or needs_approval")
    rule: str
    reason: str
    approvals: int = Field(description="how many must agree")
    approvers: str = Field(description="the group they must be of")
    max_duration: Seconds
    networks: list[str]
    databases: list[str]
    trace: list[ConsideredShown] = Field(default_factory=list)


class ApprovalShown(Shape):
    by: str
    by_id: str = Field(description="the id behind the name, which never changes")
    approved: bool
    at: Instant
    reason: str


class RequestShown(Shape):
    id: str
    identity: str
    identity_id: str = Field(description="the id behind the name, which never changes")
    resource: str
    account: str
    duration: Seconds
    reason: str
    status: str = Field(description="pending, approved, denied, expired or withdrawn")
    created: Instant
    expires: Instant = Field(description="when it lapses undecided")
    decided: Instant | None
    decision: DecisionShown
    approvals: list[ApprovalShown]
    grant: str | None
    extends: str | None = Field(description="the grant whose end it would move")
    source: str = ""

    @classmethod
    def of(cls, request: Request, catalog: Catalog, *, trace: Sequence[Considered]) -> "RequestShown":
        """The request with the names of now, and of its decision's trace what the caller may see."""
        facts = {name: getattr(request, name) for name in cls.model_fields if name != "identity_id"}
        decision = DecisionShown.model_validate(request.decision)
        looked_at = [ConsideredShown.model_validate(each) for each in trace]
        facts |= {
            "identity": catalog.name_of(request.who),
            "identity_id": request.identity,
            "decision": decision.model_copy(update={"trace": looked_at}),
            "approvals": [
                ApprovalShown(
                    by=catalog.name_of(each.who),
                    by_id=each.by,
                    approved=each.approved,
                    at=each.at,
                    reason=each.reason,
                )
                for each in request.approvals
            ],
        }
        return cls.model_validate(facts)


class UseShown(Shape):
    """What came of a request so far, in numbers: of the grant that it led to or would extend."""

    grant: str | None
    sessions: int = Field(description="at most 10000 are counted")
    live: int = Field(description="of those, live now")
    statements: int = Field(description="of sessions that have ended, as the figures below")
    failed: int
    bytes_in: int
    bytes_out: int
    seconds: Seconds = Field(description="all their times together")
    first: Instant | None
    last: Instant | None = Field(description="when the newest of them began")


class GrantShown(Shape):
    id: str
    request: str
    identity: str
    identity_id: str = Field(description="the id behind the name, which never changes")
    resource: str
    account: str
    starts: Instant
    ends: Instant
    remaining: Seconds = Field(description="until it ends; 0 when it has")
    status: str = Field(description="scheduled, active, expired or revoked")
    networks: list[str]
    databases: list[str]
    conditions: dict[str, Any]
    rule: str
    revoked: Instant | None
    revoked_by: str
    revoked_by_id: str
    revoked_reason: str

    @classmethod
    def of(cls, grant: Grant, now: float, catalog: Catalog) -> "GrantShown":
        status = grant.status(now)
        left = max(0.0, grant.ends - now) if grant.revoked is None else 0.0
        made = {
            "identity": catalog.name_of(grant.who),
            "identity_id": grant.identity,
            "revoked_by": catalog.name_of(grant.revoker),
            "revoked_by_id": grant.revoked_by,
            "status": status.value,
            "remaining": round(left, 3),
        }
        facts = {name: getattr(grant, name) for name in cls.model_fields if name not in made}
        return cls.model_validate(facts | made)


class RequestMade(Shape):
    """A request and, where it was allowed at once, its grant."""

    request: RequestShown
    grant: GrantShown | None


class TokenMade(Shape):
    """A token for connecting. It is shown once and kept nowhere."""

    token: str
    jti: str
    expires: Instant
    expires_in: Seconds
    grant: str
    resource: str
    account: str
    databases: list[str]
    connect: ConnectHint | None


class RevocationAsked(Asked):
    """``scope`` all takes no ``key``; the key of a token is its ``jti``. ``dry_run`` only says what would end."""

    scope: Literal["grant", "identity", "resource", "token", "all"]
    key: str = Field("", max_length=128)
    reason: Reason = ""
    dry_run: bool = False

    @model_validator(mode="after")
    def _whole(self) -> "RevocationAsked":
        if (self.scope == "all") != (not self.key):
            raise ValueError("scope all takes no key, every other scope needs one")
        if not self.dry_run and not self.reason:
            raise ValueError("a reason is needed: whoever is cut reads it")
        return self


class LockAsked(Asked):
    scope: Literal["identity", "resource"]
    key: Name
    reason: NeededReason


class LockShown(Shape):
    """``id`` is what is locked; ``key`` what it is called: of a person the name, of a resource the same."""

    scope: str
    key: str
    id: str
    by: str
    by_id: str
    reason: str
    at: Instant

    @classmethod
    def of(cls, lock: Lock, catalog: Catalog) -> "LockShown":
        return cls(
            scope=lock.scope,
            key=catalog.name_of(lock.who) if lock.scope is Scope.IDENTITY else lock.key,
            id=lock.key,
            by=catalog.name_of(lock.locker),
            by_id=lock.by,
            reason=lock.reason,
            at=lock.at,
        )


class TouchedSession(Shape):
    """A live session that a revocation ends."""

    id: str
    node: str
    identity: str
    identity_id: str
    resource: str
    account: str
    database: str
    started: Instant
    statement: str | None = Field(
        None, description="what it runs now, where this node holds its recording and the caller may see that"
    )


class RevocationMade(Shape):
    """What was ended, or with ``dry_run`` would be. ``seq`` is the feed's number: ask /v1/revocations/{seq}."""

    dry_run: bool
    scope: str
    key: str
    seq: int | None
    grants: list[GrantShown]
    sessions: list[TouchedSession]
    nodes: list[str] = Field(description="nodes that must confirm")


class CutShown(Shape):
    """The cut receipt of one session: instants as measured, and ``milliseconds`` from the order to the client's
    closed socket."""

    session: str
    node: str
    identity: str
    identity_id: str
    status: str
    end_reason: str | None
    milliseconds: float | None
    requested: Instant | None
    client_closed: Instant | None
    target_stopped: Instant | None
    verified: str


class RevocationShown(Shape):
    """How far a revocation has got."""

    seq: int
    at: Instant
    scope: str
    key: str
    by: str
    reason: str
    ended: list[CutShown]
    live: list[CutShown] = Field(description="sessions it touches that have not ended yet")
    unconfirmed: list[str] = Field(description="nodes that have not acted on it yet")
    done: bool
