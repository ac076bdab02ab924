"""Names that must be unique or exist, listeners that collide, approvals that nobody could give."""

import pytest

from gateway_config.loading import read
from gateway_config.problems import ConfigProblems
from tests.gateway_config.files import toml

WORLD = toml(
    """
    [[groups]]
    name = "engineers"
    [[groups]]
    name = "approvers"

    [[users]]
    name = "alice"
    groups = ["engineers"]
    [[users]]
    name = "bob"
    groups = ["approvers"]

    [[resources]]
    name = "shop"
    protocol = "postgres"
    address = "h:1"
    labels = { env = "prod" }
    [[resources.accounts]]
    name = "readonly"
    password = "env:A"
    databases = ["shop"]
    [[resources.accounts]]
    name = "owner"
    password = "env:A"
    """
)

POLICY = {
    "name": '"p"',
    "who": '["group:engineers"]',
    "resources": '["shop"]',
    "accounts": '["readonly"]',
    "max_duration": '"1h"',
    "approval": '"automatic"',
}


def policy(**changes):
    rows = {**POLICY, **changes}
    return WORLD + "\n[[policies]]\n" + "\n".join(f"{key} = {value}" for key, value in rows.items() if value)


def found(text, tmp_path):
    try:
        read(text, source="x", base=tmp_path, with_surroundings=False)
    except ConfigProblems as error:
        return [(each.path, each.message) for each in error.problems]
    return []


def test_the_world_is_fine(tmp_path):
    assert found(policy(), tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"who": '["group:enginers"]'}, "who[0]", 'there is no group "enginers"; did you mean "engineers"?'),
        ({"who": '["*", "user:eve"]'}, "who[1]", 'there is no user "eve"'),
        ({"resources": '["shop", "shopp"]'}, "resources[1]", 'there is no resource "shopp"; did you mean "shop"?'),
        ({"accounts": '["readonyl"]'}, "accounts[0]", 'no account "readonyl"; did you mean "readonly"?'),
        ({"databases": '["shop", "other"]'}, "databases[1]", 'none of its accounts may open the database "other"'),
        ({"approval": '{ group = "aprovers" }'}, "approval.group", 'did you mean "approvers"?'),
        ({"approval": '{ count = 2, group = "approvers" }'}, "approval.count", "has only 1 members"),
        ({"who": '["user:bob"]', "approval": '{ group = "approvers" }'}, "approval.count", "approves their own"),
    ],
)
def test_policies_speak_of_what_there_is(tmp_path, changes, path, message):
    ((where, said),) = found(policy(**changes), tmp_path)
    assert where == f"policies[0].{path}"
    assert message in said


@pytest.mark.parametrize(
    "changes",
    [
        {"who": '["*"]', "approval": '{ count = 1, group = "approvers" }'},
        {"resources": '["s*"]', "accounts": '["*"]', "databases": '["any"]'},
        {"resources": '["nothing-yet-*"]', "accounts": '["any"]'},
        {"resources": "", "labels": '{ env = "p*" }', "accounts": '["owner"]'},
        {"resources": "", "labels": '{ env = "staging" }', "accounts": '["any"]'},
    ],
)
def test_policies_that_can_be_met(tmp_path, changes):
    assert found(policy(**changes), tmp_path) == []


def test_labels_choose_the_resources_whose_accounts_are_checked(tmp_path):
    ((where, _),) = found(policy(resources="", labels='{ env = "prod" }', accounts='["any"]'), tmp_path)
    assert where == "policies[0].accounts[0]"


def test_names_are_unique(tmp_path):
    text = policy() + toml(
        """
        [[policies]]
        name = "p"
        who = ["*"]
        resources = ["shop"]
        approval = "deny"
        [[users]]
        name = "alice"
        [[groups]]
        name = "engineers"
        [[resources]]
        name = "shop"
        protocol = "postgres"
        address = "h:1"
        [[resources.accounts]]
        name = "a"
        password = "env:A"
        [[resources.accounts]]
        name = "a"
        password = "env:A"
        """
    ).replace("[[policies]]", "\n[[policies]]")
    assert {where for where, _ in found(text, tmp_path)} >= {
        "policies[1].name",
        "users[2].name",
        "groups[2].name",
        "resources[1].name",
        "resources[1].accounts[1].name",
    }


