"""Words of a later version are read as they are, equal nothing that is known, and are written back as read."""

import copy
import pickle
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import access, feed, sessions, states
from proxy.core.access import Approval, Considered, Decision, Outcome
from proxy.core.errors import PeerError
from proxy.core.events import plain
from proxy.core.feed import EFFECTS, Effect, FeedItem, FeedKind, Scope
from proxy.core.ports import Node
from proxy.core.records import Flow, Via
from proxy.core.records import Outcome as Ending
from proxy.core.sessions import CutReceipt, Totals
from proxy.core.states import (
    REQUEST_TRANSITIONS,
    SESSION_TRANSITIONS,
    EndReason,
    RequestStatus,
    SessionStatus,
    step,
)
from proxy.core.vocabulary import HEARD, VOCABULARY, everybody_speaks
from proxy.core.words import StoredCode, StoredWord, newer_keys, read

WORDS = [
    each
    for module in (access, feed, sessions, states)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, StoredWord) and each is not StoredWord
]


def test_every_status_word_that_is_stored_is_one() -> None:
    assert {Outcome, RequestStatus, SessionStatus, EndReason, FeedKind, Scope, Effect} == set(WORDS)


@pytest.mark.parametrize("kind", WORDS)
@given(text=st.text(max_size=20))
def test_any_text_is_read_and_written_back(kind: type[StoredWord], text: str) -> None:
    listed = {each.value for each in kind}
    word = kind(text)
    assert (str(word), word.value, f"{word}", word == text) == (text, text, text, True)
    assert word.is_known is (text in listed)
    assert (word in list(kind)) is (text in listed)
    assert (word == kind(text), hash(word) == hash(kind(text))) == (True, True)
    assert {each.value for each in kind} == listed, "nothing is remembered of it"


@pytest.mark.parametrize("kind", WORDS)
def test_a_name_of_a_member_is_no_member(kind: type[StoredWord]) -> None:
    for each in kind:
        assert not kind(each.name).is_known
        assert kind(each.name) is not each
        assert (each.is_known, kind(each.value) is each) == (True, True)
    with pytest.raises(ValueError, match="5"):
        kind(5)


CODES = [Via, Flow, Ending]


@pytest.mark.parametrize("kind", CODES)
@given(number=st.integers(-(2**31), 2**31))
def test_any_number_has_a_name(kind: type[StoredCode], number: int) -> None:
    listed = {each.value for each in kind}
    code = kind(number)
    assert (int(code), code == number, code.name in kind.__members__) == (number, True, number in listed)
    assert number in listed or code.name == f"UNKNOWN_{number}"
    assert {each.value for each in kind} == listed


KINDS = [Decision, Approval, Considered, Totals, CutReceipt]


@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_a_later_version_are_kept(kind: Any) -> None:
    needed = {each.name: 1 for each in fields(kind) if each.name != "newer"}
    later = {**needed, "later": {"a": [1, None]}, "newer": "a key of that name too"}
    value = read(kind, later)
    assert plain(value) == later
    assert read(kind, plain(value)) == value
    assert value != read(kind, needed)
    assert plain(read(kind, needed)) == needed


@dataclass(frozen=True)
class Outer:
    inner: Totals
    newer: Any = newer_keys()


def test_they_are_kept_at_any_depth() -> None:
    assert plain(Outer(read(Totals, {"later": 1}), {"x": 2}))["inner"]["later"] == 1
    assert is_dataclass(Outer)


# -- transitions


def test_a_status_of_a_later_version_can_only_be_ended() -> None:
    later = RequestStatus("second_stage")
    assert step(REQUEST_TRANSITIONS, later, RequestStatus.WITHDRAWN) is RequestStatus.WITHDRAWN
    assert step(REQUEST_TRANSITIONS, later, RequestStatus.EXPIRED) is RequestStatus.EXPIRED
    assert step(SESSION_TRANSITIONS, SessionStatus("paused"), SessionStatus.ENDED) is SessionStatus.ENDED
    for new in (RequestStatus.APPROVED, RequestStatus.DENIED, RequestStatus.PENDING, later):
        with pytest.raises(PeerError, match="already second_stage"):
            step(REQUEST_TRANSITIONS, later, new)


# -- the feed


def test_every_kind_says_whether_it_ends() -> None:
    assert set(EFFECTS) == set(FeedKind)


@pytest.mark.parametrize(
    ("kind", "effect", "ends"),
    [
        ("revoked", "informs", True),
        ("revoked", "ends", True),
        ("reloaded", "ends", False),
        ("paused", "ends", True),
        ("paused", "informs", False),
        ("paused", "mends", True),
        ("paused", "", True),
    ],
)
def test_a_known_kind_does_what_it_does_and_another_what_its_row_says(kind: str, effect: str, ends: bool) -> None:
    assert FeedItem(1, 0.0, FeedKind(kind), Scope.ALL, "", effect=Effect(effect)).ends is ends


# -- who knows which words


class Nodes:
    def __init__(self, *nodes: Node) -> None:
        self._nodes = list(nodes)

    def now(self) -> float:
        return 1000.0

    def nodes(self) -> list[Node]:
        return self._nodes


def a_node(*speaks: str, silent: float = 0.0) -> Node:
    return Node("n", "h", 0.0, 1000.0 - silent, 0, "d", speaks=frozenset(speaks))


def asked(*nodes: Node) -> bool:
    return everybody_speaks(Nodes(*nodes), "trail-9")  # type: ignore[arg-type]


def test_a_word_is_written_when_all_live_workers_know_it() -> None:
    assert asked()
    assert asked(a_node("trail-9"), a_node("trail-9", "x"))
    assert not asked(a_node("trail-9"), a_node("trail-8"))
    assert not asked(a_node("trail-9"), a_node()), "a worker of before says nothing"
    assert not asked(a_node(silent=HEARD - 1)), "one that hangs may come back"
    assert asked(a_node(silent=HEARD))


def test_this_version_knows_the_kinds_it_writes() -> None:
    assert {f"feed:{kind}" for kind in FeedKind} <= VOCABULARY


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_a_word_can_be_copied(copied: Any) -> None:
    assert copied(EndReason.IDLE) is EndReason.IDLE
    assert copied(Via.COPY) is Via.COPY
    for word in (EndReason("quota"), EndReason("IDLE"), Via(99)):
        assert (copied(word), type(copied(word)), str(copied(word))) == (word, type(word), str(word))
