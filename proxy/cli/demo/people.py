"""The people of the demo and their one password.

Called by ``world``, which writes them into the configuration, and ``instructions``.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ENGINEERS, APPROVERS, AUDITORS, ADMINS = "engineers", "approvers", "auditors", "admins"
ROLES: Mapping[str, str] = {ENGINEERS: "", APPROVERS: "", AUDITORS: "auditor", ADMINS: "admin"}

CONSONANTS = "bdfghjklmnprstvz"
VOWELS = "aeiou"
# 9 syllables of 80: 56 bits, easily typed and read aloud.
WORDS, SYLLABLES = 3, 3


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    display: str
    group: str


PEOPLE: Sequence[Person] = (
    Person("alice", "Alice Ames", ENGINEERS),
    Person("eve", "Eve Ellis", ENGINEERS),
    Person("bob", "Bob Brink", APPROVERS),
    Person("carol", "Carol Chen", AUDITORS),
    Person("dave", "Dave Dahl", ADMINS),
)


def new_password() -> str:
    """A random password one can type: ``bafoki-ruteno-lisuma``."""
    return "-".join(
        "".join(secrets.choice(CONSONANTS) + secrets.choice(VOWELS) for _ in range(SYLLABLES)) for _ in range(WORDS)
    )
