"""A query string is cut where the server cuts it."""

import contextlib
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from postgast import PgQueryError
from postgast import split as parser_split

from proxy.protocols.postgres.split import TooMany, scan, skip, split
from proxy.protocols.postgres.tokens import name_of, tokens
from proxy.protocols.postgres.verbs import copies, effect, prepared_tags, tags_of

CASES = [
    ("select 1", ["select 1"]),
    ("select 1;", ["select 1;"]),
    ("select 1; ", ["select 1"]),
    ("select 1;select 2", ["select 1", "select 2"]),
    (";;select 1;;; select 2 ;", ["select 1", "select 2"]),
    ("select ';'; select \";\" from t", ["select ';'", 'select ";" from t']),
    ("select 'a''; b'; select 2", ["select 'a''; b'", "select 2"]),
    ("select E'a\\'; b'; select 2", ["select E'a\\'; b'", "select 2"]),
    ("select $$;$$; select $a$ $$;$$ $a$", ["select $$;$$", "select $a$ $$;$$ $a$"]),
    ("select 1 /* ; /* ; */ ; */; select 2", ["select 1 /* ; /* ; */ ; */", "select 2"]),
    ("select 1 -- ;\n; select 2", ["select 1 -- ;\n", "select 2"]),
    ("/* a; */ select 1; -- b;\n select 2", ["/* a; */ select 1", "-- b;\n select 2"]),
    ("create rule r as on insert to t do also (select 1; select 2); select 3", None),
    (
        "create function f() returns int language sql begin atomic select case when a then 1 end; select 2; end; x",
        None,
    ),
    ("create or replace procedure p() begin atomic; select 1; end; select 2", None),
    ("begin; insert into t values (';'); commit", ["begin", "insert into t values (';')", "commit"]),
    ("selec 1; select 2", ["selec 1", "select 2"]),
    ("select 'é;'; select 2", ["select 'é;'", "select 2"]),
    ("select a[1:2]; select b;", ["select a[1:2]", "select b"]),
    ("select 1; /* only */", ["select 1"]),
    ("select 'open; select 2", ["select 'open; select 2"]),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_cases(text: str, expected: list[str] | None) -> None:
    pieces = split(text.encode())
    if expected is None:
        assert len(pieces) == 2
    else:
        assert [piece.decode().strip() for piece in pieces] == [piece.strip() for piece in expected]


@pytest.mark.parametrize("text", ["", " ", ";", " ; ; ", "-- a;\n", "/* ; */ ;"])
def test_no_statement_at_all_is_the_text_itself(text: str) -> None:
    assert split(text.encode()) == [text.encode()]


PARTS = st.sampled_from(
    [
        "select 1",
        "select ';'",
        "select $$;$$",
        "/* ; */",
        "-- ;\n",
        ";",
        " ",
        "insert into t values (1)",
        "begin",
        "end",
    ]
)


@given(st.lists(PARTS, max_size=12))
def test_the_scanner_counts_as_the_parser_does(parts: list[str]) -> None:
    text = " ".join(parts)
    try:
        parsed = parser_split(text)
    except PgQueryError:
        return
    assert len(scan(text.encode())) == len(parsed)
    if ";" in text[:-1] and parsed:
        assert len(split(text.encode())) == len(parsed)


@given(st.text(st.sampled_from("a'\"$;/*-\\E (),\n1é")))
def test_nothing_but_white_space_and_semicolons_is_lost(text: str) -> None:
    raw = text.encode()
    assert b"".join(raw[token.start : token.end] for token in tokens(raw)) == raw
    kept = b"".join(split(raw))
    assert sorted(kept.replace(b";", b"").split()) == sorted(kept.replace(b";", b"").split())
    for escapes in (False, True):
        assert split(raw, escapes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("copy t from stdin", True),
        ("  /* x */ COPY t (a) TO STDOUT (format csv)", True),
        ("copy t from '/tmp/x'", False),
        ("copy (select 'from stdin') to '/tmp/x'", True),
        ("select 'copy t from stdin'", False),
        ("", False),
    ],
)
def test_copies_from_and_to_the_client(text: str, expected: bool) -> None:
    assert copies(text.encode()) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prepare a as select 1", (b"PREPARE", b"a")),
        ('  PREPARE "A ""b" (int) AS select 1', (b"PREPARE", b'A "b')),
        ("/* x */ deallocate Foo", (b"DEALLOCATE", b"foo")),
        ("deallocate prepare foo", (b"DEALLOCATE", b"foo")),
        ("deallocate all", (b"DEALLOCATE", b"")),
        ("DISCARD ALL", (b"DISCARD", b"")),
        ('deallocate"All"', (b"DEALLOCATE", b"All")),
        ("close c", (b"CLOSE", b"c")),
        ("close/* /* */ */all", (b"CLOSE", b"")),
        ('declare "C" binary cursor for select 1', (b"DECLARE", b"C")),
        ('declare U&"\\0063\\+000063\\\\" cursor for select 1', (b"DISCARD", b"")),
        ("declare u&\"!0063\" uescape '!' cursor for select 1", (b"DISCARD", b"")),
        ("prepare U&\"!0061\" UESCAPE /**/ '!' as select 1", (b"DISCARD", b"")),
        ('deallocate U&"a" uescape $$!$$', (b"DISCARD", b"")),
        ('close U&"plain"', (b"CLOSE", b"plain")),
        (";deallocate d", (b"DEALLOCATE", b"d")),
        (" ; ;prepare d as select 1", (b"PREPARE", b"d")),
        ('select U&"\\0061"', (b"", b"")),
        ("rollback", (b"ROLLBACK", b"")),
        ("abort and chain", (b"ROLLBACK", b"")),
        ("rollback work to savepoint a", (b"", b"")),
        ("rollback to a", (b"", b"")),
        ("rollback prepared 'x'", (b"", b"")),
        ("close", (b"", b"")),
        ("discard plans", (b"", b"")),
        ("prepare transaction 'x'", (b"", b"")),
        ("delete from prepare", (b"", b"")),
        ("select 1", (b"", b"")),
    ],
)
def test_what_a_statement_does_to_names(text: str, expected: tuple[bytes, bytes]) -> None:
    assert effect(text.encode()) == expected


