"""What the operator wrote, in the words of the core."""

from pathlib import Path

import pytest

from gateway_config.loading import read
from gateway_config.policies import Policy
from gateway_config.schema import digest
from proxy.access.seals import CONDITIONS
from proxy.access.tokens import AS_LONG_AS_GRANT
from proxy.adapters.configuration import _conditions, catalog, password_hashes, store_password
from proxy.core.access import Outcome
from proxy.core.errors import Unavailable
from proxy.core.identity import Account, Role
from proxy.core.targets import (
    HostPorts,
    PostgresControl,
    PostgresCredential,
    PostgresTarget,
    Secret,
    SshAllowance,
    SshCredential,
    SshLogin,
    SshTarget,
    TcpTarget,
    UnixSocket,
)
from proxy.policy.decide import Ask, decide
from tests.gateway_config.files import HASH, put, toml

TEXT = toml(
    f"""
    [store]
    url = "postgresql://u@h/d"
    password = "env:STORE"

    [[groups]]
    name = "engineers"
    [[groups]]
    name = "leads"
    roles = ["admin", "auditor"]

    [[users]]
    name = "alice"
    display = "Alice"
    groups = ["engineers"]
    password_hash = "{HASH}"
    [[users]]
    name = "dave"
    groups = ["engineers", "leads"]

    [[resources]]
    name = "shop"
    protocol = "postgres"
    description = "Orders"
    address = ["a:1", "[::1]:2"]
    labels = {{ env = "prod" }}
    tls_ca = "ca.pem"
    tls_server_name = "db.example.com"
    client_certificate = "gateway.pem"
    client_key = "/keys/gateway.key"
    protocol_version = "3.0"
    [[resources.accounts]]
    name = "readonly"
    password = "file:readonly"
    databases = ["shop"]
    [[resources.accounts]]
    name = "owner"
    client_certificate = "owner.pem"
    client_key = "owner.key"
    [resources.control]
    user = "tidegate"
    password = "env:CONTROL"

    [[resources]]
    name = "plain"
    protocol = "postgres"
    address = "127.0.0.1:3"
    tls_mode = "disable"
    [[resources.accounts]]
    name = "app"
    password = "env:CONTROL"

    [[policies]]
    name = "never"
    who = ["user:dave"]
    resources = ["plain"]
    approval = "deny"
    [[policies]]
    name = "read"
    who = ["group:engineers"]
    labels = {{ env = ["prod", "test"] }}
    accounts = ["readonly"]
    max_duration = "1h"
    networks = ["10.0.0.0/8"]
    approval = "automatic"
    record_rows = 20
    record_bytes = "4KiB"
    [[policies]]
    name = "own"
    who = ["*"]
    resources = ["sh*"]
    accounts = ["owner"]
    databases = ["shop"]
    max_duration = 1800
    approval = {{ count = 1, group = "leads" }}
    min_reason_length = 10
    [[policies]]
    name = "freely"
    who = ["user:alice"]
    resources = ["plain"]
    accounts = ["app"]
    max_duration = "5m"
    approval = "automatic"
    networks = ["10.0.0.0/8"]
    token_life = "grant"
    reason_required = false
    """
)


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKQTVU3RtdhfPUHK+SBqa2Bw9HWP2vQRSOUGzonL6Prg"

