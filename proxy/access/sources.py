"""Which sources count as one when refusals are counted. Pure; called by ``gate``."""

import ipaddress

from proxy.policy.networks import read_address


def source_kind(source: str) -> str:
    """The address; of IPv6 the /64, which one machine may fill with addresses of its own; "" for what is none."""
    address = read_address(source)
    if address is None:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)
