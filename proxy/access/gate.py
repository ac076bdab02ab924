"""The gate: the one place that turns a token or certificate into an admission, and the only one that makes one.

Subscribe first, check second: the connection is registered under what its token claims before the store is read, so
a revocation committed at any moment is either in the facts read here or comes by the feed to a connection that is
registered. Everything the store says is read in one snapshot. Called by ``sessions`` with a token or a certificate
and a wish; owns no task (the kernel calls ``flush`` every second), knows no protocol and no socket.

Until a token's signature verifies there is one answer; after it, details of the holder's own grant only; and a
grant that is unknown, forbidden, not theirs or tampered with gets that one answer again.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from proxy.access.certificates import Certificates
from proxy.access.limits import AccessLimits
from proxy.access.refusals import refused
from proxy.access.seals import Seals
from proxy.access.sources import source_kind
from proxy.access.tally import Tally
from proxy.access.texts import shown
from proxy.access.tokens import Tokens
from proxy.access.usability import GrantLocks, Standing, standing_of, usable
from proxy.core.access import Admission, Claims, Grant, Refusal, UserCertificate, Wish
from proxy.core.errors import Denied, Unavailable
from proxy.core.events import AdmissionRefused
from proxy.core.grounds import WORDS, Ground
from proxy.core.identity import Catalog, Who, names
from proxy.core.ports import AdmissionFacts, Clock, Store
from proxy.policy.networks import inside

ANONYMOUS = "anonymous"
AGAIN = "try again in a few seconds"
TELL = "tell the gateway's operator"


class TokenHolder(NamedTuple):
    """Whose token was shown, and of which grant; ``ANONYMOUS`` and "" before its signature has verified."""

    who: Who
    grant: str


class Gate:
    """``ground`` gives the ground on which this node admits nobody now, None where it admits; ``catalog`` and
    ``limits`` give the configuration as it is now."""

    def __init__(
        self,
        store: Store,
        tokens: Tokens,
        certificates: Certificates,
        catalog: Callable[[], Catalog],
        clock: Clock,
        seals: Seals,
        ground: Callable[[], Ground | None],
        limits: Callable[[], AccessLimits] = AccessLimits,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._certificates = certificates
        self._catalog = catalog
        self._clock = clock
        self._seals = seals
        self._ground = ground
        self._limits = limits
        self._refused: Tally[AdmissionRefused] = Tally(store, clock, limits().window, repeated)

    async def admit(
        self, credential: str | UserCertificate, wish: Wish, register: Callable[[Claims], None]
    ) -> Admission:
        """The admission for ``wish`` by a token or a certificate, or the reason why not.

        ``register`` is called once the credential is verified and before anything is looked up; from then on feed
        items for these claims must reach the session, and those beyond ``feed_position`` must be applied to it.
        ``Denied`` with a code of ``Refusal``, recorded; ``Unavailable`` when grants cannot be verified now.
        """
        try:
            claims = self._verified(credential, wish)
        except Denied as error:
            raise await self._recorded(error, wish, None, None) from None
        register(claims)
        self._must_admit(wish, claims)
        facts = await self._store.read(lambda reader: reader.admission_facts(claims))
        self._must_admit(wish, claims)
        try:
            return self._admitted(claims, wish, facts, self._fits(credential))
        except Denied as error:
            raise await self._recorded(error, wish, claims, facts.grant) from None

    def _verified(self, credential: str | UserCertificate, wish: Wish) -> Claims:
        if isinstance(credential, UserCertificate):
            return self._certificates.verify(credential.blob, wish)
        return self._tokens.verify(credential)

    def _fits(self, credential: str | UserCertificate) -> Callable[[Claims, Grant], bool]:
        """Asks whether a credential of that kind may live as long as it says, under its grant."""
        return self._certificates.fits if isinstance(credential, UserCertificate) else self._tokens.fits

    def _must_admit(self, wish: Wish, claims: Claims) -> None:
        """A node that does not hear of revocations cannot know that it missed none, and one whose store was put
        back does not know of those that were made since. Written later: what it does not hear from is the store."""
        ground = self._ground()
        if ground is None:
            return
        self._refused.count(*refusal_of(ground, wish, self._holder(claims), ""))
        hint = TELL if ground is Ground.STORE_OLDER else AGAIN
        raise Unavailable("grants cannot be verified now", hint=hint, detail=WORDS[ground])

    def _admitted(
        self, claims: Claims, wish: Wish, facts: AdmissionFacts, fits: Callable[[Claims, Grant], bool]
    ) -> Admission:
        grant = self._own_grant(claims, facts, fits)
        # Where it is used from comes first, so that a thief elsewhere learns nothing more of the grant.
        if not inside(wish.source, grant.networks):
            raise refused(Refusal.WRONG_NETWORK, source=shown(wish.source))
        locks = GrantLocks(facts.identity_lock, facts.resource_lock)
        standing = usable(self._catalog(), grant, locks, facts.now, self._seals)
        check_wish(wish, grant, standing)
        limit = self._limits().sessions_per_grant
        if limit and facts.live_sessions >= limit:
            raise refused(Refusal.TOO_MANY_SESSIONS, limit=limit)
        return Admission(
            session=wish.session,
            grant=grant,
            identity=standing.identity,
            resource=standing.resource,
            account=standing.account,
            database=wish.database,
            source=wish.source,
            jti=claims.jti,
            admitted=facts.now,
            feed_position=facts.feed_position,
        )

    def _own_grant(self, claims: Claims, facts: AdmissionFacts, fits: Callable[[Claims, Grant], bool]) -> Grant:
        """The grant that the token names, if it is this subject's, as we sealed it, and the token not revoked."""
        grant = facts.grant
        for problem, found in (
            ("no such grant", grant is None),
            (
                "the grant's seal is broken: the row was changed",
                grant is not None and not self._seals.intact(grant),
            ),
            (
                "the grant's row was put back: the trail says that it was revoked",
                grant is not None and grant.revoked is None and facts.revocation_told,
            ),
            ("the grant is somebody else's", grant is not None and grant.identity != claims.subject),
            ("the token was revoked", facts.token_revoked),
            ("the token lives too long", grant is not None and not fits(claims, grant)),
        ):
            if found:
                raise refused(Refusal.BAD_TOKEN, detail=problem)
        assert grant is not None  # noqa: S101 (the first of the problems above)
        return grant

    def extended(self, grant: Grant, told: Mapping[str, object]) -> Grant | None:
        """The grant with the new end that ``told`` (the data of the feed's item) says, if that is as we sealed it;
        None for what somebody else put on the feed, and for what this version cannot keep to."""
        ends = told.get("ends")
        if not isinstance(ends, int | float):
            return None
        rule, mac, sealed = (str(told.get(name, "")) for name in ("rule", "mac", "sealed"))
        prolonged = replace(grant, ends=float(ends), rule=rule, mac=mac, sealed=sealed)
        return prolonged if self._seals.intact(prolonged) and self._seals.usable(prolonged) else None

    def still_holds(self, grant: Grant) -> bool:
        """Whether the configuration of now would let this grant in; for sessions that live through a reload."""
        return standing_of(self._catalog(), grant) is not None

    # -- the trail

    async def refuse(self, why: Refusal, wish: Wish) -> Denied:
        """The error for a refusal that was found before a token could be looked at (``NO_TLS``), recorded as the
        gate's own are. ``why`` must be one that needs no details: ``NO_TLS``, ``PLAINTEXT`` or ``BAD_TOKEN``."""
        return await self._recorded(refused(why), wish, None, None)

    async def _recorded(self, error: Denied, wish: Wish, claims: Claims | None, grant: Grant | None) -> Denied:
        """The same error, once the trail has it. What cannot be written now is counted and written later: a refusal
        gives nothing, so it need not wait for the store."""
        resource = grant.resource if grant and self._seals.intact(grant) else ""
        try:
            await self._refused.note(*refusal_of(error.code, wish, self._holder(claims), resource))
        except Unavailable as away:
            error.detail = f"{error.detail} (not in the trail yet: {away})".strip()
        return error

    def _holder(self, claims: Claims | None) -> TokenHolder:
        """Return whose token it was, once that is certain."""
        if claims is None:
            return TokenHolder((ANONYMOUS, ""), "")
        return TokenHolder((claims.subject, self._catalog().name_of((claims.subject, ""))), claims.grant)

    async def flush(self, now: float) -> None:
        """Write what was counted of refusals whose window closed by ``now`` (monotonic seconds); never raises for a
        store that is away. Call it every second, and with ``math.inf`` at a stop."""
        await self._refused.flush(now)


