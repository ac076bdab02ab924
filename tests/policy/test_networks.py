"""Addresses in networks, in each of the forms a listener may show them."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.networks import inside, parse


@pytest.mark.parametrize(
    ("source", "networks", "expected"),
    [
        ("10.1.2.3", (), True),
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("::ffff:10.1.2.3", ("10.0.0.0/8",), True),
        ("10.1.2.3", ("::ffff:10.0.0.0/104",), True),
        ("::ffff:0a01:0203", ("::ffff:10.0.0.0/104",), True),
        ("11.1.2.3", ("10.0.0.0/8",), False),
        ("::ffff:11.1.2.3", ("10.0.0.0/8",), False),
        ("11.1.2.3", ("10.0.0.0/8", "11.1.2.3/32"), True),
        ("2001:db8::1", ("2001:db8::/32",), True),
        ("fe80::1%eth0", ("fe80::/10",), True),
        ("2001:db8::1", ("10.0.0.0/8",), False),
        # The IPv4 internet is not "everything in IPv6": each family is named by itself.
        ("10.1.2.3", ("::/0",), False),
        ("::10.1.2.3", ("10.0.0.0/8",), False),
        ("", ("10.0.0.0/8",), False),
        ("localhost", ("10.0.0.0/8",), False),
        ("010.1.2.3", ("10.0.0.0/8",), False),
        ("167838211", ("10.0.0.0/8",), False),
    ],
)
def test_an_address_is_inside_or_not(source: str, networks: tuple[str, ...], expected: bool) -> None:
    assert inside(source, networks) is expected


@pytest.mark.parametrize("network", ["10.0.0.1/8", "ten/8", "", "10.0.0.0/33"])
def test_a_network_that_cannot_be_read_is_an_error_not_a_guess(network: str) -> None:
    with pytest.raises(ValueError):
        inside("10.1.2.3", (network,))


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_an_address_is_in_its_own_network_in_both_forms(address: ipaddress.IPv4Address, bits: int) -> None:
    network = (str(ipaddress.ip_network((address, bits), strict=False)),)
    assert inside(str(address), network)
    assert inside(f"::ffff:{address}", network)
    assert parse(network)[0].version == 4
