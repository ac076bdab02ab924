"""People read names, of now or of then; ids stand beside them, and either finds everything."""

from dataclasses import replace
from typing import Any

from proxy.core.feed import Scope
from tests.access.world import OFFICE, person
from tests.api.test_login import tried
from tests.api.world import PASSWORD, ApiWorld


def rename(world: ApiWorld, old: str, new: str) -> None:
    changed = replace(world.catalog.identities[old], name=new)
    world.catalog = replace(world.catalog, identities={**world.catalog.identities, old: changed})


def leave(world: ApiWorld, gone: str) -> None:
    left = {each.id: each for each in world.catalog.identities.values() if each.id != gone}
    world.catalog = replace(world.catalog, identities=left)


async def got(world: ApiWorld, path: str, by: str = "carol") -> Any:
    answer = await world.call(by, "GET", path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_lists_say_the_name_of_now_and_are_found_by_it_and_by_the_id(world: ApiWorld) -> None:
    ids = await world.lived()
    rename(world, "alice", "alicia")
    for kind in ("requests", "grants", "sessions"):
        (found,) = [each for each in (await got(world, f"/v1/{kind}"))["items"] if each["id"] in ids.values()]
        assert (found["identity"], found["identity_id"]) == ("alicia", "alice"), kind
        one = await got(world, f"/v1/{kind}/{found['id']}")
        assert (one["identity"], one["identity_id"]) == ("alicia", "alice"), kind
    for kind in ("grants", "sessions"):
        for word in ("alicia", "alice"):
            assert (await got(world, f"/v1/{kind}?identity={word}"))["items"] != [], (kind, word)
        assert (await got(world, f"/v1/{kind}?identity=nobody"))["items"] == []
    me = await got(world, "/v1/me", by="alicia")
    assert (me["name"], me["id"]) == ("alicia", "alice")
    assert (await got(world, "/v1/sessions?identity=alicia", by="alicia"))["items"] != []


async def test_who_has_left_is_called_as_then(world: ApiWorld) -> None:
    world.catalog = replace(
        world.catalog,
        identities={**world.catalog.identities, "u9": replace(person("zoe", "engineers"), id="u9")},
    )
    made = await world.requests.make(world.catalog.identities["u9"], "shop", "readonly", 60, "a reason", OFFICE)
    await world.revocations.lock(Scope.IDENTITY, "zoe", world.who("dave"), "lunch")
    leave(world, "u9")
    shown = await got(world, f"/v1/grants/{made.grant}")
    assert (shown["identity"], shown["identity_id"]) == ("zoe", "u9")
    (lock,) = (await got(world, "/v1/locks"))["items"]
    assert (lock["key"], lock["id"], lock["by"], lock["by_id"]) == ("zoe", "u9", "dave", "dave")
    page = await got(world, "/v1/audit/events?limit=1000")
    assert page["names"] == {"u9": "zoe"}
    assert {each["actor"] for each in page["items"]} >= {"u9", "dave"}
    assert (await world.call("dave", "DELETE", "/v1/locks?scope=identity&key=u9")).status_code == 204


async def test_the_trail_is_found_by_name_and_id_and_said_as_it_was_hashed(world: ApiWorld) -> None:
    ids = await world.lived()
    rename(world, "alice", "alicia")
    by_name = await got(world, "/v1/audit/events?actor=alicia&limit=1000")
    assert by_name == await got(world, "/v1/audit/events?actor=alice&limit=1000")
    assert by_name["items"] != []
    about = await got(world, "/v1/audit/events?subject=identity:alicia&limit=1000")
    assert about["items"] == (await got(world, "/v1/audit/events?subject=identity:alice&limit=1000"))["items"] != []
    assert {each["subjects"]["identity"] for each in about["items"]} == {"alice"}
    assert about["names"] == {"alice": "alicia"}
    assert ids


async def test_an_approvers_and_a_revokers_name_is_said(world: ApiWorld) -> None:
    request = await world.pending("alice")
    made = (await world.call("bob", "POST", f"/v1/requests/{request.id}/approve", {"reason": "fine"})).json()
    await world.call("dave", "POST", f"/v1/grants/{made['grant']['id']}/revoke", {"reason": "x"})
    rename(world, "bob", "bobby")
    rename(world, "dave", "david")
    (vote,) = (await got(world, f"/v1/requests/{request.id}"))["approvals"]
    assert (vote["by"], vote["by_id"]) == ("bobby", "bob")
    grant = await got(world, f"/v1/grants/{made['grant']['id']}")
    assert (grant["revoked_by"], grant["revoked_by_id"]) == ("david", "dave")


async def test_a_revocation_by_name_says_the_name_and_how_far_it_is(world: ApiWorld) -> None:
    await world.lived()
    rename(world, "alice", "alicia")
    rename(world, "dave", "david")
    asked = {"scope": "identity", "key": "alicia", "reason": "lunch"}
    made = (await world.call("david", "POST", "/v1/revocations", asked)).json()
    assert (made["key"], made["sessions"][0]["identity"], made["sessions"][0]["identity_id"]) == (
        "alicia",
        "alicia",
        "alice",
    )
    told = (await world.call("david", "GET", f"/v1/revocations/{made['seq']}")).json()
    assert (told["key"], told["by"]) == ("alicia", "david")
    assert (told["live"][0]["identity"], told["live"][0]["identity_id"]) == ("alicia", "alice")


async def test_a_name_that_changes_hands_while_a_password_is_looked_at_lets_nobody_in(world: ApiWorld) -> None:
    """Hashing takes a tenth of a second, and a reload a moment: the password was not the new holder's."""
    looked_at = world.passwords.verify

    async def reloaded_meanwhile(name: str, password: str) -> bool:
        right = await looked_at(name, password)
        rename(world, "alice", "alicia")
        new = replace(person("alice", "engineers"), id="u2")
        world.catalog = replace(world.catalog, identities={**world.catalog.identities, "u2": new})
        return right

    world.passwords.verify = reloaded_meanwhile  # type: ignore[method-assign]
    assert await tried(world, "alice", PASSWORD) == 401
    world.passwords.verify = looked_at  # type: ignore[method-assign]
    assert await tried(world, "alice", PASSWORD) == 200
    assert {row.actor for row in world.store.state.trail if row.kind == "logged_in"} == {"u2"}


async def test_a_new_name_is_no_new_set_of_tries(world: ApiWorld) -> None:
    for index in range(10):
        assert await tried(world, "alice", "wrong", f"10.0.0.{index}") == 401
    rename(world, "alice", "alicia")
    assert await tried(world, "alicia", PASSWORD, "10.0.0.99") == 429
