"""Certificates and authorities over HTTP."""

from dataclasses import replace
from typing import Any

import pytest

from proxy.access import ssh_wire as wire
from tests.access.world import KEY, OFFICE
from tests.access.world import wish as any_wish
from tests.api.world import ApiWorld


async def asked(world: ApiWorld, name: str = "alice", **body: Any) -> Any:
    return await world.call(name, "POST", "/v1/ssh/certificates", {"public_key": KEY, **body})


@pytest.mark.parametrize("by", ["grant", "resource", "account"])
async def test_a_certificate_for_ones_own_grant(world: ApiWorld, by: str) -> None:
    world.facts = replace(world.facts, listeners={"ssh": ("gate.example", 2222)})
    grant = await world.granted("alice", "ops", resource="box")
    named = {"grant": {"grant": grant.id}, "resource": {"resource": "box"}}.get(
        by, {"resource": "box", "account": "ops"}
    )
    answer = await asked(world, **named)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    claims = world.certificates.verify(
        wire.read_line(made["certificate"]), any_wish("ops", "", protocol="ssh", source=OFFICE)
    )
    assert (claims.grant, claims.subject, claims.jti) == (grant.id, "alice", made["jti"])
    assert (made["grant"], made["resource"], made["account"]) == (grant.id, "box", "ops")
    assert (made["host"], made["port"], made["expires_in"]) == ("gate.example", 2222, 600)
    (line,) = made["host_authority"]
    assert line == f"@cert-authority {made['host_key_alias']} {world.ssh_keys.hosts_authority().decode()}"


async def test_where_no_listener_is_known(world: ApiWorld) -> None:
    await world.granted("alice", "ops", resource="box")
    made = (await asked(world, resource="box")).json()
    assert (made["host"], made["port"]) == ("", 0)


async def test_unknown_and_forbidden_grants_are_one(world: ApiWorld) -> None:
    grant = await world.granted("alice", "ops", resource="box")
    answers = [
        (await asked(world, "eve", grant=grant.id)),
        (await asked(world, "eve", grant="grant-999999")),
        (await asked(world, "eve", resource="box")),
        (await asked(world, "eve", resource="no-such")),
        (await asked(world, "dave", grant=grant.id)),
        (await asked(world, "alice", resource="box", account="root")),
    ]
    assert {each.status_code for each in answers} == {404}
    problems = [{name: value for name, value in each.json().items() if name != "reference"} for each in answers]
    assert all(each == problems[0] for each in problems)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"grant": "g", "resource": "box"},
        {"grant": "g", "account": "ops"},
        {"account": "ops"},
        {"resource": "box", "public_key": ""},
        {"resource": "box", "public_key": "ssh-ed25519 x"},
        {"resource": "box", "public_key": "x" * 20_000},
        {"resource": "box", "principals": ["root"]},
        {"resource": "box", "valid_before": 1},
    ],
    ids=str,
)
async def test_what_cannot_be_asked(world: ApiWorld, body: dict[str, Any]) -> None:
    await world.granted("alice", "ops", resource="box")
    answer = await asked(world, **body)
    assert answer.status_code == 422
    assert "certificate_issued" not in world.kinds()


async def test_a_grant_that_is_over_is_denied_in_words(world: ApiWorld) -> None:
    grant = await world.granted("alice", "ops", resource="box", duration=60)
    world.clock.advance(61)
    answer = await asked(world, grant=grant.id)
    assert (answer.status_code, answer.json()["code"]) == (403, "grant_expired")


async def test_authorities_are_public_keys(world: ApiWorld) -> None:
    answer = await world.call("zed", "GET", "/v1/ssh/authorities")
    shown = answer.json()
    assert shown["targets"] == world.ssh_keys.targets_authority().decode()
    assert shown["hosts"] == world.ssh_keys.hosts_authority().decode()
    assert shown["known_hosts"] == [f"@cert-authority {shown['host_key_alias']} {shown['hosts']}"]
    for name in ("targets", "hosts"):
        assert wire.read_key(wire.read_line(shown[name])).type == "ssh-ed25519"
    assert "PRIVATE" not in answer.text