def test_users_belong_to_groups_that_exist(tmp_path):
    text = '[[groups]]\nname = "dba"\n[[users]]\nname = "a"\ngroups = ["dba", "dbas"]\n'
    assert found(text, tmp_path) == [("users[0].groups[1]", 'there is no group "dbas"; did you mean "dba"?')]


def listeners(*addresses, api="127.0.0.1:8443"):
    text = f'[api]\nlisten = "{api}"\n'
    for number, address in enumerate(addresses):
        text += (
            f'[[listeners]]\nname = "l{number}"\nprotocol = "postgres"\naddress = "{address}"\n'
            'tls = { certificate = "c", key = "k" }\n'
        )
    return text


@pytest.mark.parametrize(
    ("addresses", "wrong"),
    [
        (["127.0.0.1:1", "127.0.0.1:1"], ["listeners[1].address"]),
        (["0.0.0.0:1", "127.0.0.1:1"], ["listeners[1].address"]),
        (["127.0.0.1:1", "[::]:1"], ["listeners[1].address"]),
        (["127.0.0.1:8443"], ["listeners[0].address"]),
        (["0.0.0.0:8443"], ["listeners[0].address"]),
        (["127.0.0.1:1", "127.0.0.2:1", "127.0.0.1:2"], []),
        (["127.0.0.1:0", "127.0.0.1:0"], []),
    ],
)
def test_listeners_collide(tmp_path, addresses, wrong):
    assert [where for where, _ in found(listeners(*addresses), tmp_path)] == wrong


def test_an_api_that_is_off_takes_no_address(tmp_path):
    assert found(listeners("127.0.0.1:8443") + "\n[api]\n", tmp_path)
    assert found(listeners("127.0.0.1:8443").replace("[api]", "[api]\nenabled = false"), tmp_path) == []


def test_sqlite_has_no_password(tmp_path):
    assert [where for where, _ in found('[store]\npassword = "env:A"', tmp_path)] == ["store.password"]
    assert found('[store]\nurl = "postgresql://u@h/d"\npassword = "env:A"', tmp_path) == []


HOSTS = toml(
    """
    [[resources]]
    name = "box"
    protocol = "ssh"
    address = "h:22"
    trust_first_use = true
    [[resources.accounts]]
    name = "ops"
    certificate = true
    [[resources]]
    name = "echo"
    protocol = "tcp"
    address = "h:7"
    """
)


def policy_of(resource, **changes):
    return HOSTS + policy(resources=f'["{resource}"]', accounts='["*"]', **changes)


@pytest.mark.parametrize(
    ("resource", "changes", "path", "message"),
    [
        ("box", {"databases": '["shop"]'}, "databases", "narrows nothing"),
        ("echo", {"databases": '["shop"]'}, "databases", "narrows nothing"),
        ("box", {"record_rows": "1"}, "record_rows", "none of its resources is of postgres"),
        ("echo", {"record_input": "true"}, "record_input", "none of its resources is of ssh"),
        ("shop", {"record_traffic": "true"}, "record_traffic", "none of its resources is of ssh or tcp"),
    ],
)
def test_a_policy_asks_for_nothing_that_its_resources_do_not_have(tmp_path, resource, changes, path, message):
    ((where, said),) = found(policy_of(resource, **changes), tmp_path)
    assert where == f"policies[0].{path}"
    assert message in said


@pytest.mark.parametrize(
    ("resource", "changes"),
    [
        ("*", {"databases": '["shop"]', "record_rows": "1", "record_input": "true", "record_traffic": "true"}),
        ("box", {"record_input": "true", "record_traffic": "true"}),
        ("echo", {"record_traffic": "true", "record_input": "false"}),
        ("not-yet-*", {"record_input": "true", "databases": '["shop"]'}),
    ],
)
def test_one_policy_may_be_about_several_protocols(tmp_path, resource, changes):
    assert found(policy_of(resource, **changes), tmp_path) == []


def test_accounts_of_all_protocols_are_known_by_name(tmp_path):
    text = HOSTS + policy(resources='["box", "echo"]', accounts='["ops", "any", "al"]')
    ((where, said),) = found(text, tmp_path)
    assert where == "policies[0].accounts[2]"
    assert 'no account "al"' in said