HOSTS = toml(
    f"""
    [[users]]
    name = "alice"

    [[resources]]
    name = "box"
    protocol = "ssh"
    address = "box:22"
    host_keys = ["{KEY} root@box"]
    [[resources.accounts]]
    name = "ops"
    password = "env:CONTROL"
    [[resources.accounts]]
    name = "files"
    key = "keys/files"
    allow = ["transfer"]
    environment = []
    [[resources.accounts]]
    name = "tunnel"
    certificate = true
    principal = "gateway"
    allow = []
    forward = ["DB:5432", "[::1]:80-90", "unix:/run/x.sock"]

    [[resources]]
    name = "new"
    protocol = "ssh"
    address = "new:22"
    trust_first_use = true
    max_sessions = 3
    max_forwards = 4
    [[resources.accounts]]
    name = "ops"
    certificate = true

    [[resources]]
    name = "echo"
    protocol = "tcp"
    address = "echo:7"
    accounts = [{{ name = "any" }}]

    [[policies]]
    name = "typed"
    who = ["*"]
    resources = ["box"]
    accounts = ["ops"]
    max_duration = "1h"
    approval = "automatic"
    record_input = true
    [[policies]]
    name = "carried"
    who = ["*"]
    resources = ["echo"]
    accounts = ["any"]
    max_duration = "1h"
    approval = "automatic"
    record_traffic = true
    """
)


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    monkeypatch.setenv("CONTROL", "control secret")
    return catalog(read(HOSTS, source="x", base=tmp_path, with_surroundings=False))


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("CONTROL", "control secret")
    monkeypatch.setenv("STORE", "store secret")
    put(tmp_path / "readonly", "readonly secret\n")
    return read(TEXT, source="x", base=tmp_path, with_surroundings=False)


def test_people(config):
    found = catalog(config).identities
    assert set(found) == {"alice", "dave"}
    assert (found["alice"].display, found["alice"].groups, found["alice"].roles) == (
        "Alice",
        frozenset({"engineers"}),
        frozenset(),
    )
    assert found["dave"].roles == {Role.ADMIN, Role.AUDITOR}
    assert password_hashes(config) == {"alice": HASH}


def test_a_resource(config):
    shop = catalog(config).resources["shop"]
    assert shop.addresses == (("a", 1), ("::1", 2))
    assert shop.labels == {"env": "prod"}
    assert (shop.protocol, shop.description) == ("postgres", "Orders")
    assert [(each.name, each.databases) for each in shop.accounts] == [("readonly", ("shop",)), ("owner", ())]


def test_credentials(config, tmp_path):
    shop = catalog(config).resources["shop"]
    gateway = (tmp_path / "gateway.pem", Path("/keys/gateway.key"))
    assert shop.account("readonly").credential == PostgresCredential(Secret("readonly secret"), *gateway)
    own = (tmp_path / "owner.pem", tmp_path / "owner.key")
    assert shop.account("owner").credential == PostgresCredential(None, *own)
    control = PostgresControl("tidegate", PostgresCredential(Secret("control secret"), *gateway), "postgres")
    assert shop.options == PostgresTarget(
        tls_mode="verify-full",
        tls_ca=tmp_path / "ca.pem",
        tls_server_name="db.example.com",
        protocol_version="3.0",
        control=control,
    )
    assert store_password(config) == Secret("store secret")


def test_a_target_without_tls(config):
    plain = catalog(config).resources["plain"]
    assert plain.options == PostgresTarget(tls_mode="disable")
    assert plain.account("app").credential == PostgresCredential(Secret("control secret"))


def test_hosts_and_how_they_are_known(hosts):
    assert hosts.resources["box"].options == SshTarget(host_keys=(KEY,))
    assert hosts.resources["new"].options == SshTarget(trust_first=True, max_sessions=3, max_forwards=4)
    assert (hosts.resources["box"].protocol, hosts.resources["box"].addresses) == ("ssh", (("box", 22),))


def test_how_accounts_of_a_host_are_entered_and_what_they_may_do(hosts, tmp_path):
    # `Account` leaves its credential out of comparisons.
    assert {each.name: each.credential for each in hosts.resources["box"].accounts} == {
        "ops": SshLogin(SshCredential(password=Secret("control secret")), SshAllowance()),
        "files": SshLogin(
            SshCredential(key=tmp_path / "keys" / "files"),
            SshAllowance(shell=False, exec=False, transfer=True, environment=()),
        ),
        "tunnel": SshLogin(
            SshCredential(issued=True, principal="gateway"),
            SshAllowance(
                False,
                False,
                False,
                forward=(HostPorts("db", 5432, 5432), HostPorts("::1", 80, 90), UnixSocket("/run/x.sock")),
            ),
        ),
    }
    assert all(each.databases == () for each in hosts.resources["box"].accounts)
    assert hosts.resources["new"].account("ops").credential == SshLogin(SshCredential(issued=True))


