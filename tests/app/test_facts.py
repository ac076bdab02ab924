"""What clients are told of the configuration: where to connect."""

from pathlib import Path

import pytest

from gateway_config.listeners import Listener
from gateway_config.schema import Config
from proxy.adapters.configuration import catalog
from proxy.app.api import facts
from proxy.app.foundation import Configured

TLS = {"certificate": "a", "key": "b"}
OFFICE = {"name": "office", "address": "0.0.0.0:5432", "tls": TLS}
PLAIN = {"name": "plain", "address": "10.0.0.1:5433", "require_tls": False, "proxy_protocol_from": ["10.0.0.9"]}
NAMED = {"public_address": "db.example.com:6432"}


@pytest.mark.parametrize(
    ("listeners", "told"),
    [
        ([OFFICE], ("", 5432)),
        ([OFFICE | NAMED], ("db.example.com", 6432)),
        ([OFFICE, PLAIN], ("", 5432)),
        ([PLAIN, OFFICE], ("", 5432)),  # nobody may connect to it but the balancer
        ([PLAIN | NAMED, OFFICE], ("db.example.com", 6432)),
        ([OFFICE | {"address": "127.0.0.1:1"}, OFFICE], ("127.0.0.1", 1)),
        ([PLAIN], None),
    ],
)
def test_where_clients_connect(listeners: list[dict[str, object]], told: tuple[str, int] | None) -> None:
    config = Config(listeners=tuple(Listener.model_validate({"protocol": "postgres"} | each) for each in listeners))
    assert facts(Configured(Path(), config, catalog(config))).listeners.get("postgres") == told


@pytest.mark.parametrize("address", ["0.0.0.0:5432", "[::]:1", "db.example.com:0"])
def test_an_address_that_nobody_can_connect_to(address: str) -> None:
    with pytest.raises(ValueError, match="nobody can connect"):
        Listener.model_validate({"protocol": "postgres", **OFFICE, "public_address": address})
