"""``[[resources]]``: the targets. What one is made of follows from its ``protocol``."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Tag, ValidatorFunctionWrapHandler, WrapValidator

from gateway_config.postgres import PostgresAccount, PostgresResource
from gateway_config.ssh import SshAccount, SshResource
from gateway_config.targets import AnyResource
from gateway_config.tcp import TcpAccount, TcpResource
from gateway_config.values import PROTOCOLS

SHAPES: Mapping[str, type[AnyResource]] = {
    "postgres": PostgresResource,
    "ssh": SshResource,
    "tcp": TcpResource,
}
"""Protocol -> what its resources have."""

Account = PostgresAccount | SshAccount | TcpAccount


class _Unserved(AnyResource):
    """A resource whose protocol is wrong or missing. It is never made: only what all have is looked at, since what
    else it should have is not known."""

    model_config = ConfigDict(extra="ignore")


def _served(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, Mapping) and value.get("protocol") not in PROTOCOLS:
        _Unserved.model_validate(value)
    return check(value)


def _shape(value: Any) -> str:
    # The tags are in angle brackets so that loading can leave them out of a problem's path. What is no table at all
    # goes to the first shape, which says so.
    found = value.get("protocol") if isinstance(value, Mapping) else getattr(value, "protocol", None)
    return f"<{found if found in PROTOCOLS else PROTOCOLS[0]}>"


Resource = Annotated[
    Annotated[PostgresResource, Tag("<postgres>")]
    | Annotated[SshResource, Tag("<ssh>")]
    | Annotated[TcpResource, Tag("<tcp>")],
    Discriminator(_shape),
    WrapValidator(_served),
]
