"""Rows of a later version: nobody decides, extends or widens what they do not know; ending it always works, and
keeps what was in it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.access.revocations import Target
from proxy.core.access import Grant, Refusal, Request
from proxy.core.errors import Denied, PeerError
from proxy.core.feed import FeedItem, Scope
from proxy.core.states import RequestStatus
from proxy.core.words import read
from tests.access.world import HOUR, KEY, OFFICE, World, wish, world

NOTE = {"note": "of a later version"}
MASK = {"must": {"mask": "email"}}


async def later_grant(a: World, account: str = "readonly", **more: Any) -> Grant:
    grant: Grant = a.later(await a.granted(account=account, duration=HOUR / 2), **more)
    await a.store.commit(lambda writer: writer.put_grant(grant))
    return grant


async def later_request(a: World, request: Request | None = None, **more: Any) -> Request:
    made = request or await a.requests.make(a.who("alice"), "shop", "owner", 60, "", OFFICE)
    later: Request = a.later(made, **more)
    await a.store.commit(lambda writer: writer.put_request(later))
    return later


def fields_of(row: Any) -> dict[str, Any]:
    return dict(json.loads(row.sealed)["fields"])


# -- grants


async def test_a_field_that_need_not_be_understood_is_in_nobody_s_way() -> None:
    a = world()
    grant = await later_grant(a, **NOTE)
    admission = await a.gate.admit(await a.token(grant), wish(), a.registered.append)
    assert admission.grant == grant


async def test_nobody_is_admitted_or_given_a_token_by_what_must_be_understood_and_is_not() -> None:
    a = world()
    grant = await a.granted()
    token = await a.token(grant)
    later = a.later(grant, **MASK)
    await a.store.commit(lambda writer: writer.put_grant(later))
    for attempt in (
        a.gate.admit(token, wish(), a.registered.append),
        a.grants.token(grant.id, a.who("alice")),
    ):
        with pytest.raises(Denied, match="newer version of Tidegate") as refused:
            await attempt
        assert (refused.value.code, "upgrade" in refused.value.hint) == (Refusal.GRANT_NEWER, True)
    assert a.store.state.feed == [], "nobody is cut for it elsewhere"


async def test_no_certificate_either() -> None:
    a = world()
    grant = await a.granted(account="ops", resource="box")
    await a.store.commit(lambda writer: writer.put_grant(a.later(grant, **MASK)))
    with pytest.raises(Denied) as refused:
        await a.grants.certificate(grant.id, a.who("alice"), KEY)
    assert refused.value.code == Refusal.GRANT_NEWER


@pytest.mark.parametrize("more", [NOTE, MASK])
async def test_nobody_extends_it(more: dict[str, Any]) -> None:
    a = world()
    grant = await later_grant(a, **more)
    with pytest.raises(PeerError, match="newer version") as refused:
        await a.grants.extend(grant.id, a.who("alice"), 600, "more", OFFICE)
    assert refused.value.code == "conflict"
    assert a.store.state.grants[grant.id] == grant


async def test_an_extension_that_was_asked_for_before_is_denied() -> None:
    a = world()
    made = await a.requests.make(a.who("alice"), "shop", "owner", HOUR / 2, "", OFFICE)
    done = await a.requests.approve(made.id, a.who("bob"))
    grant = a.store.state.grants[done.grant or ""]
    asked = await a.grants.extend(grant.id, a.who("alice"), 600, "more", OFFICE)
    assert asked.status is RequestStatus.PENDING
    later = a.later(grant, **NOTE)
    await a.store.commit(lambda writer: writer.put_grant(later))
    decided = await a.requests.approve(asked.id, a.who("bob"))
    assert (decided.status, "newer version" in decided.decision.reason) == (RequestStatus.DENIED, True)
    assert a.store.state.grants[grant.id] == later


@pytest.mark.parametrize("more", [NOTE, MASK])
async def test_its_holder_gives_it_back_and_an_admin_revokes_it(more: dict[str, Any]) -> None:
    a = world()
    for who in ("alice", "dave"):
        grant = await later_grant(a, **more)
        done = await a.revocations.revoke(Target(Scope.GRANT, grant.id), a.who(who), "enough")
        assert done.grants == (grant.id,)
        after = a.store.state.grants[grant.id]
        assert (after.revoked_by, a.seal.intact(after)) == (who, True)
        assert fields_of(after).items() >= more.get("must", more).items()
        assert json.loads(after.sealed)["must"] == sorted(more.get("must", {}))
    everything = await later_grant(a, **more)
    assert (await a.revocations.revoke(Target(Scope.ALL), a.who("dave"), "all")).grants == (everything.id,)


async def test_a_live_session_takes_no_end_that_this_version_cannot_keep_to() -> None:
    a = world()
    grant = await a.granted(duration=HOUR / 2)
    moved = replace(grant, ends=grant.ends + 60)

    def told(row: Grant) -> dict[str, Any]:
        return {"ends": row.ends, "rule": row.rule, "mac": row.mac, "sealed": row.sealed}

    for row, taken in ((a.seal.seal(moved), True), (a.later(moved, **NOTE), True), (a.later(moved, **MASK), False)):
        found = a.gate.extended(grant, told(row))
        assert found == (row if taken else None)
    for data in ({}, {"ends": "9"}, told(moved), told(a.seal.seal(moved)) | {"ends": moved.ends + 1}):
        assert a.gate.extended(grant, data) is None


# -- requests


@pytest.mark.parametrize(
    "change",
    [
        lambda a, row: a.later(row, **NOTE),
        lambda a, row: a.later(row, **MASK),
        lambda a, row: a.seal.seal(replace(row, decision=replace(row.decision, newer={"quorum": 3}))),
    ],
)
async def test_nobody_decides_it_and_its_maker_takes_it_back(change: Any) -> None:
    a = world()
    made = await a.requests.make(a.who("alice"), "shop", "owner", 60, "", OFFICE)
    later = change(a, made)
    await a.store.commit(lambda writer: writer.put_request(later))
    for attempt in (
        a.requests.approve(made.id, a.who("bob")),
        a.requests.deny(made.id, a.who("bob"), "no"),
        a.requests.deny(made.id, a.who("dave"), "no"),
    ):
        with pytest.raises(PeerError, match="newer version") as refused:
            await attempt
        assert (refused.value.code, "upgraded" in refused.value.hint) == ("conflict", True)
    assert a.store.state.requests[made.id] == later
    gone = await a.requests.withdraw(made.id, a.who("alice"))
    assert (gone.status, a.seal.intact(gone), a.seal.newer(gone)) == (RequestStatus.WITHDRAWN, True, True)
    assert fields_of(gone).keys() >= fields_of(later).keys()
    assert gone.decision.newer == later.decision.newer


async def test_it_lapses_as_any() -> None:
    a = world()
    made = await later_request(a, **NOTE)
    a.clock.advance(a.limits.request_life + 1)
    (lapsed,) = await a.requests.expire_due()
    assert (lapsed.id, lapsed.status, fields_of(lapsed)["note"]) == (made.id, RequestStatus.EXPIRED, NOTE["note"])
    assert a.seal.intact(lapsed)


async def test_a_status_of_a_later_version_is_decided_by_nobody_and_can_be_withdrawn() -> None:
    a = world()
    made = await a.requests.make(a.who("alice"), "shop", "owner", 60, "", OFFICE)
    later = a.seal.seal(replace(made, status=RequestStatus("second_stage")))
    await a.store.commit(lambda writer: writer.put_request(later))
    for attempt in (a.requests.approve(made.id, a.who("bob")), a.requests.deny(made.id, a.who("bob"), "no")):
        with pytest.raises(PeerError, match=r"no such|already second_stage"):
            await attempt
    assert (await a.requests.withdraw(made.id, a.who("alice"))).status is RequestStatus.WITHDRAWN


# -- sessions


async def test_a_session_of_a_status_that_is_not_known_can_be_cut() -> None:
    a = world()
    record = await a.start_session(await a.granted())
    later = replace(record, status=type(record.status)("paused"), totals=read(type(record.totals), {"later": 1}))
    await a.store.commit(lambda writer: writer.put_session(later))
    assert (await a.revocations.cut(record.id, a.who("dave"), "x")).seq == 1
    (item,) = a.store.state.feed
    assert isinstance(item, FeedItem)
    assert item.ends
