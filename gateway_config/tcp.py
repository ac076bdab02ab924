"""``[[resources]]`` with ``protocol = "tcp"``: any service behind plain TCP. People bring its own credentials."""

from typing import Literal

from gateway_config.settings import Section, setting
from gateway_config.targets import AnyResource


class TcpAccount(Section):
    """The one account of a TCP service, so that policies and grants can name it."""

    name: Literal["any"] = setting(
        'Always `"any"`: whom the service takes a connection for is between it and the client.', "new_sessions"
    )


class TcpResource(AnyResource):
    """A TCP service."""

    protocol: Literal["tcp"] = setting('`"tcp"`.', "new_sessions")
    accounts: tuple[TcpAccount, ...] = setting(
        "The one account there is.", "new_sessions", (TcpAccount(name="any"),), min_length=1, max_length=1
    )