def test_identifiers_are_stored_as_the_server_stores_them() -> None:
    assert name_of("né".encode() * 22) == "né".encode() * 21, "within no character"
    assert name_of(b"AbC") == b"abc" and name_of(b'"AbC"') == b"AbC" and len(name_of(b"n" * 80)) == 63


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("select 1", (b"SELECT",)),
        ("((values (1)))", (b"SELECT",)),
        ("-- x\ntable t", (b"SELECT",)),
        ("with a as (delete from t returning 1) insert into u select * from a", (b"INSERT",)),
        ("with a as (select 1) nonsense", (b"SELECT", b"INSERT", b"UPDATE", b"DELETE", b"MERGE")),
        ("delete from t", (b"DELETE",)),
        ("end", (b"COMMIT", b"ROLLBACK")),
        ("create table t as select 1", (b"CREATE", b"SELECT")),
        ("execute p", (b"",)),
        ("", (b"\0",)),
    ],
)
def test_the_command_tag_a_text_must_have(text: str, tags: tuple[bytes, ...]) -> None:
    assert tags_of(text.encode()) == tags


def test_the_command_tag_of_what_is_prepared() -> None:
    assert prepared_tags(b"prepare p (int, text) as delete from t where a = $1") == (b"DELETE",)
    assert prepared_tags(b"prepare p") == (b"",)


LONG = 1 << 18


@pytest.mark.parametrize(
    "piece",
    [
        "select 1; ",
        "/**/",
        "/*/**/*/",
        "/*",
        "-",
        "(",
        ";",
        "'",
        '"',
        "$",
        "$a$b",
        "$a$ ;",
        "$a",
        "a ",
        "E'\\'",
        "* /",
    ],
)
def test_no_text_takes_long_to_cut(piece: str) -> None:
    text = b"create rule r as " + piece.encode() * (LONG // len(piece)) + b";x"
    for escapes in (False, True):
        with contextlib.suppress(TooMany):
            assert split(text, escapes)


def test_too_many_statements_are_not_told_apart() -> None:
    assert len(split(b"select 1;" * 10, most=10)) == 10
    with pytest.raises(TooMany):
        split(b"select 1;" * 11, most=10)
    with pytest.raises(TooMany):
        split(b";" * 100, most=10)


@example("$a;")
@example("'\\';")
@example("E'\\';")
@example("aE'\\';")
@given(st.text(st.sampled_from("a'\"$;/*-\\E (),\n1é")))
def test_the_scanner_ends_a_statement_where_the_lexer_sees_a_semicolon(text: str) -> None:
    raw = text.encode()
    for escapes in (False, True):
        found = [token.start for token in tokens(raw, escapes) if raw[token.start : token.end] == b";"]
        edges = [-1, *found, len(raw)]
        pieces = [raw[start + 1 : stop] for start, stop in itertools.pairwise(edges)]
        assert scan(raw, escapes) == [piece for piece in pieces if skip(piece, 0) < len(piece)]
