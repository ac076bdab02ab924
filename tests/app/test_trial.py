"""How targets are tried: not too many at once, nobody waited for twice, and no password in what is said."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.app.trial import AT_ONE_TARGET, KeysAsTheyAre, Trials
from proxy.core.errors import TidegateError, Unavailable, Unreachable
from proxy.core.identity import Account, Resource
from proxy.core.targets import (
    PostgresControl,
    PostgresCredential,
    PostgresTarget,
    Secret,
    SshCredential,
    SshLogin,
)
from proxy.core.trials import Way
from proxy.sessions.dialling import Reached
from proxy.sessions.transport import Stream


class Fake:
    """``protocols.table.Trial`` that says of each way what ``answers`` says of its login; "" is good."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.inside = self.most = self.entered = 0

    def ways(self, resource: Resource) -> tuple[Way, ...]:
        return tuple(Way(account.name) for account in resource.accounts)

    async def enter(self, stream: Stream, reached: Reached, resource: Resource, way: Way) -> str:
        self.entered += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.01)
        self.inside -= 1
        if told := self.answers.get(way.login):
            raise Unreachable(told)
        return ""

    def words(self, error: TidegateError, resource: Resource, way: Way) -> tuple[str, str]:
        return str(error), "try again"


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """These targets never say goodbye."""
    monkeypatch.setattr("proxy.app.trial.GOODBYE", 0.01)


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield int(listening.getsockname()[1])


def resource(*ports: int, accounts: tuple[Account, ...], options: object = None) -> Resource:
    addresses = tuple(("127.0.0.1", each) for each in ports)
    return Resource("target", "fake", addresses, accounts=accounts, options=options)


def named(*names: str) -> tuple[Account, ...]:
    return tuple(Account(each) for each in names)


async def test_not_all_at_once_and_in_order(port: int) -> None:
    fake = Fake(b="no")
    names = [chr(ord("a") + number) for number in range(12)]
    tried = await Trials({"fake": fake}, 5.0).run([resource(port, accounts=named(*names))])
    assert [each.way.login for each in tried] == names
    assert [each.way.login for each in tried if not each.found.ok] == ["b"]
    assert tried[1].found.hint == "try again"
    assert fake.most <= AT_ONE_TARGET


async def test_where_nobody_answers_the_other_accounts_are_not_waited_for(port: int) -> None:
    fake = Fake()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nowhere = gone.getsockname()[1]
    tried = await Trials({"fake": fake}, 5.0).run([resource(nowhere, port, accounts=named("a", "b"))])
    assert [(each.address[1], each.found.reached) for each in tried] == [
        (nowhere, False), (nowhere, False), (port, True), (port, True),
    ]  # fmt: skip
    assert fake.entered == 2


@pytest.mark.parametrize(
    ("credential", "options"),
    [
        (PostgresCredential(Secret("hunter2")), None),
        (SshLogin(SshCredential(password=Secret("hunter2"))), None),
        (None, PostgresTarget(control=PostgresControl("c", PostgresCredential(Secret("hunter2"))))),
    ],
)
async def test_a_target_that_gives_the_password_back_is_not_quoted(
    port: int, credential: object, options: object
) -> None:
    fake = Fake(a="your password hunter2 is wrong")
    there = resource(port, accounts=(Account("a", (), credential),), options=options)
    (tried,) = await Trials({"fake": fake}, 5.0).run([there])
    assert tried.found.result == "your password *** is wrong"


async def test_no_resource_is_nothing_to_try() -> None:
    assert await Trials({}, 5.0).run([]) == []


def test_the_key_folder_is_only_looked_at(tmp_path: Path) -> None:
    keys = KeysAsTheyAre(tmp_path / "keys")
    assert keys.known("box") == ""
    assert keys.learn("box", "ssh-ed25519 AAAA") == "ssh-ed25519 AAAA"
    with pytest.raises(Unavailable, match="no authority of its own yet"):
        keys.issue_for_target("ops", "id")
    assert list(tmp_path.iterdir()) == []
