"""From a wish to a session's permission: request, decision, grant, claims, admission.

The store's grant row is the authority; a token only names it. Built by ``access``; read everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from proxy.core.identity import Account, Identity, Resource, Who
from proxy.core.states import GrantStatus, RequestStatus
from proxy.core.words import StoredWord, newer_keys


class Outcome(StoredWord):
    ALLOW = "allow"
    DENY = "deny"
    NEEDS_APPROVAL = "needs_approval"


@dataclass(frozen=True, slots=True)
class Considered:
    """One rule that was looked at, and why it did or did not decide. ``covers``: it is about this person, resource
    and account, however they ask; whom it is not about is not told of it."""

    rule: str
    matched: bool
    why: str
    newer: Mapping[str, Any] = newer_keys()
    covers: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Allow, deny or needs-approval, always explainable.

    ``rule`` is the id of the deciding rule ("" when none matched); ``approvals`` of group ``approvers`` are
    needed; ``max_duration`` in seconds is the longest the rule gives; ``networks`` are the CIDR strings a
    connection must come from (empty: any); ``conditions`` are what the rule says of the session itself
    (for example ``{"record_rows": 20}``), copied into the grant.
    """

    outcome: Outcome
    rule: str = ""
    reason: str = ""
    approvals: int = 0
    approvers: str = ""
    max_duration: float = 0.0
    networks: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)
    trace: tuple[Considered, ...] = ()
    newer: Mapping[str, Any] = newer_keys()


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's yes or no to a request. ``by`` is their id, ``by_name`` their name then."""

    by: str
    approved: bool
    at: float
    reason: str = ""
    newer: Mapping[str, Any] = newer_keys()
    by_name: str = ""

    @property
    def who(self) -> Who:
        return self.by, self.by_name


@dataclass(frozen=True, slots=True)
class Request:
    """Someone asks for an account on a resource, for a duration in seconds, with a reason.

    ``extends`` is the grant whose end this request would move; ``expires`` is when an undecided request lapses.
    ``identity`` is an id, ``identity_name`` the name that went with it then. ``sealed`` and ``mac`` as of a grant:
    nobody but the gateway asks, votes or decides in the store."""

    SEALED_AS: ClassVar[str] = "request"

    id: str
    identity: str
    groups: frozenset[str]
    resource: str
    account: str
    duration: float
    reason: str
    status: RequestStatus
    created: float
    expires: float
    decision: Decision
    approvals: tuple[Approval, ...] = ()
    decided: float | None = None
    grant: str | None = None
    extends: str | None = None
    source: str = ""
    identity_name: str = ""
    sealed: str = ""
    mac: str = ""

    @property
    def who(self) -> Who:
        return self.identity, self.identity_name


@dataclass(frozen=True, slots=True)
class Grant:
    """An approved request: identity + resource + account + [starts, ends) + source networks.

    ``sealed`` is the whole row once more as one text, and ``mac`` authenticates that under a key which is not in
    the store, so that an operator with the database's password cannot mint or prolong a grant: see
    ``access.seals``, also for what a new field costs. A field that narrows what the grant gives is declared with
    ``metadata={"must": True}``: a node that does not know it then admits nobody by a grant that uses it.
    ``identity`` and ``revoked_by`` are ids; the names that went with them then are beside them."""

    SEALED_AS: ClassVar[str] = "grant"

    id: str
    request: str
    identity: str
    resource: str
    account: str
    starts: float
    ends: float
    networks: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)
    rule: str = ""
    revoked: float | None = None
    revoked_by: str = ""
    revoked_reason: str = ""
    mac: str = ""
    identity_name: str = ""
    revoked_by_name: str = ""
    sealed: str = ""

    @property
    def who(self) -> Who:
        return self.identity, self.identity_name

    @property
    def revoker(self) -> Who:
        return self.revoked_by, self.revoked_by_name

    def status(self, now: float) -> GrantStatus:
        """The status word at an instant: it follows from the times alone."""
        if self.revoked is not None:
            return GrantStatus.REVOKED
        if now >= self.ends:
            return GrantStatus.EXPIRED
        return GrantStatus.ACTIVE if now >= self.starts else GrantStatus.SCHEDULED


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says: which grant, for whom (an id), until when it may be presented."""

    jti: str
    subject: str
    grant: str
    issued: float
    expires: float


@dataclass(frozen=True, slots=True)
class UserCertificate:
    """An OpenSSH certificate as a client showed it, in its wire form: to SSH what a token is to the rest. Whoever
    has one to show must have proved to hold its private key."""

    blob: bytes = field(repr=False)


class Refusal(StrEnum):
    """Why an admission was refused: the code of ``Denied`` from the gate, the trail's word and a metric label.

    ``BAD_TOKEN`` covers everything before the signature is verified *and* unknown or forbidden grants: one answer.
    """

    BAD_TOKEN = "bad_token"
    TOKEN_CUT_SHORT = "token_cut_short"
    TOKEN_EXPIRED = "token_expired"
    NO_TLS = "no_tls"
    PLAINTEXT = "plaintext"
    WRONG_ACCOUNT = "wrong_account"
    WRONG_DATABASE = "wrong_database"
    WRONG_PROTOCOL = "wrong_protocol"
    WRONG_RESOURCE = "wrong_resource"
    WRONG_NETWORK = "wrong_network"
    GRANT_NOT_STARTED = "grant_not_started"
    GRANT_EXPIRED = "grant_expired"
    GRANT_REVOKED = "grant_revoked"
    GRANT_NEWER = "grant_newer"
    USER_LOCKED = "user_locked"
    RESOURCE_LOCKED = "resource_locked"
    TOO_MANY_SESSIONS = "too_many_sessions"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a connection asks for when it shows its token: everything the gate needs besides the token.

    ``account`` is None where the protocol's clients name none: then it is the grant's own. ``source`` is the
    client's IP address as text; ``database`` is empty where the protocol has none. ``resource`` and ``port`` are
    given where clients say where they want to go ("" and 0: wherever the grant leads).
    """

    session: str
    protocol: str
    account: str | None
    source: str
    database: str = ""
    resource: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class Admission:
    """The proof that a token, its grant, the revocations and the policy were all checked.

    Only ``access.gate`` makes one (held by the architecture test); only an admission can dial.
    ``feed_position`` is the feed's sequence in the same snapshot the checks were read from: items beyond it must
    still be applied to the session.
    """

    session: str
    grant: Grant
    identity: Identity
    resource: Resource
    account: Account
    database: str
    source: str
    jti: str
    admitted: float
    feed_position: int
