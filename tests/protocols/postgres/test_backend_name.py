"""What sessions are called on the target, with a mark of ours and without. Real servers: tests/e2e."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.protocols.postgres import messages
from proxy.protocols.postgres.backend_name import MOST, cleaned, cut, in_target, mark, told

SESSION = "sess-01m87njvqcqcx86kknp6e2g48d"
OURS = mark("alice", SESSION)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80)


@given(NAMES)
def test_a_mark_says_which_session_it_is_and_fits(identity: str) -> None:
    made = mark(identity, SESSION)
    assert len(made) <= MOST
    assert made.startswith(b"tidegate:") and made.endswith(b":" + SESSION.encode())
    made.decode()


@given(NAMES, NAMES, st.sampled_from(["prefix", "suffix"]))
@example("\u00e9" * 40, "alice", "prefix")
def test_with_a_mark_a_name_is_never_cut_by_the_server(given_name: str, identity: str, manner: str) -> None:
    ours = mark(identity, SESSION)
    name = in_target(given_name.encode(), ours, manner)
    assert name is not None and len(name) <= MOST
    name.decode()
    whole = name.startswith(ours) if manner == "prefix" else name.endswith(ours)
    assert whole
    rest = (name[len(ours) + 1 :] if manner == "prefix" else name[: -len(ours) - 1]).decode()
    assert given_name.startswith(rest)


@pytest.mark.parametrize(
    ("given_name", "manner", "name"),
    [
        (b"psql", "client", None),
        (b"n" * 200, "client", None),
        (b"", "client", OURS),
        (b"", "prefix", OURS),
        (b"", "suffix", OURS),
        (b"psql", "prefix", OURS + b":psql"),
        (b"psql", "suffix", b"psql:" + OURS),
        (b"a name of my own", "suffix", b"a name of my own:" + OURS),
        (b"a name of my own and more", "suffix", b"a name of my own:" + OURS),
    ],
)
def test_names_in_the_target(given_name: bytes, manner: str, name: bytes | None) -> None:
    assert len(b"a name of my own:" + OURS) == MOST
    assert in_target(given_name, OURS, manner) == name


@given(st.binary(max_size=80), st.integers(-3, 80))
def test_any_bytes_are_cut_somewhere(name: bytes, most: int) -> None:
    kept = cut(name, most)
    assert name.startswith(kept) and len(kept) <= max(most, 0)


@pytest.mark.parametrize(
    ("version", "shown"),
    [("15.18", b"caf??"), ("16.14", b"caf\\xc3\\xa9"), ("18.4", b"caf\\xc3\\xa9"), ("odd", b"caf??")],
)
def test_the_client_is_told_its_own_name_as_that_server_would(version: str, shown: bytes) -> None:
    others = [
        messages.parameter_status("server_version", version),
        messages.notice_response("NOTICE", "00000", "x"),
    ]
    said = [*others, messages.parameter_status("application_name", "tidegate:alice:x:caf??")]
    name = "caf\u00e9".encode()
    assert told(said, name, "client") == said
    for manner in ("prefix", "suffix"):
        assert told(said, name, manner) == [*others, messages.frame(b"S", b"application_name\0" + shown + b"\0")]


def test_a_long_name_is_told_as_the_server_cuts_it() -> None:
    said = [messages.parameter_status("application_name", "x")]
    (shown,) = told(said, "\u00e9".encode() * 40, "prefix")
    assert shown[5:] == b"application_name\0" + b"?" * 62 + b"\0"
    assert cleaned(b"a\n\x7f", True) == b"a\\x0a\\x7f"