def test_a_tcp_service(hosts):
    echo = hosts.resources["echo"]
    assert (echo.protocol, echo.options, echo.accounts) == ("tcp", TcpTarget(), (Account("any", (), None),))
    assert echo.account("any").credential is None


def test_what_is_recorded_besides_is_said_in_the_grant_only_where_it_is_on(hosts):
    typed, carried = hosts.rules
    assert typed.conditions == {"record_input": True}
    assert carried.conditions == {"record_traffic": True}


def test_nothing_prints_what_a_host_is_entered_with(hosts):
    assert "control secret" not in f"{hosts}{hosts.resources['box'].accounts[0].credential!r}"


def test_rules(config):
    never, read_, own, freely = catalog(config).rules
    assert (never.effect, never.accounts, never.reason_required) == (Outcome.DENY, (), False)
    assert read_.labels == {"env": ("prod", "test")}
    assert (read_.effect, read_.max_duration, read_.networks) == (Outcome.ALLOW, 3600, ("10.0.0.0/8",))
    assert read_.conditions == {"record_rows": 20, "record_bytes": 4096}
    assert (own.effect, own.approvals, own.approvers) == (Outcome.NEEDS_APPROVAL, 1, "leads")
    assert (own.databases, own.max_duration, own.min_reason_length, own.conditions) == (("shop",), 1800, 10, {})
    assert (freely.reason_required, freely.min_reason_length) == (False, 0)
    assert freely.conditions == {"token_life": AS_LONG_AS_GRANT}


@pytest.mark.parametrize(
    ("who", "resource", "account", "reason", "outcome", "rule"),
    [
        ("alice", "shop", "readonly", "a look", Outcome.ALLOW, "read"),
        ("alice", "shop", "readonly", "", Outcome.DENY, ""),
        ("alice", "shop", "owner", "fix an order by hand", Outcome.NEEDS_APPROVAL, "own"),
        ("alice", "shop", "owner", "fix", Outcome.DENY, ""),
        ("alice", "plain", "app", "", Outcome.ALLOW, "freely"),
        ("dave", "plain", "app", "please", Outcome.DENY, "never"),
    ],
)
def test_the_rules_decide_as_the_policies_say(config, who, resource, account, reason, outcome, rule):
    found = catalog(config)
    ask = Ask(found.identities[who], found.resources[resource], account, 60, reason, source="10.1.2.3")
    decision = decide(found.rules, ask)
    assert (decision.outcome, decision.rule) == (outcome, rule)


def test_the_digest_is_the_configurations(config):
    assert catalog(config).digest == digest(config)


def test_a_secret_is_read_again_each_time(config, tmp_path):
    put(tmp_path / "readonly", "rotated")
    assert catalog(config).resources["shop"].account("readonly").credential.password.reveal() == "rotated"


def test_a_secret_that_cannot_be_read_keeps_everything_as_it_is(config, tmp_path):
    (tmp_path / "readonly").unlink()
    with pytest.raises(Unavailable) as raised:
        catalog(config)
    assert raised.value.code == "configuration"
    assert "readonly" not in raised.value.public
    assert "file:readonly" in raised.value.detail


def test_nothing_prints_what_was_resolved(config):
    found = catalog(config)
    shop = found.resources["shop"]
    said = f"{found}{shop}{shop.accounts[0].credential!r}{shop.options!r}{config!r}"
    assert " secret" not in said
    assert "***" in said


def test_what_a_policy_says_in_a_grant_is_what_this_version_keeps_to() -> None:
    """Else a grant that it makes could not be used by itself."""
    said = {"record_rows": 3, "record_input": True, "record_traffic": True, "token_life": "grant"}
    policy = {"name": "p", "who": ["*"], "resources": ["*"], "accounts": ["*"], "networks": ["10.0.0.0/8"]}
    whole = Policy.model_validate({**policy, "max_duration": "1h", "approval": "automatic", **said})
    assert set(_conditions(whole)) == CONDITIONS
