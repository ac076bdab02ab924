"""``[[listeners]]``: where clients connect, and the certificate the gateway shows them."""

from pathlib import Path

from pydantic import model_validator

from gateway_config.settings import Section, setting
from gateway_config.values import Address, Flag, HostName, Name, Network, ProtocolName


class ServerTls(Section):
    """The gateway's own certificate."""

    certificate: Path = setting("Certificate chain (PEM), the server's own first.", "live", per_node=True)
    key: Path = setting("Its private key (PEM, not encrypted; not readable by everyone).", "live", per_node=True)


class Listener(Section):
    """An address that clients of one protocol connect to."""

    name: Name = setting("The listener's name, in logs and metrics.", "restart")
    protocol: ProtocolName = setting('What is spoken there: `"postgres"`, `"ssh"` or `"tcp"`.', "restart")
    address: Address = setting("`host:port` to listen on.", "restart", per_node=True)
    public_address: Address | None = setting(
        "`host:port` by which clients reach it, where that is another: a name that the certificate is for, or a "
        "load balancer. Used by `tidegate connect` and in hints.",
        "live",
        None,
        per_node=True,
    )
    tls: ServerTls | None = setting(
        "Certificate and key. Required where `require_tls` is on; not for `ssh`.", "restart", None
    )
    require_tls: Flag = setting(
        "Refuse tokens that come without TLS. May be off only on loopback, or behind a proxy that ends TLS "
        "(`proxy_protocol_from`). Not for `ssh`, which has encryption of its own.",
        "restart",
        True,
    )
    proxy_protocol_from: tuple[Network, ...] = setting(
        "Networks (CIDR) whose connections must begin with a PROXY protocol header (v1 or v2), which then names "
        "the client's address. Others are taken as they come, or not at all where `require_tls` is off and this is "
        "no loopback address. Empty: no such header is read from anyone.",
        "restart",
        (),
        per_node=True,
    )

    host_names: tuple[HostName, ...] = setting(
        "Only for `ssh`: names and addresses by which clients reach the gateway, besides those of `address` and "
        "`public_address`; its host certificate is for all of them.",
        "restart",
        (),
        per_node=True,
    )

    @property
    def takes_strangers(self) -> bool:
        """Whether connections that come through none of ``proxy_protocol_from`` are taken: not where a token of
        theirs would cross the network in the clear."""
        return self.require_tls or self.address.loopback

    @property
    def reached_at(self) -> tuple[str, int] | None:
        """Host and port for clients; the host "" where it is any of the machine's, None where clients connect
        through something else whose address is not known."""
        if self.public_address is not None:
            return self.public_address.host, self.public_address.port
        if not self.takes_strangers:
            return None
        return "" if self.address.wildcard else self.address.host, self.address.port

    @model_validator(mode="after")
    def _can_be_reached(self) -> "Listener":
        if self.public_address is not None and (self.public_address.wildcard or self.public_address.port == 0):
            raise ValueError("has a `public_address` that nobody can connect to")
        return self

    @model_validator(mode="after")
    def _has_what_is_its_protocols(self) -> "Listener":
        found = [each for each in ("tls", "require_tls") if each in self.model_fields_set]
        if self.protocol == "ssh" and found:
            words = " and ".join(f"`{each}`" for each in found)
            raise ValueError(f"has {words}, but SSH has its own encryption and no TLS: leave that out")
        if self.protocol != "ssh" and "host_names" in self.model_fields_set:
            raise ValueError("has `host_names`, which are for the certificate of an `ssh` listener: leave them out")
        return self

    @model_validator(mode="after")
    def _token_is_safe(self) -> "Listener":
        if self.protocol == "ssh":
            return self
        if self.require_tls and self.tls is None:
            raise ValueError("needs `tls` (certificate and key), since `require_tls` is on")
        if not self.require_tls and not self.address.loopback and not self.proxy_protocol_from:
            raise ValueError(
                "would take tokens in the clear from the network: `require_tls` may be off only on loopback"
            )
        return self
