"""Listeners: what each protocol has, and that no token crosses a network in the clear."""

import pytest

from gateway_config.loading import read
from gateway_config.problems import ConfigProblems


def listener(folder, protocol, rest):
    text = f'[[listeners]]\nname = "l"\nprotocol = "{protocol}"\naddress = "0.0.0.0:1"\n{rest}\n'
    (found,) = read(text, source="x", base=folder, with_surroundings=False).listeners
    return found


def problem(folder, protocol, rest):
    with pytest.raises(ConfigProblems) as raised:
        listener(folder, protocol, rest)
    (found,) = raised.value.problems
    return found.path, found.message


TLS = 'tls = { certificate = "c", key = "k" }'


def test_ssh_needs_no_tls(tmp_path):
    found = listener(tmp_path, "ssh", 'host_names = ["Gate", "10.0.0.1"]\nproxy_protocol_from = ["10.0.0.0/8"]')
    assert found.host_names == ("gate", "10.0.0.1")
    assert (found.tls, found.takes_strangers) == (None, True)
    assert found.proxy_protocol_from == ("10.0.0.0/8",)


@pytest.mark.parametrize(
    ("rest", "named"),
    [
        (TLS, "`tls`"),
        ("require_tls = true", "`require_tls`"),
        ("require_tls = false", "`require_tls`"),
        (f"{TLS}\nrequire_tls = true", "`tls` and `require_tls`"),
    ],
)
def test_tls_says_nothing_of_ssh(tmp_path, rest, named):
    where, said = problem(tmp_path, "ssh", rest)
    assert where == "listeners[0]"
    assert said.startswith(f"has {named}, but SSH has its own encryption")


@pytest.mark.parametrize("protocol", ["postgres", "tcp"])
def test_the_others_have_tls_and_no_host_certificate(tmp_path, protocol):
    assert listener(tmp_path, protocol, TLS).require_tls
    assert "needs `tls`" in problem(tmp_path, protocol, "")[1]
    assert "in the clear" in problem(tmp_path, protocol, "require_tls = false")[1]
    assert listener(tmp_path, protocol, 'require_tls = false\nproxy_protocol_from = ["10.0.0.9"]').tls is None
    assert "an `ssh` listener" in problem(tmp_path, protocol, f'{TLS}\nhost_names = ["a"]')[1]


def test_a_host_name_is_one_name(tmp_path):
    assert problem(tmp_path, "ssh", 'host_names = ["a", "*.b"]')[0] == "listeners[0].host_names[1]"
