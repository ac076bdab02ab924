"""Every target of a configuration is tried: reached, and entered as each account. For ``tidegate config test``.

It stands beside a gateway that may be running, and changes nothing: no key is made, no host is learnt.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.adapters import learnt_hosts, ssh_keys
from proxy.adapters.clock import SystemClock
from proxy.adapters.keys import KeyFolder, unsafe
from proxy.core.errors import PeerError, TidegateError, Unavailable, Unreachable
from proxy.core.identity import Resource
from proxy.core.targets import PostgresCredential, PostgresTarget, Secret, SshLogin
from proxy.core.trials import Found, Way
from proxy.protocols.table import Trial, trials
from proxy.sessions.dialling import connect

PATIENCE = 5.0
"""Seconds for one connection and log-in."""
GOODBYE = 1.0
AT_ONCE = 16
AT_ONE_TARGET = 4
"""An sshd takes ten log-ins at once, and then drops some."""
UNREACHED = "look at the address, at the name service, and whether a firewall lets the gateway through"


@dataclass(frozen=True, slots=True)
class Tried:
    """One way into one resource at one of its addresses, and what came of it."""

    resource: Resource
    address: tuple[str, int]
    way: Way
    found: Found


class KeysAsTheyAre:
    """``core.ports.TargetCertificates`` and ``LearntHosts`` of a key folder in which nothing is made or changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def issue_for_target(
        self, principal: str, key_id: str, life: float = 300.0, *, forwarding: bool = False
    ) -> tuple[bytes, bytes]:
        made = (ssh_keys.UserAuthorities.INDEX, ssh_keys.TARGETS, ssh_keys.HOSTS, ssh_keys.HOST)
        if not all(self._has(name) for name in made):
            raise Unavailable(
                "the gateway has no authority of its own yet",
                detail=f"in {self._folder}",
                hint="it makes one at its first start; then `tidegate keys ssh --targets` prints it for the host",
            )
        keys = ssh_keys.ssh_keys(KeyFolder(self._folder), SystemClock())
        return keys.issue_for_target(principal, key_id, life, forwarding=forwarding)

    def known(self, resource: str) -> str:
        if not self._has(learnt_hosts.FILE):
            return ""
        return learnt_hosts.FileLearntHosts(KeyFolder(self._folder)).known(resource)

    def learn(self, resource: str, key: str) -> str:
        """Not kept."""
        return key

    def _has(self, name: str) -> bool:
        try:
            return (self._folder / name).exists()
        except OSError as error:
            raise unsafe(
                self._folder, error.strerror or "cannot be used", hint="run this as the gateway's user"
            ) from None


def try_targets(resources: Sequence[Resource], keys: Path) -> Sequence[Tried]:
    """Try all of ``resources``; ``keys`` is the gateway's key folder. In their order, each with its addresses, each
    with its ways."""

    async def all_of_them() -> Sequence[Tried]:
        own = KeysAsTheyAre(keys)
        return await Trials(trials(asyncio.get_running_loop(), own, own), PATIENCE).run(resources)

    return asyncio.run(all_of_them())


class Trials:
    """Many at once, but not all: neither this machine nor one target is to be flooded."""

    def __init__(self, by_protocol: Mapping[str, Trial], patience: float) -> None:
        self._by_protocol = by_protocol
        self._patience = patience
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run(self, resources: Iterable[Resource]) -> Sequence[Tried]:
        """See ``try_targets``."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._address(resource, address))
                for resource in resources
                for address in resource.addresses
            ]
        return [tried for task in tasks for tried in task.result()]

    async def _address(self, resource: Resource, address: tuple[str, int]) -> Sequence[Tried]:
        """The first way finds out whether anybody answers: where nobody does, the others need not wait too."""
        trial = self._by_protocol[resource.protocol]
        ways = trial.ways(resource)
        room = asyncio.Semaphore(AT_ONE_TARGET)

        async def one(way: Way) -> Found:
            async with room, self._room:
                return await self._found(trial, resource, address, way)

        first = await one(ways[0])
        if first.reached:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(way)) for way in ways[1:]]
            found = [first, *(task.result() for task in tasks)]
        else:
            found = [first] * len(ways)
        return [Tried(resource, address, way, each) for way, each in zip(ways, found, strict=True)]

    async def _found(self, trial: Trial, resource: Resource, address: tuple[str, int], way: Way) -> Found:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        try:
            stream, reached = await connect(loop, (address,), self._patience)
        except Unreachable as error:
            return Found(False, False, str(error), UNREACHED)
        try:
            async with asyncio.timeout_at(until):
                told = await trial.enter(stream, reached, resource, way)
            if await stream.finish(GOODBYE):  # or what it says meanwhile would reset the line before it is read
                await stream.drain(GOODBYE)
        except TimeoutError:
            result = f"it took the connection, and the log-in did not end within {self._patience:g} s"
            return Found(False, True, result, f"does {resource.protocol} listen at this address?")
        except PeerError as error:
            return Found(False, True, _without(f"the target closed the connection: {error}", resource))
        except TidegateError as error:
            result, hint = trial.words(error, resource, way)
            return Found(False, True, _without(result, resource), hint)
        finally:
            stream.close()
        return Found(True, True, f"ok; {told}" if told else "ok")


def _without(text: str, resource: Resource) -> str:
    """Without the passwords, which a target could give back in its answer."""
    for secret in _secrets(resource):
        text = text.replace(secret.reveal(), "***")
    return text


def _secrets(resource: Resource) -> Iterator[Secret]:
    target = resource.options
    credentials = [account.credential for account in resource.accounts]
    if isinstance(target, PostgresTarget) and target.control is not None:
        credentials.append(target.control.credential)
    for each in credentials:
        held = each.credential if isinstance(each, SshLogin) else each
        if isinstance(held, PostgresCredential) and held.password:
            yield held.password
        elif isinstance(each, SshLogin) and each.credential.password:
            yield each.credential.password
