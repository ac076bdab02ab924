"""Rows and core types are the same thing twice: any value comes back as it was."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.adapters.store import rows, tables
from proxy.core.access import Approval, Considered, Decision, Grant, Request
from proxy.core.feed import FeedItem
from proxy.core.ports import Lock, Node
from proxy.core.sessions import CutReceipt, SessionRecord, Totals
from proxy.core.trail import TrailHead, TrailRow

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
number = st.integers(0, 2**62)
instant = st.floats(allow_nan=False, allow_infinity=False)
texts = st.lists(text, max_size=3).map(tuple)
scalar = st.none() | st.booleans() | number | instant | text
data = st.dictionaries(text, scalar | st.lists(scalar, max_size=3) | st.dictionaries(text, scalar, max_size=2))

for plain_type, strategy in ((str, text), (float, instant), (int, number)):
    st.register_type_strategy(plain_type, strategy)

decisions = st.builds(
    Decision, networks=texts, databases=texts, conditions=data, trace=st.lists(st.builds(Considered)).map(tuple)
)
requests = st.builds(Request, decision=decisions, approvals=st.lists(st.builds(Approval)).map(tuple))
grants = st.builds(Grant, networks=texts, databases=texts, conditions=data)
sessions = st.builds(SessionRecord, totals=st.builds(Totals), receipt=st.none() | st.builds(CutReceipt))


def as_row(values: dict[str, Any], table: Any) -> Any:
    """What a SELECT of the table gives: columns by name, and none the table lacks."""
    assert set(values) == set(table.columns.keys())
    return SimpleNamespace(**values, _mapping=values)


@given(requests)
def test_requests(request: Request) -> None:
    assert rows.to_request(as_row(rows.request_values(request), tables.requests)) == request


@given(grants)
def test_grants(grant: Grant) -> None:
    assert rows.to_grant(as_row(rows.grant_values(grant), tables.grants)) == grant


@given(sessions)
def test_sessions(session: SessionRecord) -> None:
    assert rows.to_session(as_row(rows.session_values(session), tables.sessions)) == session


@given(st.builds(Lock))
def test_locks(lock: Lock) -> None:
    assert rows.to_lock(as_row(rows.lock_values(lock), tables.locks)) == lock


@given(st.builds(Node))
def test_nodes(node: Node) -> None:
    assert rows.to_node(as_row(rows.node_values(node), tables.nodes)) == node


@given(st.builds(TrailHead))
def test_trail_heads(head: TrailHead) -> None:
    assert rows.to_trail_head(as_row(rows.trail_head_values(head), tables.trail_heads)) == head


@given(st.builds(FeedItem, data=data))
def test_feed_items(item: FeedItem) -> None:
    values = rows.feed_values(item)
    assert list(values) == list(tables.feed.columns.keys()), "the feed's raw reader counts on this order"
    assert rows.to_feed_item(tuple(values.values())) == item


@given(
    st.builds(
        TrailRow,
        subjects=st.dictionaries(st.sampled_from(sorted(rows.SUBJECTS)), text),
        body=data,
    )
)
def test_trail_rows(row: TrailRow) -> None:
    assert rows.to_trail_row(as_row(rows.trail_values(row), tables.trail)) == row


def test_a_subject_without_a_column_is_not_dropped_in_silence() -> None:
    row = TrailRow(1, 0.0, "node", "kind", "actor", {"colour": "red"}, {}, "", "digest")
    with pytest.raises(KeyError, match="colour"):
        as_row(rows.trail_values(row), tables.trail)


def test_json_is_text_that_any_tool_reads() -> None:
    assert json.loads(rows.text(frozenset({"b", "a"}))) == ["a", "b"]
    assert rows.text({"é": "\x00"}) == '{"\\u00e9":"\\u0000"}'
