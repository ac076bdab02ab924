"""Argon2id hashes: made strong, checked before they are believed."""

import pytest
from argon2 import PasswordHasher, Type, extract_parameters

from gateway_config.passwords import check_hash, hash_password
from tests.gateway_config.files import HASH


def test_a_hash_is_of_the_password_salted_and_costs_64_mib():
    one, other = hash_password("hunter2"), hash_password("hunter2")
    assert one != other
    assert check_hash(one) == one
    assert extract_parameters(one).memory_cost == 64 * 1024
    assert extract_parameters(one).type is Type.ID
    assert PasswordHasher().verify(one, "hunter2")


def test_no_empty_password():
    with pytest.raises(ValueError, match="empty"):
        hash_password("")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("hunter2", "not the password"),
        ("", "not the password"),
        ("$2b$12$abcdefghijklmnopqrstuv", "not the password"),
        (HASH.replace("argon2id", "argon2i"), "another kind"),
        (HASH.replace("m=65536", "m=8"), "memory"),
        (HASH.replace("m=65536", "m=99999999"), "memory"),
        (HASH.replace("t=3", "t=1000"), "passes"),
    ],
)
def test_what_is_no_usable_hash(wrong, why):
    with pytest.raises(ValueError, match=why) as raised:
        check_hash(wrong)
    assert "hunter2" not in str(raised.value)
