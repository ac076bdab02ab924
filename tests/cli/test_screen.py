"""What is printed: clean, aligned, and never somebody else's escape sequence."""

import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.cli.documents import json_text
from proxy.cli.failures import Failed, exit_code
from proxy.cli.screen import Screen, clean, draw, value_text, when


@given(st.text())
def test_nothing_that_moves_a_cursor_survives(text: str) -> None:
    cleaned = clean(text)
    assert all(each.isprintable() or each in "\n\t" for each in cleaned)
    assert len(cleaned) == len(text)
    assert clean(cleaned) == cleaned


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
@example({"\x9b31m": "\u202e\u2066", "half": "\ud800", "\U000e0041": ["\x7f\x85\u2028"]})
def test_json_holds_the_same_and_drives_no_terminal(value: object) -> None:
    for indent in (None, 2):
        text = json_text(value, indent)
        assert json.loads(text) == value
        assert all(each.isprintable() or each == "\n" for each in text)
    assert json_text({"name": "Jürgen"}) == '{"name": "Jürgen"}'


def test_a_table_is_never_wrapped_in_a_pipe() -> None:
    out = io.StringIO()
    draw([["x" * 300, "[red]not markup[/red]"], ["y", "z"]], ["ONE", "TWO"], out)
    head, first, second = out.getvalue().splitlines()
    assert head.split() == ["ONE", "TWO"]
    assert first.split(maxsplit=1) == ["x" * 300, "[red]not markup[/red]"]
    assert second.split() == ["y", "z"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_an_id_stays_in_one_piece_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    ids = [f"sess-{number}{'x' * 25}" for number in range(3)]
    what = f"grant=grant-{'y' * 26} reason=the tide is out"
    out = Terminal()
    draw([[each, "2027-01-15T10:00:00Z", what] for each in ids], ["SESSION", "SINCE", "WHAT"], out)
    told = out.getvalue()
    assert all(each in told for each in (*ids, "2027-01-15T10:00:00Z", f"grant-{'y' * 26}"))
    assert "the tide is out" not in told.splitlines()[1]  # only that column is folded


def test_facts_are_aligned_and_empty_ones_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().facts([("a", 1), ("nothing", None), ("longer", ["x", "y"]), ("none", [])])
    assert capsys.readouterr().out == "a       1\nlonger  x, y\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), ("", "-"), (True, "yes"), (False, "no"), ([], "-"), (["a", None], "a, -"), (1.5, "1.5")],
)
def test_values(value: object, text: str) -> None:
    assert value_text(value) == text


def test_instants_carry_their_zone_wherever_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    assert when("2027-01-15T08:00:00.000Z") == "2027-01-15T08:00:00Z"
    assert when("2027-01-15T10:00:00.999+02:00") == "2027-01-15T08:00:00Z"
    assert when("2027-01-15T08:00:00 and more text") == "2027-01-15T08:00:00 and more text"
    assert when("short") == "short"
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("status", "code"), [(401, 3), (403, 3), (404, 1), (409, 1), (422, 1), (500, 1), (502, 4), (503, 4)]
)
def test_exit_codes(status: int, code: int) -> None:
    assert exit_code(status) == code


def test_a_failure_says_what_and_what_next(capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"detail": "no\x1b[2J", "reference": "ab12", "fields": [{"path": "body.x", "problem": "missing"}]}
    Screen().failure(Failed("no\x1b[2J", hint="do that", problem=problem))
    assert capsys.readouterr().err == (
        "tidegate: no\N{REPLACEMENT CHARACTER}[2J\n  body.x: missing\n  next: do that\n  reference: ab12\n"
    )
