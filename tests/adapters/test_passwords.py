"""Passwords: right or wrong, the same work for unknown names, and bounded. Cheap hashes keep the tests quick."""

import asyncio
import threading
from collections.abc import Mapping

import pytest
from argon2 import PasswordHasher, extract_parameters

from proxy.adapters.passwords import AT_ONCE, LONGEST, WAITING_MOST, ArgonPasswords, stand_in
from proxy.core.errors import Unavailable

CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
HASHES = {"alice": CHEAP.hash("right"), "bob": CHEAP.hash("b" * LONGEST), "broken": "$argon2id$nonsense"}


class Watched(ArgonPasswords):
    """Notes which hash is worked on, and can hold the work."""

    def __init__(self, hashes: Mapping[str, str] = HASHES) -> None:
        super().__init__(lambda: hashes)
        self.worked: list[str] = []
        self.running = 0
        self.most = 0
        self.go = threading.Event()
        self.both = threading.Event()
        self.go.set()

    def _fits(self, encoded: str, password: str) -> bool:
        self.running += 1
        self.most = max(self.most, self.running)
        if self.running == AT_ONCE:
            self.both.set()
        self.go.wait()
        self.worked.append(encoded)
        self.running -= 1
        return super()._fits(encoded, password)


@pytest.mark.parametrize(
    ("name", "password", "fits"),
    [
        ("alice", "right", True),
        ("bob", "b" * LONGEST, True),
        ("alice", "wrong", False),
        ("alice", "", False),
        ("alice", "Right", False),
        ("Alice", "right", False),
        ("nobody", "right", False),
        ("", "", False),
        ("broken", "right", False),
        ("bob", "b" * (LONGEST + 1), False),
        ("alice", "\udcff", False),
    ],
)
async def test_right_or_wrong(name: str, password: str, fits: bool) -> None:
    passwords = Watched()
    assert await passwords.verify(name, password) is fits
    # Whatever was asked, one hash was worked on: an unknown name cannot be told by time.
    assert len(passwords.worked) == 1


async def test_an_unknown_name_costs_what_a_known_one_does() -> None:
    passwords = Watched()
    await passwords.verify("nobody", "right")
    assert extract_parameters(passwords.worked[0]) == extract_parameters(HASHES["alice"])


def test_where_nobody_has_a_password_there_is_a_hash_to_work_on() -> None:
    parameters = extract_parameters(stand_in({}))
    assert (parameters.memory_cost, parameters.time_cost) == (65536, 3)


async def test_two_at_once_and_a_bounded_number_waiting() -> None:
    passwords = Watched()
    passwords.go.clear()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(passwords.verify("alice", "right")) for _ in range(WAITING_MOST)]
        await asyncio.to_thread(passwords.both.wait)
        with pytest.raises(Unavailable):
            await passwords.verify("alice", "right")
        passwords.go.set()
    assert all(task.result() for task in tasks)
    assert passwords.most <= AT_ONCE
    assert await passwords.verify("alice", "right")


async def test_the_configuration_of_now_counts() -> None:
    hashes = {"alice": HASHES["alice"]}
    passwords = ArgonPasswords(lambda: hashes)
    assert await passwords.verify("alice", "right")
    hashes["alice"] = CHEAP.hash("changed")
    assert not await passwords.verify("alice", "right")
    del hashes["alice"]
    assert not await passwords.verify("alice", "changed")
