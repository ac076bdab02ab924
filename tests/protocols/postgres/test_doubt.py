"""How a text is read depends on settings, which the server reports only with its ReadyForQuery: until then nothing
may be taken for a literal that might run. Found by an attack."""

import pytest

from proxy.core.records import Outcome
from proxy.protocols.postgres.encoding import Encoding
from tests.protocols.postgres.ladder import FLUSH, SYNC, Talk, bind, complete, execute, parse, query

SETS = parse("", "set standard_conforming_strings to off") + bind() + execute()
HIDES = r"select '\' || password || ', (select rolpassword from pg_authid), ' '"
ANSWERED = b"1\0\0\0\4" + b"2\0\0\0\4" + complete("SET")
READY = b"Z\0\0\0\5I"


def shown(talk: Talk) -> bytes:
    return b" ".join(each.text for each in [*talk.started, *talk.prepared])


def test_a_setting_that_was_answered_but_not_reported_is_in_doubt() -> None:
    """With Flush: the answer comes, the ParameterStatus does not."""
    talk = Talk().client(SETS, FLUSH).target(ANSWERED).client(parse("", HIDES), bind(), execute(), SYNC)
    assert b"rolpassword" in shown(talk)


@pytest.mark.parametrize("text", ["select E'\u00e9\\' ; create table hidden (); select ' '", "select '\u00e9\\'"])
def test_a_backslash_that_may_be_half_a_character_waits_for_the_answer(text: str) -> None:
    talk = Talk().client(query("set client_encoding to 'SJIS'"), query(text))
    assert [outcome for _, outcome in talk.outcomes] == [] or Outcome.DENIED in dict(talk.outcomes).values()
    denied = [each for each in talk.notes if each.kind == "denied"]
    assert len(denied) == 1
    talk.target(complete("SET"), READY)
    assert query(text) not in talk.to_target
    known = Talk().client(query("select 1")).target(complete("SELECT 1"), READY).client(query(text))
    assert query(text) in known.to_target


@pytest.mark.parametrize(
    ("encoding", "sent", "read"),
    [
        ("SHIFT_JIS_2004", b"'a\\b~'", b"'a\\b~'"),
        ("WIN1252", b"\xe9", "\u00e9".encode()),
        ("WIN1251", b"\xe9", "\u0439".encode()),
        ("KOI8R", b"\xc1", "\u0430".encode()),
    ],
)
def test_encodings_are_read_as_the_server_reads_them(encoding: str, sent: bytes, read: bytes) -> None:
    written = Encoding()
    written.parameter("client_encoding", encoding)
    assert written.utf8(sent) == read


def test_in_an_encoding_that_is_not_known_only_ascii_passes() -> None:
    talk = Talk()
    talk.inspector._pending.texts.encoding.parameter("client_encoding", "EUC_TW")
    talk.client(query(b"select '\xa4\xa4'"))
    assert [each.kind for each in talk.notes] == ["denied"]
    assert query("select 1") in Talk().client(query("select 1")).to_target


def test_statements_with_semicolons_inside_are_read_within_one_bound() -> None:
    talk = Talk().client(query("create rule " + "," * 60_000 + ";" + "create rule " + "," * 60_000 + ";"))
    assert [each.kind for each in talk.notes] == ["denied"]