def refusal_of(
    why: str, wish: Wish, holder: TokenHolder, resource: str
) -> tuple[tuple[str, ...], AdmissionRefused]:
    """The event of a refusal, and what it is counted with: the like from the same source, and once a token has
    verified only those of its holder, so that nobody's refusal goes under another's name."""
    event = AdmissionRefused(
        actor=holder.who[0],
        why=why,
        session=wish.session,
        grant=holder.grant,
        resource=resource,
        account=shown(wish.account or ""),
        source=shown(wish.source),
        times=1,
        names=names(holder.who),
    )
    return (source_kind(wish.source), why, holder.who[0], holder.grant), event


def check_wish(wish: Wish, grant: Grant, standing: Standing) -> None:
    """``Denied`` unless the connection asks for what the grant is for; says what that is."""
    ports = {0, *(port for _, port in standing.resource.addresses)}
    if wish.resource not in ("", grant.resource) or wish.port not in ports:
        raise refused(Refusal.WRONG_RESOURCE, resource=grant.resource)
    if wish.protocol != standing.resource.protocol:
        raise refused(Refusal.WRONG_PROTOCOL, protocol=standing.resource.protocol)
    if wish.account not in (None, grant.account):
        raise refused(Refusal.WRONG_ACCOUNT, account=grant.account)
    for databases in (grant.databases, standing.account.databases):
        if databases and wish.database not in databases:
            raise refused(Refusal.WRONG_DATABASE, databases=f"database {' or '.join(databases)}")


def repeated(last: AdmissionRefused, times: int) -> AdmissionRefused:
    """The event for ``times`` more that were like ``last``."""
    return replace(last, times=times)
