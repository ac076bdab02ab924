"""Log-ins, the caller, and the resources a caller may ask for."""

from pydantic import Field, SecretStr

from proxy.api.shapes.values import Asked, Instant, Name, Seconds, Shape


class LoginAsked(Asked):
    user: Name
    password: SecretStr = Field(max_length=1024)


class LoggedIn(Shape):
    """``token`` is the bearer credential of all other calls; it opens no session."""

    token: str
    user: str
    expires: Instant


class Me(Shape):
    name: str
    id: str = Field(description="never changes, whatever the name")
    display: str = ""
    groups: list[str]
    roles: list[str] = Field(description="admin, auditor, or nothing")
    login_expires: Instant
    time: Instant = Field(description="the gateway's clock")


class Offer(Shape):
    """One rule by which the caller could get an account."""

    rule: str
    outcome: str = Field(description="allow: at once; needs_approval: after people agreed")
    max_duration: Seconds
    approvals: int = 0
    approvers: str = Field("", description="the group whose members may agree")
    reason_required: bool = False


class OfferedAccount(Shape):
    name: str
    databases: list[str] = Field(description="databases the account is for; empty: any")
    offers: list[Offer]


class ConnectHint(Shape):
    """Where clients connect. An empty ``host`` is the API's own."""

    protocol: str
    host: str
    port: int


class ResourceShown(Shape):
    name: str
    protocol: str
    description: str = ""
    labels: dict[str, str]
    accounts: list[OfferedAccount]
    connect: ConnectHint | None
