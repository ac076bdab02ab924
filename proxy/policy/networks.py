"""Whether an address is inside networks. Pure; read by ``policy.rules`` and ``access.gate``.

An IPv4 client of a dual-stack listener arrives as ``::ffff:10.0.0.1`` (RFC 4291, section 2.5.5.2): it is compared
as the IPv4 address it is, in networks written either way.
"""

import functools
import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def inside(source: str, networks: tuple[str, ...]) -> bool:
    """Whether ``source`` (an IP address as text, a zone allowed) is in one of ``networks``; none given: anywhere.

    What is not an address is inside nothing. ``ValueError`` for a network that cannot be read.
    """
    if not networks:
        return True
    parsed = parse(networks)
    address = read_address(source)
    return address is not None and any(address in network for network in parsed)


def read_address(source: str) -> Address | None:
    """The address, IPv4-mapped ones as IPv4 and without a zone; None when it is none."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@functools.lru_cache(maxsize=1024)
def parse(networks: tuple[str, ...]) -> tuple[Network, ...]:
    """The networks as objects; ``ValueError`` for one that is not CIDR or has host bits set."""
    return tuple(_without_mapping(ipaddress.ip_network(text)) for text in networks)


def _without_mapping(network: Network) -> Network:
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        v4 = int(network.network_address) & 0xFFFFFFFF
        return ipaddress.IPv4Network((v4, network.prefixlen - 96))
    return network
