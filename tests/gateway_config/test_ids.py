"""Ids of people: left out they are names, they never mean two people, and no name has a colon."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_config.cautions import cautions
from gateway_config.loading import read
from gateway_config.problems import ConfigProblems
from gateway_config.schema import Config
from proxy.adapters.configuration import catalog

AUDITORS = '[[groups]]\nname = "auditors"\nroles = ["auditor"]\n'
ADMINS = '[[groups]]\nname = "admins"\nroles = ["admin"]\n'


def users(*people: tuple[str, str | None]) -> str:
    """The TOML of people by (name, id)."""
    rows = [f'[[users]]\nname = "{each[0]}"\n' + (f'id = "{each[1]}"\n' if each[1] else "") for each in people]
    return "\n".join(rows)


def config_of(text: str) -> Config:
    return read(text, source="x", base=Path("/"), with_surroundings=False)


def problems(*people: tuple[str, str | None]) -> list[str]:
    try:
        config_of(users(*people))
    except ConfigProblems as error:
        return [f"{each.path}: {each.message}" for each in error.problems]
    return []


def test_an_id_that_is_left_out_is_the_name() -> None:
    known = catalog(config_of(users(("alice", None), ("bobby", "bob"))))
    assert {key: each.name for key, each in known.identities.items()} == {"alice": "alice", "bob": "bobby"}
    assert known.named("bobby") == known.identities["bob"]
    assert known.named("bob") is None
    assert [known.id_of(each) for each in ("bobby", "bob", "nobody")] == ["bob", "bob", "nobody"]


@pytest.mark.parametrize("people", [(("alice", "alice"),), (("alicia", "alice"), ("bob", None))])
def test_ones_own_name_or_a_name_that_nobody_has_is_an_id(people: tuple[tuple[str, str | None], ...]) -> None:
    assert problems(*people) == []


@pytest.mark.parametrize(
    ("people", "place", "word"),
    [
        ((("alice", "u1"), ("bob", "u1")), "users[1].id", "is the id of users[0] already"),
        ((("alice", None), ("bob", "alice")), "users[1].id", "users[0]"),
        ((("bob", "alice"), ("alice", None)), "users[0].id", "is the name of users[1]"),
        ((("bob", "alice"), ("alice", "u1")), "users[0].id", "is the name of users[1]"),
        ((("gateway", None),), "users[0].name", "what no person did"),
        ((("alice", "anonymous"),), "users[0].id", "what no person did"),
        ((("alice", "oidc:alice"),), "users[0].id", "should be a name"),
        ((("oidc:alice", None),), "users[0].name", "should be a name"),
    ],
)
def test_an_id_means_one_person(people: tuple[tuple[str, str | None], ...], place: str, word: str) -> None:
    found = problems(*people)
    assert any(each.startswith(f"{place}: ") and word in each for each in found), found


words = st.sampled_from(["a", "b", "c", "d"])


@given(st.lists(st.tuples(words, st.none() | words), max_size=4, unique_by=lambda each: each[0]))
def test_whatever_is_accepted_no_word_means_two_people(people: list[tuple[str, str | None]]) -> None:
    meant: dict[str, set[str]] = {}
    for name, lasting in people:
        for word in {name, lasting or name}:
            meant.setdefault(word, set()).add(name)
    ambiguous = any(len(each) > 1 for each in meant.values())
    assert bool(problems(*people)) is ambiguous


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (users(("alice", None)), True),
        (AUDITORS + users(("alice", None)), True),
        (AUDITORS + users(("alice", None)) + 'groups = ["auditors"]\n', False),
        (ADMINS + users(("alice", None)) + 'groups = ["admins"]\n', True),
        ("[recordings]\nadmins_read = true\n" + ADMINS + users(("alice", None)) + 'groups = ["admins"]\n', False),
        ("[recordings]\nadmins_read = true\n" + ADMINS + users(("alice", None)), True),
    ],
)
def test_it_is_said_where_nobody_could_read_what_was_done(text: str, warned: bool) -> None:
    assert any("nobody is an auditor" in each for each in cautions(config_of(text))) is warned
