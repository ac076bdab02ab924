"""From what the operator wrote to the words of the core: one configuration becomes one ``Catalog``.

Here references to secrets are resolved, so this reads files and the environment. Called by the composition root at
start and on every reload.
"""

from collections.abc import Mapping
from pathlib import Path

from gateway_config.destinations import Destination
from gateway_config.policies import Approval, Policy
from gateway_config.postgres import Control, Login, PostgresResource
from gateway_config.references import SecretReference, Unresolved, resolve
from gateway_config.resources import Resource as ConfiguredResource
from gateway_config.schema import Config, digest
from gateway_config.ssh import SshAccount, SshResource
from proxy.core.access import Outcome
from proxy.core.errors import Unavailable
from proxy.core.identity import Account, Catalog, Identity, Resource, Role
from proxy.core.targets import (
    HostPorts,
    PostgresControl,
    PostgresCredential,
    PostgresTarget,
    Secret,
    SshAllowance,
    SshCredential,
    SshLogin,
    SshTarget,
    TcpTarget,
    UnixSocket,
)
from proxy.policy.rules import Rule

_EFFECTS: Mapping[str, Outcome] = {"automatic": Outcome.ALLOW, "deny": Outcome.DENY}


def catalog(config: Config) -> Catalog:
    """What the configuration says exists. ``Unavailable`` (code ``configuration``) when a secret cannot be read: a
    reload then keeps the catalog it has."""
    return Catalog(
        identities=_identities(config),
        resources={each.name: _resource(config, each) for each in config.resources},
        rules=tuple(rule(each) for each in config.policies),
        digest=digest(config),
        admins_read=config.recordings.admins_read,
    )


def password_hashes(config: Config) -> Mapping[str, str]:
    """User name -> Argon2id hash, of the users who may log in by password."""
    return {each.name: each.password_hash for each in config.users if each.password_hash}


def store_password(config: Config) -> Secret | None:
    """The password of the store's URL, where it has one."""
    return _secret(config, config.store.password)


def heads_token(config: Config) -> Secret | None:
    """What is sent with signed heads to where they are kept besides, where that asks for it."""
    return _secret(config, config.trail.heads_token)


def _identities(config: Config) -> Mapping[str, Identity]:
    roles = {group.name: group.roles for group in config.groups}
    return {
        user.lasting_id: Identity(
            name=user.name,
            id=user.lasting_id,
            groups=frozenset(user.groups),
            roles=frozenset(Role(role) for group in user.groups for role in roles.get(group, ())),
            display=user.display,
        )
        for user in config.users
    }


def _resource(config: Config, resource: ConfiguredResource) -> Resource:
    return Resource(
        name=resource.name,
        protocol=resource.protocol,
        addresses=tuple((each.host, each.port) for each in resource.address),
        labels=dict(resource.labels),
        accounts=_accounts(config, resource),
        options=_target(config, resource),
        description=resource.description,
    )


def _accounts(config: Config, resource: ConfiguredResource) -> tuple[Account, ...]:
    if isinstance(resource, PostgresResource):
        return tuple(
            Account(each.name, each.databases, _credential(config, resource, each)) for each in resource.accounts
        )
    if isinstance(resource, SshResource):
        return tuple(Account(each.name, (), _ssh_login(config, each)) for each in resource.accounts)
    return tuple(Account(each.name, (), None) for each in resource.accounts)


def _target(config: Config, resource: ConfiguredResource) -> PostgresTarget | SshTarget | TcpTarget:
    if isinstance(resource, PostgresResource):
        return _postgres_target(config, resource)
    if isinstance(resource, SshResource):
        return SshTarget(
            resource.host_keys,
            resource.host_authorities,
            resource.trust_first_use,
            resource.max_sessions,
            resource.max_forwards,
        )
    return TcpTarget()


def _ssh_login(config: Config, account: SshAccount) -> SshLogin:
    return SshLogin(
        SshCredential(
            password=_secret(config, account.password),
            key=_located(config, account.key),
            issued=account.certificate,
            principal=account.principal or "",
        ),
        SshAllowance(
            shell="shell" in account.allow,
            exec="exec" in account.allow,
            transfer="transfer" in account.allow,
            forward=tuple(_forwarded(each) for each in account.forward),
            environment=account.environment,
        ),
        forced_command=account.forced_command,
    )


def _forwarded(to: Destination) -> HostPorts | UnixSocket:
    return UnixSocket(to.path) if to.path else HostPorts(to.host, to.first, to.last)


def _postgres_target(config: Config, resource: PostgresResource) -> PostgresTarget:
    return PostgresTarget(
        tls_mode=resource.tls_mode,
        tls_ca=None if resource.system_authorities else config.locate(resource.tls_ca),
        tls_server_name=resource.tls_server_name or "",
        protocol_version=resource.protocol_version,
        application_name=resource.application_name,
        control=_control(config, resource, resource.control),
    )


def _control(config: Config, resource: PostgresResource, control: Control | None) -> PostgresControl | None:
    if control is None:
        return None
    return PostgresControl(control.user, _credential(config, resource, control), control.database)


def _credential(config: Config, resource: PostgresResource, login: Login) -> PostgresCredential:
    # A login brings its certificate and key together, or has the resource's.
    holder = login if login.client_certificate else resource
    return PostgresCredential(
        password=_secret(config, login.password),
        client_certificate=_located(config, holder.client_certificate),
        client_key=_located(config, holder.client_key),
    )


def _located(config: Config, path: Path | None) -> Path | None:
    return config.locate(path) if path else None


def _secret(config: Config, reference: SecretReference | None) -> Secret | None:
    if reference is None:
        return None
    try:
        return Secret(resolve(reference, config.base).reveal())
    except Unresolved as error:
        raise Unavailable(
            "a secret of the configuration cannot be read", detail=str(error), code="configuration"
        ) from None


def rule(policy: Policy) -> Rule:
    """One policy as the rule that is decided by."""
    approval = policy.approval if isinstance(policy.approval, Approval) else None
    return Rule(
        name=policy.name,
        subjects=policy.who,
        resources=policy.resources,
        labels=dict(policy.labels),
        accounts=policy.accounts,
        databases=policy.databases,
        effect=Outcome.NEEDS_APPROVAL if approval else _EFFECTS[str(policy.approval)],
        approvals=approval.count if approval else 0,
        approvers=approval.group if approval else "",
        max_duration=policy.max_duration or 0.0,
        networks=policy.networks,
        reason_required=policy.reason_required and not policy.denies,
        min_reason_length=policy.min_reason_length if policy.reason_required and not policy.denies else 0,
        conditions=_conditions(policy),
    )


def _conditions(policy: Policy) -> Mapping[str, int | str]:
    """What the grant says of its sessions and tokens: only what is not the default, since it is kept with each."""
    said: dict[str, int | str] = {}
    if policy.record_rows:
        said |= {"record_rows": policy.record_rows, "record_bytes": policy.record_bytes}
    if policy.record_input:
        said["record_input"] = True
    if policy.record_traffic:
        said["record_traffic"] = True
    if policy.token_life == "grant":
        said["token_life"] = "grant"
    return said
