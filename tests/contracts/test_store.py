"""What every store keeps to, wherever it lives: ``core.ports.Store``, ``Reader`` and ``Writer``."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest

from proxy.audit.chain import SALT_BYTES, verify
from proxy.core.access import Approval, Claims, Considered, Outcome
from proxy.core.errors import PeerError
from proxy.core.events import GrantIssued, GrantRevoked, LoggedIn, SessionEnded, SessionStarted
from proxy.core.feed import FeedKind, Scope
from proxy.core.ports import Lock, Node, Page, Reader, Store, Viewer, Writer
from proxy.core.sessions import CutReceipt, ServedBy, Totals
from proxy.core.states import EndReason, RequestStatus, SessionStatus
from proxy.core.trail import TrailHead
from tests.audit.trails import link_salted
from tests.contracts.conftest import Home
from tests.fakes.things import ENDED, SERVED, T0, a_decision, a_grant, a_request, a_session, an_event

Put = Callable[[Writer], Any]
Row = TypeVar("Row")


@pytest.fixture
async def store(home: Home) -> AsyncIterator[Store]:
    async with home.open() as opened:
        yield opened


def all_of(*changes: Put) -> Put:
    return lambda writer: [change(writer) for change in changes]


def ids(found: list[Any]) -> list[str]:
    return [each.id for each in found]


# -- units


async def test_a_commit_gives_what_its_unit_gives(store: Store) -> None:
    assert await store.commit(lambda writer: "given") == "given"


async def test_a_read_gives_what_its_query_gives(store: Store) -> None:
    assert await store.read(lambda reader: reader.grants(Page())) == []


async def test_what_a_unit_raises_is_raised_again_and_nothing_of_it_is_kept(store: Store) -> None:
    def unit(writer: Writer) -> None:
        writer.put_grant(a_grant())
        writer.append(an_event(LoggedIn))
        writer.publish(FeedKind.KEYS, Scope.ALL, "")
        raise PeerError("no", code="conflict")

    with pytest.raises(PeerError, match="no"):
        await store.commit(unit)
    kept = await store.read(lambda r: (r.grant("grant-000001"), r.trail_head(), r.feed_position(), r.feed_after(0)))
    assert kept == (None, (0, ""), 0, [])


async def test_numbers_of_a_failed_unit_are_given_out_again(store: Store) -> None:
    def failing(writer: Writer) -> None:
        writer.append(an_event(LoggedIn))
        raise PeerError("no")

    await store.commit(lambda w: w.append(an_event(LoggedIn)))
    with pytest.raises(PeerError):
        await store.commit(failing)
    assert await store.commit(lambda w: w.append(an_event(LoggedIn))) == 2


async def test_units_committed_together_fail_apart(store: Store) -> None:
    def unit(number: int) -> Put:
        def run(writer: Writer) -> int:
            writer.put_grant(a_grant(f"grant-{number:06}"))
            seq = writer.append(an_event(LoggedIn, source=str(number)))
            writer.publish(FeedKind.REVOKED, Scope.GRANT, str(number))
            writer.trail_after(0)  # what reads may make a store write early
            if number % 3 == 0:
                raise PeerError(f"unit {number}")
            return seq

        return run

    results = await asyncio.gather(*(store.commit(unit(n)) for n in range(12)), return_exceptions=True)
    good = [n for n in range(12) if n % 3]
    assert [str(result) for result in results if isinstance(result, PeerError)] == [
        f"unit {n}" for n in (0, 3, 6, 9)
    ]
    assert [result for result in results if isinstance(result, int)] == list(range(1, 9))
    grants, trail, feed = await store.read(lambda r: (r.grants(Page()), r.trail_after(0), r.feed_after(0)))
    assert sorted(ids(grants)) == [f"grant-{n:06}" for n in good]
    assert [(row.seq, row.body["source"]) for row in trail] == [(i + 1, str(n)) for i, n in enumerate(good)]
    assert [(item.seq, item.key) for item in feed] == [(i + 1, str(n)) for i, n in enumerate(good)]


async def test_a_unit_sees_its_own_changes(store: Store) -> None:
    def unit(writer: Writer) -> tuple[Any, ...]:
        writer.put_grant(a_grant())
        seq = writer.append(an_event(LoggedIn))
        position = writer.publish(FeedKind.KEYS, Scope.ALL, "")
        facts = writer.admission_facts(Claims("jti", "alice", "grant-000001", T0, T0))
        trail = [row.seq for row in writer.trail_after(0)], [row.seq for row in writer.trail_before(None)]
        feed = [item.seq for item in writer.feed_after(0)]
        again = writer.append(an_event(LoggedIn))
        return (
            writer.grant("grant-000001"),
            seq,
            position,
            facts.feed_position,
            trail,
            feed,
            again,
            writer.trail_head()[0],
        )

    assert await store.commit(unit) == (a_grant(), 1, 1, 1, ([1], [1]), [1], 2, 2)


async def test_a_waiter_that_gives_up_harms_nobody(store: Store) -> None:
    async with asyncio.TaskGroup() as tasks:
        given_up = tasks.create_task(store.commit(lambda w: w.append(an_event(LoggedIn))))
        other = tasks.create_task(store.commit(lambda w: w.append(an_event(LoggedIn))))
        await asyncio.sleep(0)
        given_up.cancel()
    assert other.result() in {1, 2}
    assert await store.commit(lambda w: w.append(an_event(LoggedIn))) == other.result() + 1


async def test_the_clock_goes_with_the_store(store: Store) -> None:
    read = await store.read(lambda r: r.now())
    written = await store.commit(lambda w: w.now())
    assert read > 1_700_000_000
    assert abs(written - read) < 10


# -- requests


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": RequestStatus.APPROVED, "decided": T0 + 5.5, "grant": "grant-000001", "extends": "grant-000000"},
        {"groups": frozenset(), "approvals": (), "reason": "", "source": ""},
    ],
)
async def test_a_request_comes_back_as_it_was(store: Store, changes: dict[str, Any]) -> None:
    request = a_request(**changes)
    await store.commit(lambda w: w.put_request(request))
    assert await store.read(lambda r: r.request(request.id)) == request
    assert await store.read(lambda r: r.request("request-none")) is None


async def test_a_request_is_replaced(store: Store) -> None:
    await store.commit(lambda w: w.put_request(a_request()))
    denied = dataclasses.replace(
        a_request(), status=RequestStatus.DENIED, decided=T0 + 3, approvals=(Approval("bob", False, T0 + 3, "no"),)
    )
    await store.commit(lambda w: w.put_request(denied))
    assert await store.read(lambda r: r.requests(Page())) == [denied]


async def test_requests_are_paged_and_filtered(store: Store) -> None:
    def unit(writer: Writer) -> None:
        for n in range(1, 8):
            writer.put_request(
                a_request(
                    f"request-{n:06}",
                    identity="alice" if n % 2 else "eve",
                    resource="shop" if n < 6 else "box",
                    status=RequestStatus.PENDING if n > 2 else RequestStatus.DENIED,
                )
            )

    await store.commit(unit)
    first = await store.read(lambda r: r.requests(Page(3)))
    second = await store.read(lambda r: r.requests(Page(3, first[-1].id)))
    assert [each[-1] for each in ids(first) + ids(second)] == list("765432")
    for wanted, expected in [
        ({"identity": "eve"}, "642"),
        ({"status": "denied"}, "21"),
        ({"resource": "box"}, "76"),
        ({"identity": "alice", "status": "pending", "resource": "shop"}, "53"),
    ]:
        found = await store.read(lambda r, wanted=wanted: r.requests(Page(), **wanted))  # type: ignore[misc]
        assert "".join(each[-1] for each in ids(found)) == expected


async def test_the_gate_is_told_of_a_revocation_by_the_trail_itself(store: Store) -> None:
    def told(reader: Reader) -> bool:
        return reader.admission_facts(CLAIMS).revocation_told

    await store.commit(all_of(lambda w: w.put_grant(a_grant()), lambda w: w.append(an_event(GrantIssued))))
    other = an_event(GrantRevoked, grant="grant-000002")
    await store.commit(lambda w: w.append(other))
    assert not await store.read(told)
    mine = an_event(GrantRevoked, grant="grant-000001")
    assert await store.commit(lambda w: (w.append(mine), told(w))[1])
    assert await store.read(told)
    await store.commit(lambda w: w.put_grant(a_grant("grant-000003")))
    assert not await store.read(
        lambda r: r.admission_facts(dataclasses.replace(CLAIMS, grant="none")).revocation_told
    )


async def test_a_list_is_what_its_viewer_may_see(store: Store) -> None:
    """One's own, what one's groups decide, what one said yes to; over any number of what one may not see."""

    def unit(writer: Writer) -> None:
        for n in range(10):
            yes = (Approval("bob", n == 7, T0), Approval("bea", True, T0))
            made = a_request(
                f"request-{n}",
                identity="eve" if n == 3 else "alice",
                status=RequestStatus.PENDING if n > 4 else RequestStatus.DENIED,
                decision=a_decision(approvers="dba" if n in {0, 5} else "" if n == 9 else "approvers"),
                approvals=yes if n >= 6 else (),
            )
            writer.put_request(dataclasses.replace(made, approvals=(Approval("gone", True, T0),)))
            writer.put_request(made)
            writer.put_grant(a_grant(f"grant-{n}", request=made.id, identity=made.identity, ends=T0 + n))

    await store.commit(unit)

    def seen(name: str, *groups: str, **more: Any) -> Callable[[Reader], tuple[str, str]]:
        viewer = Viewer(name, frozenset(groups))
        live = {"live_at": more.pop("live_at", None)}

        def query(reader: Reader) -> tuple[str, str]:
            requests = reader.requests(more.get("page", Page()), viewer=viewer, status=more.get("status"))
            grants = reader.grants(more.get("page", Page()), viewer=viewer, **live)
            return "".join(each[-1] for each in ids(requests)), "".join(each[-1] for each in ids(grants))

        return query

    for query, expected in [
        (seen("eve"), ("3", "3")),
        (seen("eve", "dba"), ("530", "3")),
        (seen("eve", "dba", "", live_at=T0 + 3), ("530", "")),
        (seen("eve", "dba", status="pending"), ("5", "3")),
        (seen("eve", "dba", page=Page(2)), ("53", "3")),
        (seen("eve", "dba", page=Page(2, "request-3")), ("0", "3")),
        (seen("bob"), ("7", "7")),
        (seen("bea"), ("9876", "9876")),
        (seen("bea", "approvers", "dba"), ("9876543210", "9876")),
        (seen("gone"), ("", "")),
    ]:
        assert await store.read(query) == expected


async def test_pending_requests_are_those_that_lapsed_undecided(store: Store) -> None:
    lapsed, later = a_request("request-1", expires=T0), a_request("request-2", expires=T0 + 1)
    decided = a_request("request-3", expires=T0 - 1, status=RequestStatus.APPROVED)
    await store.commit(all_of(*(lambda w, each=each: w.put_request(each) for each in (lapsed, later, decided))))
    assert await store.read(lambda r: r.pending_requests(T0)) == [lapsed]


# -- grants, tokens, locks


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"networks": (), "databases": (), "conditions": {}, "rule": "", "mac": ""},
        {"revoked": T0 + 0.1, "revoked_by": "dave", "revoked_reason": "it's over; DROP TABLE grants"},
    ],
)
async def test_a_grant_comes_back_as_it_was(store: Store, changes: dict[str, Any]) -> None:
    grant = a_grant(**changes)
    await store.commit(lambda w: w.put_grant(grant))
    assert await store.read(lambda r: r.grant(grant.id)) == grant


async def test_grants_are_paged_and_filtered(store: Store) -> None:
    def unit(writer: Writer) -> None:
        writer.put_grant(a_grant("grant-1", ends=T0 + 10))
        writer.put_grant(a_grant("grant-2", ends=T0 + 20, identity="eve"))
        writer.put_grant(a_grant("grant-3", ends=T0 + 20, revoked=T0))
        writer.put_grant(a_grant("grant-4", starts=T0 + 50, ends=T0 + 60, resource="box"))

    await store.commit(unit)
    assert ids(await store.read(lambda r: r.grants(Page()))) == ["grant-4", "grant-3", "grant-2", "grant-1"]
    assert ids(await store.read(lambda r: r.grants(Page(2, "grant-3")))) == ["grant-2", "grant-1"]
    assert ids(await store.read(lambda r: r.grants(Page(), live_at=T0 + 10))) == ["grant-4", "grant-2"]
    assert ids(await store.read(lambda r: r.grants(Page(), identity="eve"))) == ["grant-2"]
    assert ids(await store.read(lambda r: r.grants(Page(), resource="box", live_at=T0))) == ["grant-4"]


async def test_locks_come_and_go(store: Store) -> None:
    user = Lock(Scope.IDENTITY, "alice", "dave", "left", T0)
    target = Lock(Scope.RESOURCE, "shop", "dave", "incident", T0 + 1)
    await store.commit(all_of(lambda w: w.put_lock(user), lambda w: w.put_lock(target)))
    assert await store.read(lambda r: r.locks()) == [target, user]
    assert await store.read(lambda r: r.lock(Scope.IDENTITY, "alice")) == user
    assert await store.read(lambda r: r.lock(Scope.RESOURCE, "alice")) is None
    assert await store.commit(lambda w: w.remove_lock(Scope.IDENTITY, "alice")) is True
    assert await store.commit(lambda w: w.remove_lock(Scope.IDENTITY, "alice")) is False
    assert await store.read(lambda r: r.locks()) == [target]


async def test_a_lock_is_replaced(store: Store) -> None:
    locks = [Lock(Scope.IDENTITY, "alice", by, by, T0) for by in ("dave", "bob")]
    await store.commit(all_of(*(lambda w, each=each: w.put_lock(each) for each in locks)))
    assert await store.read(lambda r: r.locks()) == locks[1:]


async def test_a_token_is_refused_once_revoked(store: Store) -> None:
    await store.commit(lambda w: w.revoke_token("jti-1", T0 + 600, "dave", "lost laptop"))
    assert await store.read(lambda r: (r.token_revoked("jti-1"), r.token_revoked("jti-2"))) == (True, False)


# -- admission facts


CLAIMS = Claims("jti-1", "alice", "grant-000001", T0, T0 + 600)


async def test_the_facts_of_an_unknown_grant_are_empty(store: Store) -> None:
    await store.commit(lambda w: w.put_lock(Lock(Scope.IDENTITY, "alice", "dave", "", T0)))
    facts = await store.read(lambda r: r.admission_facts(CLAIMS))
    assert (facts.grant, facts.token_revoked, facts.resource_lock, facts.live_sessions) == (None, False, None, 0)
    assert facts.identity_lock is None, "there is no grant whose identity could be locked"


async def test_the_facts_of_a_free_grant(store: Store) -> None:
    await store.commit(lambda w: w.put_grant(a_grant()))
    facts, now = await store.read(lambda r: (r.admission_facts(CLAIMS), r.now()))
    assert (facts.grant, facts.token_revoked) == (a_grant(), False)
    assert (facts.identity_lock, facts.resource_lock) == (None, None)
    assert (facts.live_sessions, facts.feed_position) == (0, 0)
    assert abs(facts.now - now) < 10


async def test_the_facts_tell_everything_that_stands_against(store: Store) -> None:
    user, target = (
        Lock(scope, key, "dave", "why", T0) for scope, key in ((Scope.IDENTITY, "alice"), (Scope.RESOURCE, "shop"))
    )

    def unit(writer: Writer) -> None:
        writer.put_grant(a_grant())
        writer.put_lock(Lock(Scope.IDENTITY, "shop", "dave", "another's", T0))
        writer.put_lock(Lock(Scope.RESOURCE, "alice", "dave", "another's", T0))
        writer.put_lock(user)
        writer.put_lock(target)
        writer.revoke_token("jti-1", T0 + 600, "dave", "")
        writer.put_session(a_session("session-1"))
        writer.put_session(a_session("session-2"))
        writer.put_session(a_session("session-3", **ENDED))
        writer.put_session(a_session("session-4", grant="grant-000002"))
        writer.publish(FeedKind.LOCKED, Scope.IDENTITY, "alice")
        writer.publish(FeedKind.LOCKED, Scope.RESOURCE, "shop")

    await store.commit(unit)
    facts = await store.read(lambda r: r.admission_facts(CLAIMS))
    assert (facts.identity_lock, facts.resource_lock) == (user, target)
    assert (facts.token_revoked, facts.live_sessions, facts.feed_position) == (True, 2, 2)


# -- sessions and nodes


@pytest.mark.parametrize(
    "changes",
    [{}, SERVED, ENDED, ENDED | SERVED, ENDED | {"receipt": None}, ENDED | {"receipt": CutReceipt(T0, T0)}],
)
async def test_a_session_comes_back_as_it_was(store: Store, changes: dict[str, Any]) -> None:
    session = a_session(**changes)
    await store.commit(all_of(lambda w: w.put_session(a_session()), lambda w: w.put_session(session)))
    assert await store.read(lambda r: r.session(session.id)) == session
    assert await store.read(lambda r: r.session("session-none")) is None


async def test_sessions_are_paged_and_filtered(store: Store) -> None:
    def unit(writer: Writer) -> None:
        writer.put_session(a_session("session-1", **ENDED))
        writer.put_session(a_session("session-2", identity="eve"))
        writer.put_session(a_session("session-3", resource="box", node="node-2"))
        writer.put_session(a_session("session-4", grant="grant-2", served_by=ServedBy(77, T0)))
        writer.put_session(a_session("session-5", served_by=ServedBy(77, T0), **ENDED))
        writer.put_session(a_session("session-6", served_by=ServedBy(2**31 - 1)))

    await store.commit(unit)
    for wanted, expected in [
        ({}, "654321"),
        ({"live": True}, "6432"),
        ({"live": False}, "51"),
        ({"identity": "eve"}, "2"),
        ({"resource": "box"}, "3"),
        ({"grant": "grant-2"}, "4"),
        ({"node": "node-1", "live": True}, "642"),
        ({"pid": 77}, "54"),
        ({"pid": 77, "live": True}, "4"),
        ({"pid": 2**31 - 1}, "6"),
        ({"pid": 0}, "321"),
        ({"pid": 78}, ""),
    ]:
        found = await store.read(lambda r, wanted=wanted: r.sessions(Page(), **wanted))  # type: ignore[misc]
        assert "".join(each[-1] for each in ids(found)) == expected
    assert ids(await store.read(lambda r: r.sessions(Page(1, "session-3")))) == ["session-2"]


async def test_nodes_come_and_go(store: Store) -> None:
    old, new = (Node(f"node-{n}", "host", T0 + n, T0 + 9, 2**40, "digest") for n in (1, 2))
    await store.commit(all_of(lambda w: w.put_node(old), lambda w: w.put_node(new)))
    beaten = dataclasses.replace(old, heartbeat=T0 + 10, drains=T0 + 60)
    await store.commit(lambda w: w.put_node(beaten))
    assert await store.read(lambda r: r.nodes()) == [new, beaten]
    await store.commit(lambda w: w.remove_node("node-2"))
    assert await store.read(lambda r: r.nodes()) == [beaten]


async def test_a_worker_s_words_are_kept(store: Store) -> None:
    node = Node("node-1", "host", T0, T0, 0, "digest", speaks=frozenset({"seal-2", "feed:cut", "é"}))
    await store.commit(lambda w: w.put_node(node))
    assert await store.read(lambda r: r.nodes()) == [node]


# -- rows of a later version: all is as read, and what is put back is what was there


LATER = {"later": {"a": [1, None, "é"]}, "newer": True}


async def test_a_request_of_a_later_version_comes_back_as_it_was(store: Store) -> None:
    decision = dataclasses.replace(
        a_decision(), outcome=Outcome("perhaps"), newer=LATER, trace=(Considered("r", True, "w", LATER),)
    )
    request = a_request(
        status=RequestStatus("second_stage"),
        decision=decision,
        approvals=(Approval("bob", True, T0, "", newer=LATER),),
        sealed="a text",
        mac="00",
    )
    await store.commit(lambda w: w.put_request(request))
    found = await store.read(lambda r: r.request(request.id))
    assert found == request
    assert (found.status.is_known, found.decision.outcome.is_known) == (False, False)
    await store.commit(lambda w: w.put_request(w.request(request.id)))  # type: ignore[arg-type]
    assert await store.read(lambda r: r.requests(Page(), status="second_stage")) == [request]


async def test_a_session_of_a_later_version_comes_back_as_it_was(store: Store) -> None:
    session = a_session(
        status=SessionStatus("paused"),
        end_reason=EndReason("quota"),
        totals=Totals(1, 2, 3, 4, newer=LATER),
        receipt=CutReceipt(T0, T0, newer=LATER),
    )
    lock = Lock(Scope("team"), "red", "dave", "", T0)
    await store.commit(all_of(lambda w: w.put_session(session), lambda w: w.put_lock(lock)))
    assert await store.read(lambda r: r.session(session.id)) == session
    assert await store.read(lambda r: (r.locks(), r.lock(Scope("team"), "red"))) == ([lock], lock)
    assert await store.read(lambda r: r.sessions(Page(), live=True)) == []


async def test_a_grant_keeps_its_text(store: Store) -> None:
    grant = a_grant(sealed='{"fields":{"later":1},"must":[]}', mac="00")
    await store.commit(lambda w: w.put_grant(grant))
    facts = await store.read(lambda r: r.admission_facts(CLAIMS))
    assert facts.grant == grant == await store.read(lambda r: r.grant(grant.id))


async def test_columns_of_a_later_version_outlive_a_row_s_replacement(sql_home: Home) -> None:
    tables = {"requests": "id", "grants": "id", "sessions": "id", "locks": "key", "nodes": "id"}
    puts = all_of(
        lambda w: w.put_request(a_request()),
        lambda w: w.put_grant(a_grant()),
        lambda w: w.put_session(a_session()),
        lambda w: w.put_lock(Lock(Scope.IDENTITY, "alice", "dave", "", T0)),
        lambda w: w.put_node(Node("node-1", "host", T0, T0, 0, "digest")),
    )
    async with sql_home.open() as store:
        await store.commit(puts)
    for table in tables:
        sql_home.execute(f"ALTER TABLE {table} ADD COLUMN later TEXT NOT NULL DEFAULT 'default'")
        sql_home.execute(f"UPDATE {table} SET later = 'kept'")
    async with sql_home.open() as store:
        await store.commit(puts)
        await store.commit(lambda w: w.put_grant(a_grant("grant-new")))
    for table in tables:
        assert ("kept",) in sql_home.execute(f"SELECT later FROM {table}"), table
    assert sql_home.execute("SELECT later FROM grants WHERE id = 'grant-new'") == [("default",)]


# -- feed


async def test_the_feed_keeps_order_and_content(store: Store) -> None:
    def unit(writer: Writer) -> list[int]:
        return [
            writer.publish(FeedKind.REVOKED, Scope.GRANT, "grant-1", by="dave", reason="“why”"),
            writer.publish(FeedKind.EXTENDED, Scope.GRANT, "grant-2", data={"ends": T0 + 0.25}),
            writer.publish(FeedKind.CUT, Scope.SESSION, "session-1"),
        ]

    assert await store.read(lambda r: (r.feed_position(), r.feed_oldest())) == (0, 1)
    assert await store.commit(unit) == [1, 2, 3]
    items = await store.read(lambda r: r.feed_after(0))
    assert [(item.seq, item.kind, item.scope, item.key) for item in items] == [
        (1, FeedKind.REVOKED, Scope.GRANT, "grant-1"),
        (2, FeedKind.EXTENDED, Scope.GRANT, "grant-2"),
        (3, FeedKind.CUT, Scope.SESSION, "session-1"),
    ]
    assert (items[0].by, items[0].reason, items[1].data) == ("dave", "“why”", {"ends": T0 + 0.25})
    assert [item.seq for item in await store.read(lambda r: r.feed_after(1, limit=1))] == [2]
    assert await store.read(lambda r: (r.feed_position(), r.feed_oldest())) == (3, 1)


async def test_the_feed_is_pruned_but_for_its_last_item(store: Store) -> None:
    for key in "abc":
        await store.commit(lambda w, key=key: w.publish(FeedKind.CUT, Scope.SESSION, key))  # type: ignore[misc]
    await store.commit(lambda w: w.revoke_token("old", T0 - 1, "dave", ""))
    at = await store.read(lambda r: r.now())
    assert await store.commit(lambda w: w.prune_feed(at - 1000)) == 0
    assert await store.commit(lambda w: w.prune_feed(at + 1000)) == 2
    assert await store.read(lambda r: (r.feed_position(), r.feed_oldest(), len(r.feed_after(0)))) == (3, 3, 1)
    assert await store.commit(lambda w: w.publish(FeedKind.CUT, Scope.SESSION, "d")) == 4
    assert await store.read(lambda r: r.token_revoked("old")) is (at + 1000 < T0 - 1)


# -- trail


async def test_the_trail_is_chained(store: Store) -> None:
    def unit(writer: Writer) -> None:
        writer.append(an_event(LoggedIn, source="10.1.2.3"))
        writer.append(
            an_event(SessionEnded, session="session-1", totals=Totals(1, 2, 3, 4), receipt=CutReceipt(T0, T0))
        )

    await store.commit(unit)
    await store.commit(lambda w: w.append(an_event(GrantRevoked, actor="dave", grant="grant-1")))
    rows, head = await store.read(lambda r: (r.trail_after(0), r.trail_head()))
    assert [(row.seq, row.kind, row.actor, row.node) for row in rows] == [
        (1, "logged_in", "alice", "node-1"),
        (2, "session_ended", "alice", "node-1"),
        (3, "grant_revoked", "dave", "node-1"),
    ]
    assert [row.previous for row in rows] == ["", rows[0].digest, rows[1].digest]
    assert head == (3, rows[2].digest)
    assert rows[1].subjects == {
        "session": "session-1",
        "grant": "grant",
        "identity": "identity",
        "resource": "resource",
    }
    assert rows[1].body["totals"] == {"bytes_in": 1, "bytes_out": 2, "statements": 3, "failed": 4}


async def test_rows_read_back_have_the_digest_they_were_given(store: Store) -> None:
    """Numbers and texts must survive the database to the last bit, or the trail verifies nowhere but in memory."""
    receipt = CutReceipt(0.1 + 0.2, 1e300, 5e-324, None, "nul \x00, é, \U0001f512, </script>, \u2028")
    await store.commit(lambda w: w.append(an_event(SessionEnded, totals=Totals(2**53 + 1), receipt=receipt)))
    await store.commit(lambda w: w.append(an_event(LoggedIn, source="")))
    rows = await store.read(lambda r: r.trail_after(0))
    assert verify(rows) is None
    for row in rows:
        said = (row.seq, row.at, row.node, row.kind, row.actor, row.subjects, row.body, row.previous)
        assert link_salted(*said, row.salt) == row
        assert len(bytes.fromhex(row.salt)) == SALT_BYTES
    assert rows[0].salt != rows[1].salt


async def test_names_that_no_column_can_hold_are_written_all_the_same(store: Store) -> None:
    """Who types half a surrogate pair or NUL must not keep a row out of the trail."""
    for name in ("\ud800x", "x\x00", "\ud83d\ude00", "\U0001f600\udc00"):
        await store.commit(lambda w, name=name: w.append(LoggedIn(actor=name, source=name)))  # type: ignore[misc]
    rows = await store.read(lambda r: r.trail_after(0))
    assert verify(rows) is None
    assert [row.actor for row in rows] == ["\ufffdx", "x\ufffd", "\U0001f600", "\U0001f600\ufffd"]
    assert [row.body["source"] for row in rows] == ["\ud800x", "x\x00", "\U0001f600", "\U0001f600\udc00"]


async def test_the_trail_is_searched(store: Store) -> None:
    def unit(writer: Writer) -> None:
        for n in range(1, 7):
            writer.append(
                an_event(SessionStarted, session=f"session-{n}", grant=f"grant-{n % 2}", actor=f"actor-{n % 3}")
            )
        writer.append(an_event(LoggedIn))

    await store.commit(unit)
    for wanted, expected in [
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"kind": "logged_in"}, [7]),
        ({"actor": "actor-0"}, [3, 6]),
        ({"subject": ("grant", "grant-1")}, [1, 3, 5]),
        ({"subject": ("session", "session-4")}, [4]),
        ({"subject": ("colour", "red")}, []),
        ({"kind": "session_started", "actor": "actor-1", "subject": ("grant", "grant-0")}, [4]),
    ]:
        after = await store.read(lambda r, wanted=wanted: r.trail_after(0, **wanted))  # type: ignore[misc]
        before = await store.read(lambda r, wanted=wanted: r.trail_before(None, **wanted))  # type: ignore[misc]
        assert [row.seq for row in after] == expected
        assert [row.seq for row in before] == expected[::-1]
    assert [row.seq for row in await store.read(lambda r: r.trail_after(2, 3))] == [3, 4, 5]
    assert [row.seq for row in await store.read(lambda r: r.trail_before(5, 2))] == [4, 3]


async def test_signed_heads_are_kept_in_order(store: Store) -> None:
    heads = [TrailHead(seq, "ab", T0 + 0.5, "kid", "c2ln") for seq in (3, 9, 5)]
    await store.commit(all_of(*(lambda w, each=each: w.put_trail_head(each) for each in heads)))
    assert [head.seq for head in await store.read(lambda r: r.trail_heads())] == [3, 5, 9]
    assert await store.read(lambda r: r.trail_heads(after=3, limit=1)) == [heads[2]]


async def test_live_is_a_status(store: Store) -> None:
    await store.commit(lambda w: w.put_session(a_session()))
    (session,) = await store.read(lambda r: r.sessions(Page(), live=True))
    assert session.status is SessionStatus.LIVE
