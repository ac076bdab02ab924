"""Grants: seen, extended by a new decision, and turned into tokens and certificates.

Issued by ``judge`` when a request is approved; ended by ``revocations`` or by their own end. Called by the API.
"""

from collections.abc import Callable

from proxy.access.certificates import Certificates, user_key
from proxy.access.paging import every
from proxy.access.people import current, no_such, sees_grant, viewer
from proxy.access.requests import Requests
from proxy.access.seals import Seals
from proxy.access.ssh_wire import fingerprint
from proxy.access.tokens import Tokens
from proxy.access.usability import GrantLocks, NoLongerGiven, usable
from proxy.core.access import Claims, Grant, Request
from proxy.core.errors import PeerError
from proxy.core.events import CertificateIssued, TokenIssued
from proxy.core.identity import Catalog, Identity, names
from proxy.core.ports import Page, Reader, Store, Writer
from proxy.core.states import GrantStatus

SSH = "ssh"


class Grants:
    """``catalog`` gives the configuration as it is now; times are the store's own."""

    def __init__(
        self,
        store: Store,
        catalog: Callable[[], Catalog],
        seals: Seals,
        tokens: Tokens,
        certificates: Certificates,
        requests: Requests,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._seals = seals
        self._tokens = tokens
        self._certificates = certificates
        self._requests = requests

    async def get(self, id: str, by: Identity) -> Grant:
        """One grant; ``NotFound`` where ``by`` may not see it."""
        person = current(self._catalog(), by)
        return await self._store.read(lambda reader: visible(reader, id, person))

    async def visible_to(
        self,
        by: Identity,
        page: Page,
        *,
        identity: str | None = None,
        resource: str | None = None,
        live: bool = False,
    ) -> list[Grant]:
        """Newest first: one's own and those one approved; admins and auditors see all. ``live``: not over yet;
        ``identity``: of somebody by name or id."""
        catalog = self._catalog()
        whose, of = viewer(current(catalog, by)), catalog.id_of(identity) if identity else None

        def query(reader: Reader) -> list[Grant]:
            at = reader.now() if live else None
            return reader.grants(page, identity=of, resource=resource, live_at=at, viewer=whose)

        return await self._store.read(query)

    async def extend(self, id: str, by: Identity, duration: float, reason: str, source: str) -> Request:
        """Ask for ``duration`` seconds more for one's own grant: a new request, decided by policy or by people.

        When it is approved the end moves, by no more than what the rule gives somebody who asks now, and sessions
        go on. Errors as for ``Requests.make``; ``PeerError`` (conflict) when the grant is over.
        """
        grant = await self.get(id, by)
        if grant.identity != by.id:
            raise PeerError("only its holder extends a grant", code="conflict")
        return await self._requests.make(
            by, grant.resource, grant.account, duration, reason, source, extends=grant.id
        )

    async def token(self, id: str, by: Identity) -> tuple[str, Claims]:
        """A fresh token for one's own active grant, with its event. ``NotFound`` for anybody else's; ``Denied``
        with the gate's own code (not started, expired, revoked, locked) where it would let nobody in."""
        person = current(self._catalog(), by)
        return await self._store.commit(lambda writer: self._token(writer, id, person))

    def _token(self, writer: Writer, id: str, person: Identity) -> tuple[str, Claims]:
        grant = self._usable(writer, id, person)
        text, claims = self._tokens.mint(grant, person.id)
        writer.append(
            TokenIssued(
                actor=person.id,
                jti=claims.jti,
                grant=grant.id,
                identity=grant.identity,
                resource=grant.resource,
                expires=claims.expires,
                names=names(person.who),
            )
        )
        return text, claims

    async def certificate(self, id: str, by: Identity, public_key: str) -> tuple[str, Claims]:
        """A fresh certificate of ``public_key`` (a line as of ``id_ed25519.pub``) for one's own active grant of an
        SSH resource, with its event. Errors as for ``token``; ``PeerError`` for a key that is not taken, and
        (conflict) where the resource is none of SSH."""
        person = current(self._catalog(), by)
        blob = user_key(public_key)
        return await self._store.commit(lambda writer: self._certificate(writer, id, person, blob))

    def _certificate(self, writer: Writer, id: str, person: Identity, key: bytes) -> tuple[str, Claims]:
        grant = self._usable(writer, id, person)
        resource = self._catalog().resources[grant.resource]
        if resource.protocol != SSH:
            what = f"{resource.name} is a {resource.protocol} resource: certificates are for SSH"
            raise PeerError(what, code="conflict", hint=f"use a token: tidegate token {resource.name}")
        line, claims = self._certificates.issue(grant, person.id, key)
        writer.append(
            CertificateIssued(
                actor=person.id,
                jti=claims.jti,
                grant=grant.id,
                identity=grant.identity,
                resource=grant.resource,
                account=grant.account,
                key=fingerprint(key),
                expires=claims.expires,
                names=names(person.who),
            )
        )
        return line, claims

    async def own(self, resource: str, account: str, by: Identity) -> Grant:
        """One's own active grant for ``account`` on ``resource``, the one that lasts longest; ``account`` "" where
        there are grants for one alone. ``NotFound`` when there is none; ``PeerError`` (conflict) for several."""
        person = current(self._catalog(), by)
        found = await self._store.read(lambda reader: self._own(reader, resource, account, person))
        if not found:
            raise no_such("grant")
        accounts = sorted({grant.account for grant in found})
        if len(accounts) > 1:
            what = f"you have grants for several accounts of {resource}: {', '.join(accounts)}"
            raise PeerError(what, code="conflict", hint="name one of them")
        return max(found, key=lambda grant: grant.ends)

    def _own(self, reader: Reader, resource: str, account: str, person: Identity) -> list[Grant]:
        now = reader.now()
        grants = every(lambda page: reader.grants(page, identity=person.id, resource=resource, live_at=now))
        return [
            grant for grant in grants if grant.status(now) is GrantStatus.ACTIVE and account in ("", grant.account)
        ]

    def _usable(self, reader: Reader, id: str, person: Identity) -> Grant:
        """The grant, if it is this person's, as we sealed it, and the gate would let them in by it."""
        grant = reader.grant(id)
        if grant is None or grant.identity != person.id or not self._seals.intact(grant):
            raise no_such("grant")
        try:
            usable(self._catalog(), grant, GrantLocks.read(reader, grant), reader.now(), self._seals)
        except NoLongerGiven:
            raise PeerError(
                "policy no longer gives what this grant is for", code="conflict", hint="see `tidegate request`"
            ) from None
        return grant


def visible(reader: Reader, id: str, person: Identity) -> Grant:
    """The grant, if ``person`` may see it; else ``NotFound``."""
    grant = reader.grant(id)
    if grant is None or not sees_grant(person, grant, reader.request(grant.request)):
        raise no_such("grant")
    return grant
