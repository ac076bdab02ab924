"""What the ``[[resources]]`` of every protocol have. ``postgres``, ``ssh`` and ``tcp`` add what is their own."""

from collections.abc import Mapping

from pydantic import model_validator

from gateway_config.settings import Section, setting
from gateway_config.values import Addresses, Line, Name, ProtocolName


class AnyResource(Section):
    """A target that can be reached."""

    name: Name = setting("What people ask for.", "new_sessions")
    protocol: ProtocolName = setting("What it speaks.", "new_sessions")
    address: Addresses = setting(
        "`host:port`, or several, tried in order (IPv6 hosts in brackets).",
        "new_sessions",
        min_length=1,
        max_length=16,
    )
    labels: Mapping[Name, Line] = setting("Free pairs that policies can select by.", "live", {})
    description: Line = setting("A line for people.", "live", "")

    @model_validator(mode="after")
    def _can_be_reached(self) -> "AnyResource":
        if any(each.port == 0 for each in self.address):
            raise ValueError("has an address with port 0")
        return self
