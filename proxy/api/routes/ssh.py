"""SSH: certificates for one's own grants, and the authorities that targets and clients believe."""

from fastapi import APIRouter

from proxy.api.callers import Given, Known
from proxy.api.routes.catalog import connect_hint
from proxy.api.services import Services
from proxy.api.shapes.ssh import AuthoritiesShown, CertificateAsked, CertificateMade

router = APIRouter(prefix="/v1/ssh", tags=["ssh"])


@router.post("/certificates", summary="A fresh certificate for connecting by SSH", status_code=201)
async def certificates(asked: CertificateAsked, caller: Known, services: Given) -> CertificateMade:
    """Of one's own public key, for one's own active grant. It lives minutes; take a fresh one when it ends."""
    grants, by = services.grants, caller.identity
    named = asked.grant or (await grants.own(asked.resource, asked.account, by)).id
    line, claims = await grants.certificate(named, by, asked.public_key)
    grant = await grants.get(named, by)
    hint = connect_hint(services.facts(), "ssh")
    return CertificateMade(
        certificate=line,
        jti=claims.jti,
        expires=claims.expires,
        expires_in=max(0.0, claims.expires - services.clock.now()),
        grant=grant.id,
        resource=grant.resource,
        account=grant.account,
        host_authority=known_hosts(services),
        host_key_alias=services.ssh_keys.alias(),
        host=hint.host if hint else "",
        port=hint.port if hint else 0,
    )


@router.get("/authorities", summary="The public keys that targets and clients believe")
async def authorities(caller: Known, services: Given) -> AuthoritiesShown:
    """They are public; what they sign is not made here."""
    return shown(services)


def shown(services: Services) -> AuthoritiesShown:
    return AuthoritiesShown(
        targets=services.ssh_keys.targets_authority().decode(),
        targets_next=services.ssh_keys.next_targets_authority().decode(),
        hosts=services.ssh_keys.hosts_authority().decode(),
        known_hosts=known_hosts(services),
        host_key_alias=services.ssh_keys.alias(),
    )


def known_hosts(services: Services) -> list[str]:
    """The authority vouches for the alias alone, so that these lines may stand among others of a person's."""
    return [f"@cert-authority {services.ssh_keys.alias()} {services.ssh_keys.hosts_authority().decode()}"]
