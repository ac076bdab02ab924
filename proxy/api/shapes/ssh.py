"""User certificates and authorities of SSH."""

from pydantic import Field, model_validator

from proxy.api.shapes.values import Asked, Instant, Seconds, Shape


class CertificateAsked(Asked):
    """By the grant's id, or by resource and account ("" where there are grants for one alone)."""

    grant: str = Field("", max_length=128)
    resource: str = Field("", max_length=128)
    account: str = Field("", max_length=256)
    public_key: str = Field(min_length=1, max_length=16_384, description="as the line of id_ed25519.pub")

    @model_validator(mode="after")
    def _one_way(self) -> "CertificateAsked":
        if bool(self.grant) == bool(self.resource):
            raise ValueError("name a grant, or a resource")
        if self.grant and self.account:
            raise ValueError("a grant is for one account: name none beside it")
        return self


class CertificateMade(Shape):
    """A certificate for connecting, good with the key's private half alone. An empty ``host`` is the API's own."""

    certificate: str = Field(description="one line, for CertificateFile")
    jti: str = Field(description="its id in the trail, and for revoking it")
    expires: Instant
    expires_in: Seconds
    grant: str
    resource: str
    account: str
    host_authority: list[str] = Field(description="lines for known_hosts, to be used with HostKeyAlias")
    host_key_alias: str
    host: str
    port: int = Field(description="0 where the gateway has no listener for SSH")


class AuthoritiesShown(Shape):
    """Public keys, each a line ``type base64 comment``."""

    targets: str = Field(description="what targets believe: a line for sshd's TrustedUserCAKeys")
    targets_next: str = Field("", description="what they must believe besides, before it signs; mostly nothing")
    hosts: str = Field(description="what clients believe: signs the gateway's host key")
    known_hosts: list[str] = Field(description="lines for known_hosts, to be used with HostKeyAlias")
    host_key_alias: str
