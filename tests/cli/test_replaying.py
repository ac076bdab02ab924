"""``replay``: text, JSON lines and asciicast, at a pace, and safe to look at."""

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest

from proxy.api.services import Noted
from proxy.core.states import EndReason, SessionStatus
from tests.api.world import ApiWorld
from tests.cli.conftest import Shell


def ran(seq: int, text: str, second: int, **changes: Any) -> dict[str, Any]:
    usual = {
        "session": "session-1",
        "seq": seq,
        "started": f"2027-01-15T08:00:{second:02}.000Z",
        "duration_ms": 1.5,
        "protocol": "simple",
        "text": text,
        "parameters": [],
        "statement_name": "",
        "portal": "",
        "tag": "SELECT 1",
        "rows": 1,
        "bytes": 10,
        "sqlstate": None,
        "error": None,
        "transaction": "I",
        "outcome": "done",
    }
    return usual | changes


@pytest.fixture
def recorded(tidegate: Shell, world: ApiWorld) -> Shell:
    """Carol, and a session of alice that has ended."""
    grant = asyncio.run(world.granted("alice"))
    asyncio.run(
        world.session(
            grant,
            status=SessionStatus.ENDED,
            ended=world.clock.now() + 20,
            end_reason=EndReason.GRANT_REVOKED,
            detail="revoked by dave: lunch",
        )
    )
    failed = {"tag": None, "outcome": "failed", "sqlstate": "42P01", "error": "no such \x1b[2Jtable"}
    world.recordings.held["session-1"] = [
        ran(1, "select 1", 1, parameters=["a", None]),
        ran(2, "select * from nothing", 3, **failed),
        ran(3, "select pg_sleep(9)", 13, outcome="cut", tag=None),
    ]
    return tidegate


def test_text_tells_what_ran_and_how_it_ended(recorded: Shell) -> None:
    done = recorded("carol", "replay", "session-1")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "alice as readonly@shop" in lines[0]
    assert any("select 1" in line for line in lines)
    assert any('$1 = "a"' in line for line in lines)
    assert any("SELECT 1 in 1.5 ms" in line for line in lines)
    assert any("42P01" in line for line in lines)
    assert any("cut after" in line for line in lines)
    assert lines[-1].endswith("ended, grant_revoked: revoked by dave: lunch")
    assert "\x1b" not in done.out


def test_what_the_person_was_told_stands_where_it_was_said(recorded: Shell, world: ApiWorld) -> None:
    begin = datetime.fromisoformat("2027-01-15T08:00:00+00:00").timestamp()
    world.recordings.noted = [
        Noted(begin + 0.5, "startup", {"user": "alice"}),
        Noted(begin + 2, "warning", {"text": "your access ends in 5 minutes"}),
        Noted(begin + 14, "farewell", {"reason": "grant_revoked", "text": "your grant was revoked \x1b[2J"}),
    ]
    told = recorded("carol", "replay", "session-1").out
    lines = told.splitlines()
    places = [
        next(number for number, line in enumerate(lines) if words in line)
        for words in (
            "#1 ",
            "your access ends in 5 minutes",
            "#2 ",
            "#3 ",
            "session was cut: your grant was revoked",
        )
    ]
    assert places == sorted(places)
    assert places[-1] == len(lines) - 2
    assert "startup" not in told
    assert "\x1b" not in told
    document = recorded("carol", "replay", "session-1", "--json").json
    assert [each["kind"] for each in document["notes"]] == ["startup", "warning", "farewell"]


def test_pages_are_joined(recorded: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.cli.commands.watching.PAGE", 1)
    told = recorded("carol", "replay", "session-1", "--format", "json").out.splitlines()
    assert [json.loads(line)["seq"] for line in told] == [1, 2, 3]


def test_json_is_one_document(recorded: Shell) -> None:
    told = recorded("carol", "replay", "session-1", "--json").json
    assert told["session"]["id"] == "session-1"
    assert [each["seq"] for each in told["items"]] == [1, 2, 3]


def test_speed_waits_between_statements(recorded: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("proxy.cli.playing.time.sleep", waited.append)
    assert recorded("carol", "replay", "session-1", "--speed", "2").code == 0
    # two seconds apart, then ten: at twice the speed, and never longer than a pause may be
    assert waited == [1.0, 5.0]
    waited.clear()
    recorded("carol", "replay", "session-1")
    assert waited == []


def test_an_asciicast_is_one(recorded: Shell) -> None:
    head, *events = recorded("carol", "replay", "session-1", "--format", "asciicast").out.splitlines()
    told = json.loads(head)
    assert (told["version"], told["title"]) == (2, "alice on shop: session-1")
    parsed = [json.loads(each) for each in events]
    assert [each[1] for each in parsed] == ["o"] * len(parsed)
    times = [each[0] for each in parsed]
    assert times == sorted(times)
    assert times[:3] == [0.0, 0.0, 2.0]
    assert all("\n" not in each[2].replace("\r\n", "") for each in parsed)


def test_somebody_elses_session_is_1(recorded: Shell) -> None:
    assert recorded("eve", "replay", "session-1").code == 1


def test_an_odd_format_or_speed_is_wrong_usage(recorded: Shell) -> None:
    assert recorded("carol", "replay", "session-1", "--format", "odd").code == 2
    assert recorded("carol", "replay", "session-1", "--speed", "-1").code == 2


def test_without_a_session_it_is_the_newest(recorded: Shell) -> None:
    """Of all one may see, or of one person."""
    told = recorded("carol", "replay", "session-1").out
    assert recorded("carol", "replay").out == told
    assert recorded("carol", "replay", "--user", "alice").out == told
    done = recorded("carol", "replay", "--user", "eve")
    assert done.code == 1
    assert "there are no sessions of eve" in done.err
