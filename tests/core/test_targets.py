"""What the gateway holds to enter a target never prints, and only verified TLS is called verified."""

import copy
import pickle

import pytest

from proxy.core.targets import PostgresControl, PostgresCredential, PostgresTarget, Secret


def test_passwords_print_as_stars():
    credential = PostgresCredential(Secret("hunter2"))
    control = PostgresControl("u", credential)
    for holder in (credential, control, PostgresTarget(control=control)):
        assert "***" in repr(holder)
        assert "hunter2" not in f"{holder}{holder!r}"


def test_a_secret_leaves_only_by_reveal():
    secret = Secret("hunter2")
    assert secret.reveal() == "hunter2"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(secret)


def test_secrets_compare_by_their_text():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


@pytest.mark.parametrize(
    ("mode", "verified"), [("verify-full", True), ("verify-ca", True), ("require", False), ("disable", False)]
)
def test_verified(mode, verified):
    assert PostgresTarget(tls_mode=mode).verified is verified


def test_a_target_is_verified_unless_said_otherwise():
    assert PostgresTarget().verified
