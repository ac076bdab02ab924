"""Whether the gateway can enter an SSH host, as sessions would. Async; what ``app.trial`` asks of this protocol.
Opens no channel, so nothing runs there; knows no client.
"""

import asyncio

import asyncssh

from proxy.core.errors import TidegateError, Unreachable
from proxy.core.identity import Account, Resource
from proxy.core.ports import LearntHosts, TargetCertificates
from proxy.core.targets import SshLogin, SshTarget
from proxy.core.trials import Way
from proxy.protocols.ssh.upstream import HostUnknown, NothingInCommon, NotLetIn, entry, fingerprint, log_in
from proxy.sessions.dialling import Reached
from proxy.sessions.transport import Stream

KINDS = (
    "see the host's log for why; an sshd hangs up without a word where it has no key of the kinds that host_keys "
    "and host_authorities hold (ssh-keyscan shows its own)"
)


class Glance:
    """``LearntHosts`` that keeps nothing: ``seen`` is the key that a session would have learnt."""

    def __init__(self, hosts: LearntHosts) -> None:
        self._hosts = hosts
        self.seen = ""

    def known(self, resource: str) -> str:
        return self._hosts.known(resource)

    def learn(self, resource: str, key: str) -> str:
        self.seen = key
        return key


class SshTrial:
    """``protocols.table.Trial`` of SSH."""

    def __init__(self, loop: asyncio.AbstractEventLoop, issuer: TargetCertificates, hosts: LearntHosts) -> None:
        self._loop = loop
        self._issuer = issuer
        self._hosts = hosts

    def ways(self, resource: Resource) -> tuple[Way, ...]:
        """Each account."""
        return tuple(Way(account.name) for account in resource.accounts)

    async def enter(self, stream: Stream, reached: Reached, resource: Resource, way: Way) -> str:
        """Log in and say goodbye; what is to be known although it went well."""
        how = entry(resource, resource.account(way.login) or Account(way.login), "tidegate config test")
        glance = Glance(self._hosts)
        target = await log_in(self._loop, stream, reached, how, self._issuer, glance)
        target.disconnect()
        target.line.abort()
        if not glance.seen:
            return ""
        key = fingerprint(asyncssh.import_public_key(glance.seen))
        return f"its host key is not known yet; the first session will believe it: {key}"

    def words(self, error: TidegateError, resource: Resource, way: Way) -> tuple[str, str]:
        """What is wrong, and what to do next."""
        if isinstance(error, HostUnknown):
            learnt = isinstance(resource.options, SshTarget) and resource.options.trust_first
            correct = "take what was learnt out of ssh_learnt_hosts.json" if learnt else "correct host_keys"
            hint = f"compare it with the keys on the host itself (ssh-keygen -lf); if it is one of them, {correct}"
            return str(error), hint
        if isinstance(error, NotLetIn):
            return str(error), self._hint(resource, way)
        if isinstance(error, Unreachable) and not isinstance(error, NothingInCommon):
            return str(error), KINDS
        return str(error), error.hint or "see the host's log for why"

    def _hint(self, resource: Resource, way: Way) -> str:
        account = resource.account(way.login)
        login = account.credential if account else None
        if not isinstance(login, SshLogin):
            return ""
        if login.credential.issued:
            return (
                f"the host's TrustedUserCAKeys must hold what `tidegate keys ssh --targets` prints, and take the "
                f"principal {login.credential.principal or way.login} for this user"
            )
        if login.credential.key is not None:
            return f"the public half of {login.credential.key} must be in the user's authorized_keys"
        return "compare the password behind its reference with the user's, and see whether sshd takes passwords"
