"""Rows of the trail that older code added, and ours, are one chain."""

import json
from dataclasses import replace

import pytest

from proxy.adapters.store import heads
from proxy.audit.chain import PLAIN, SALTED, verify
from proxy.core.events import LoggedIn
from proxy.core.ports import Node
from proxy.core.vocabulary import HEARD, VOCABULARY
from tests.audit.trails import link
from tests.contracts.conftest import Home
from tests.fakes.things import an_event


def add_as_older_code_does(home: Home) -> None:
    """With the columns that it knows: a row that does not say its format."""
    ((seq, previous),) = home.execute("SELECT trail_seq, trail_digest FROM heads")
    row = link(seq + 1, 5.5, "old-0", "logged_in", "zoë", {"grant": "g"}, {"source": "é"}, previous)
    body = json.dumps(row.body)
    home.execute(
        "INSERT INTO trail (seq, at, node, kind, actor, grant_id, body, previous, digest) VALUES"
        f" ({row.seq}, 5.5, 'old-0', 'logged_in', 'zoë', 'g', '{body}', '{row.previous}', '{row.digest}')"
    )
    home.execute(f"UPDATE heads SET trail_seq = {row.seq}, trail_digest = '{row.digest}'")


async def test_rows_of_older_code_and_ours_are_one_chain(sql_home: Home) -> None:
    for _ in range(2):
        async with sql_home.open() as store:
            await store.commit(lambda w: w.append(an_event(LoggedIn)))
        add_as_older_code_does(sql_home)
    async with sql_home.open() as store:
        rows = await store.read(lambda r: r.trail_after(0))
    assert [row.format for row in rows] == [SALTED, PLAIN, SALTED, PLAIN]
    assert verify(rows) is None


async def test_rows_are_as_before_while_a_worker_lives_that_knows_no_other(
    sql_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "ASKED_EVERY", 0.0)
    async with sql_home.open() as store:
        now = await store.read(lambda r: r.now())
        older = Node("old-0", "old", now, now, 0, "digest")
        await store.commit(lambda w: w.put_node(replace(older, id="new-0", speaks=VOCABULARY)))
        await store.commit(lambda w: w.append(an_event(LoggedIn)))
        await store.commit(lambda w: w.put_node(older))
        await store.commit(lambda w: w.append(an_event(LoggedIn)))
        await store.commit(lambda w: w.put_node(replace(older, heartbeat=now - HEARD - 1)))
        await store.commit(lambda w: w.append(an_event(LoggedIn)))
        rows = await store.read(lambda r: r.trail_after(0))
    assert [row.format for row in rows] == [SALTED, PLAIN, SALTED]
    assert [bool(row.salt) for row in rows] == [True, False, True]
    assert verify(rows) is None


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"a": 1e999999}', "[" * 100_000])
async def test_what_somebody_wrote_over_a_body_is_found_and_breaks_no_reader(sql_home: Home, body: str) -> None:
    async with sql_home.open() as store:
        await store.commit(lambda w: w.append(an_event(LoggedIn)))
        if sql_home.kind == "sqlite":
            sql_home.execute("DROP TRIGGER trail_keeps")
        else:
            sql_home.execute("DROP TRIGGER trail_keeps ON trail")
        sql_home.execute(f"UPDATE trail SET body = '{body}'")
        rows = await store.read(lambda r: r.trail_after(0))
    found = verify(rows)
    assert found is not None
    assert found.what == "row 1 was altered"
