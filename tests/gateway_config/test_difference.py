"""What a reload changes: paths and when they take effect, never values."""

from pathlib import Path

import pytest

from gateway_config.difference import Change, difference, needs_restart
from gateway_config.loading import read
from tests.gateway_config.files import HASH, MINIMAL

TWO_POLICIES = "\n".join(
    f'[[policies]]\nname = "{name}"\nwho = ["*"]\nresources = ["shop"]\napproval = "deny"\n'
    for name in ("one", "two")
)


def config(text):
    return read(text, source="x", base=Path("/etc/tidegate"), with_surroundings=False)


def test_nothing():
    assert difference(config(MINIMAL), config(MINIMAL + "# a comment\n")) == []


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("env:SHOP", "env:OTHER", [Change("resources[shop].accounts[readonly].password", "new_sessions")]),
        ("db.example.com", "db2.example.com", [Change("resources[shop].address", "new_sessions")]),
        ("m=65536", "m=65537", [Change("users[alice].password_hash", "live")]),
        ('"alice"', '"eve"', [Change("users[alice]", "live", "removed"), Change("users[eve]", "live", "added")]),
    ],
)
def test_one_change(old, new, changes):
    assert difference(config(MINIMAL), config(MINIMAL.replace(old, new))) == changes


def test_sections_that_were_left_out():
    found = difference(
        config(MINIMAL), config(MINIMAL + '[limits]\nidle = "1m"\n[tokens]\nlife = "5m"\nleeway = 1\n')
    )
    assert found == [
        Change("tokens.life", "live"),
        Change("tokens.leeway", "restart"),
        Change("limits.idle", "new_sessions"),
    ]
    assert needs_restart(found) == [Change("tokens.leeway", "restart")]


def test_a_default_that_is_written_out_is_no_change():
    assert difference(config(""), config('[tokens]\nlife = "600s"\n')) == []


def test_a_table_that_comes_and_goes():
    without, with_control = (
        config(MINIMAL),
        config(MINIMAL + '[resources.control]\nuser = "c"\npassword = "env:C"\n'),
    )
    assert difference(without, with_control) == [Change("resources[shop].control", "new_sessions")]
    assert difference(with_control, without) == [Change("resources[shop].control", "new_sessions")]


def test_the_order_of_policies_counts():
    one, two = TWO_POLICIES.split("\n\n")
    old, new = config(MINIMAL + TWO_POLICIES), config(f"{MINIMAL}{two}\n{one}\n")
    assert difference(old, new) == [Change("policies", "live")]
    assert difference(old, config(MINIMAL + two)) == [Change("policies[one]", "live", "removed")]


def test_no_values():
    old = config(MINIMAL)
    new = config(MINIMAL.replace(HASH, HASH.replace("m=65536", "m=65537")).replace("env:SHOP", "env:HUNTER2"))
    said = "\n".join(map(str, difference(old, new)))
    assert said.splitlines() == [
        "users[alice].password_hash changed (live)",
        "resources[shop].accounts[readonly].password changed (new_sessions)",
    ]
