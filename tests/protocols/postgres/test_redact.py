"""No secret gets into a record: none of the listed forms, and ordinary text is left alone."""

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from proxy.protocols.postgres import messages
from proxy.protocols.postgres.binding import kept_of
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.patterns import NAME
from proxy.protocols.postgres.redact import (
    redact,
    redact_error,
    redact_option,
    redact_value,
    secret_parameters,
    sensitive,
)
from proxy.protocols.postgres.texts import Texts
from proxy.protocols.postgres.tokens import Kind, tokens
from tests.protocols.postgres.ladder import (
    ONE_ROW,
    PARSED,
    READY,
    SYNC,
    Talk,
    bind,
    complete,
    error,
    execute,
    parse,
    query,
)
from tests.protocols.postgres.secret_forms import CANARY, FORMS, NUMBERS, RUNNING

JWT = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl-_x"


@pytest.mark.parametrize("text", FORMS)
def test_a_secret_is_not_kept(text: str) -> None:
    kept = redact(text.encode())
    assert CANARY.encode() not in kept and b"***" in kept


@pytest.mark.parametrize("text", FORMS)
def test_nor_with_backslash_escapes_in_plain_strings(text: str) -> None:
    assert CANARY.encode() not in redact(text.encode(), escapes=True)


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_a_literal_too(text: str) -> None:
    kept = redact(text.encode())
    assert b"424242" not in kept
    assert b"'***'" in kept


@pytest.mark.parametrize(("text", "kept"), RUNNING)
def test_what_runs_is_shown(text: str, kept: str) -> None:
    assert redact(text.encode()).decode() == kept


@pytest.mark.parametrize("text", [f"select '{JWT}'", JWT, f"-- {JWT}", f"select $${JWT}$$", f'select "{JWT}"'])
def test_tokens_are_hidden_wherever_they_stand(text: str) -> None:
    kept = redact(text.encode())
    assert b"eyJ" not in kept and b"c2ln" not in kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (
            "ALTER ROLE bob PASSWORD 'hunter2' VALID UNTIL 'infinity'",
            "ALTER ROLE bob PASSWORD '***' VALID UNTIL 'infinity'",
        ),
        (
            "select 'a'; alter role x password 'b'; select 'c'",
            "select 'a'; alter role x password '***'; select 'c'",
        ),
        ("OPTIONS (user 'bob', password 'x')", "OPTIONS (user 'bob', password '***')"),
        ("select 'postgres://bob:pw@h/db'", "select 'postgres://bob:***@h/db'"),
        ("select set_config('a.password', 'x', false)", "select set_config('a.password', '***', false)"),
        (
            "update users set password = 'x' where name = 'bob'",
            "update users set password = '***' where name = 'bob'",
        ),
        ("do $$ begin alter role x password 'y'; end $$", "do $$ begin alter role x password '***'; end $$"),
        (
            "create table t (n int default 5, password varchar(60) not null, s text default 'new')",
            "create table t (n int default 5, password varchar(60) not null, s text default 'new')",
        ),
        (
            "create user x connection limit 3 password 'y' in role z",
            "create user x connection limit 3 password '***' in role z",
        ),
        (
            "select * from u where name = 'bob' and password = md5('x') or id = 5 limit 3",
            "select * from u where name = 'bob' and password = md5('***') or id = 5 limit 3",
        ),
        ("set app.password to default", "set app.password to default"),
        (
            "select format('alter role %I password %L', 'x', 'y')",
            "select format('alter role %I password %L', '***', '***')",
        ),
        ("set password_encryption = 'md5'", "set password_encryption = 'md5'"),
    ],
)
def test_what_is_no_secret_stays(text: str, kept: str) -> None:
    assert redact(text.encode()) == kept.encode()


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "select forgot_password_at from users where name = 'bob'",
        "ALTER ROLE x PASSWORD NULL",
        "select 'https://example.org/a:b'",
        "select 'the password is in the vault'",
        "create extension pgcrypto",
        "select md5('x')",
        "select 'compass'",
        "drop table t -- no password needed",
        "select 'you will pass, 5'::text, tokenize from compass where keyboard = 'qwerty'",
        "insert into t values ('x', 5) on conflict do nothing",
        "copy t from program 'cat /etc/hostname'",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text.encode()) == text.encode()


def test_ordinary_text_is_the_same_object() -> None:
    text = b"SELECT abalance FROM pgbench_accounts WHERE aid = 1;"
    assert redact(text) is text and not sensitive(text)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("update u set password = $2 where id = $1", {2}),
        ("select set_config('app.password', $1, false)", {1}),
        ("insert into u (name, password) values ($1, $2)", {1, 2}),
        ("select pgp_sym_encrypt($1, $2), $3", {1, 2}),
        ("select crypt($1, password) from u where id = $2", {1}),
        ("select $1", set()),
        ("update u set (name, password) = ($1, $2) where id = $3", {1, 2}),
        ("select digest($1, 'sha256'), $2", {1}),
        ("select 1 from u where lower(password) = $1 and id = $2", {1}),
        ("select 1 from u where password::text = $1", {1}),
        ("update u set password = md5($1), name = $2", {1}),
        ("merge into u using (select $1 a, $2 p) s on true when matched then update set password = p", {1, 2}),
        ("select check_password($1, $2)", {1, 2}),
    ],
)
def test_bind_values_in_a_secrets_place(text: str, numbers: set[int]) -> None:
    found = secret_parameters(text.encode())
    assert {number for number in range(1, 9) if number in found} == numbers


def test_values_and_startup_options() -> None:
    assert redact_value(f"Bearer {JWT}".encode()) == b"***" or b"eyJ" not in redact_value(f"Bearer {JWT}".encode())
    assert redact_value(b"plain") == b"plain"
    assert redact_value(b"host=h password=hunter2") == b"host=h password=***"
    assert redact_option("my.password", "x") == "***" and redact_option("TimeZone", "UTC") == "UTC"
    assert redact_option("options", "-c my.password=x") == "***"
    assert redact_option("application_name", "passport://a:hunter2@h") == "passport://a:***@h"


@pytest.mark.parametrize("secret", [JWT, "amqp://u:hunter2@h", '{"password": "hunter2"}'])
def test_a_binary_value_keeps_its_length(secret: str) -> None:
    array = b"\0\0\0\1" + len(secret).to_bytes(4, "big") + secret.encode() + b"\0\0\0\1x"
    kept = redact_value(array, 1)
    assert len(kept) == len(array)
    assert kept.startswith(array[:8])
    assert kept.endswith(array[-5:])
    assert b"hunter2" not in kept
    assert b"eyJ" not in kept
    for form in (0, 1):
        assert kept_of(25, secret.encode(), form, 9999, 9999)[2] != secret.encode()


@pytest.mark.parametrize(
    ("message", "guarded", "kept"),
    [
        ("syntax error at or near \"'hunter2'\"", True, 'syntax error at or near "***"'),
        ('invalid input syntax for type integer: "hunt"er2"', True, 'invalid input syntax for type integer: "***"'),
        ("unterminated quoted string at or near \"'hunter2", True, 'unterminated quoted string at or near "***"'),
        ("Syntaxfehler bei »hunter2«", True, 'Syntaxfehler bei "***"'),
        ('relation "users" does not exist', False, 'relation "users" does not exist'),
        ("invalid port in postgres://bob:hunter2@h", False, "invalid port in postgres://bob:***@h"),
        (f"no such thing: {JWT}", False, "no such thing: ***"),
    ],
)
def test_what_the_server_says_of_an_error(message: str, guarded: bool, kept: str) -> None:
    assert redact_error(b"42601", message.encode(), guarded).decode() == kept


def test_what_raise_says_is_not_kept_where_a_secret_may_be_in_it() -> None:
    assert redact_error(b"P0001", b"wrong: hunter2", True) == b"***"
    assert redact_error(b"P0001", b"out of stock", False) == b"out of stock"


@pytest.mark.parametrize("text", ["execute login('bob', 'hunter2')", "explain execute Login('bob', 'hunter2')"])
def test_a_prepared_statement_that_is_given_secrets(text: str) -> None:
    assert CANARY.encode() not in redact(text.encode(), hidden={b"login"})
    assert redact(text.encode(), hidden={b"other"}) == text.encode()


@pytest.mark.parametrize("escapes", [False, True])
def test_in_doubt_what_is_code_either_way_is_shown(escapes: bool) -> None:
    text = rb"with a as (select 1 where password = f('\', ') ), b as (delete from t returning 1) select 1 --')"
    assert b"delete from t returning" in redact(text, escapes, doubt=True)
    assert b"delete" not in redact(text, escapes=False)
    assert redact(rb"update u set password = 'a\\b' where x = 'y'", escapes, doubt=True) == (
        b"update u set password = '***' where x = 'y'"
    )


def test_an_error_tells_no_secret_of_the_conversation() -> None:
    talk = Talk().client(query("alter role x password 'a' 'hunter2'"))
    talk.target(error("42601", "syntax error at or near \"'hunter2'\""), READY)
    assert talk.finished[1].error == b'syntax error at or near "***"'
    talk = Talk().client(query("select * from nowhere"))
    talk.target(error("42P01", 'relation "nowhere" does not exist'), READY)
    assert talk.finished[1].error == b'relation "nowhere" does not exist'


def test_nor_does_the_error_of_a_bind_value() -> None:
    talk = Talk().client(
        parse("", "insert into u (id, password) values ($1, $2)"), bind("", "", [b"hunter2", b"x"]), execute(), SYNC
    )
    talk.target(PARSED, error("22P02", 'invalid input syntax for type integer: "hunter2"'), READY)
    assert talk.finished[1].error == b'invalid input syntax for type integer: "***"'
    assert "hunter2" not in str(talk.records)


def test_execute_of_what_was_prepared_with_secrets() -> None:
    talk = (
        Talk()
        .client(query("prepare login (text, text) as select crypt($1, $2)"))
        .target(complete("PREPARE"), READY)
    )
    talk.client(query("execute login('hunter2', 'salt')")).target(ONE_ROW, READY)
    assert talk.started[-1].text == b"execute login('***', '***')"


def test_what_the_server_reports_of_a_setting() -> None:
    talk = Talk().target(messages.frame(b"S", b"application_name\0postgres://bob:hunter2@h\0"))
    assert "hunter2" not in str(talk.notes)
    assert "application_name" in str(talk.notes)


def test_names_of_statements_with_secrets_are_bounded() -> None:
    texts = Texts(Limits(max_names=2))
    for name in (b"a", b"b", b"c"):
        texts.hide(name)
    assert list(texts.hidden) == [b"b", b"c"]


def test_a_number_in_a_quick_statement() -> None:
    talk = Talk().client(query("update u set password = 424242 where id = 7")).target(complete("UPDATE 1"), READY)
    assert talk.started[-1].text == b"update u set password = '***' where id = 7"


PIECES = st.sampled_from(
    [
        *"'\";$,()[]=.%:/*-\\ \n5ae&<>|@{}",
        *(
            "''",
            "$$",
            "$a$",
            "--",
            "/*",
            "*/",
            "E'",
            "U&'",
            "b'",
            "$1",
            "::",
            "://",
            "\\'",
            "'x'",
            "'y z'",
            "'password'",
        ),
        *(
            " password ",
            " secret",
            "password=",
            '"password": "x"',
            "crypt(",
            "eyJabcdefghijkl ",
            "bearer ",
            " values ",
        ),
        *(" and ", " where ", " insert into t ", " merge ", " begin ", " delete from t ", " select ", " between "),
        *(" execute ", " do ", " as ", " program 'curl -u a:b' "),
    ]
)
TEXTS = st.lists(PIECES, max_size=30).map(lambda pieces: "".join(pieces).encode())


def words(text: bytes, escapes: bool) -> list[bytes]:
    return [
        text[each.start : each.end] for each in tokens(text, escapes) if each.kind in (Kind.WORD, Kind.QUOTED_NAME)
    ]


@given(TEXTS, st.booleans())
@settings(max_examples=400)
def test_no_word_outside_of_literals_is_ever_removed(text: bytes, escapes: bool) -> None:
    kept = redact(text, escapes)
    assert words(kept, escapes)[: len(words(text, escapes))] == words(text, escapes)


@given(TEXTS)
@settings(max_examples=300)
def test_in_doubt_no_word_of_either_reading_is_removed(text: bytes) -> None:
    kept = redact(text, doubt=True)
    for escapes in (False, True):
        for word in words(text, escapes):
            assert word in kept


@example(b"/*password='/*password='", False)
@given(TEXTS, st.booleans())
@settings(max_examples=400)
def test_it_comes_to_rest(text: bytes, escapes: bool) -> None:
    """A mask may begin what another secret's name stands before: once more, and no further."""
    kept = redact(redact(text, escapes), escapes)
    assert redact(kept, escapes) == kept


@given(st.one_of(TEXTS, st.text().map(lambda text: ("password " + text).encode()), st.binary()))
def test_any_text_is_survived(text: bytes) -> None:
    for escapes in (False, True):
        redact(text, escapes)
        redact(text, escapes, {b"a"}, True)
        secret_parameters(text, escapes)
    redact_value(text)
    redact_value(text, 1)
    redact_error(b"", text, True)


@given(st.text(st.sampled_from("abcdeilmnostuv '(),;=$\n0123456789\"-*"), max_size=60))
def test_a_text_without_secrets_is_unchanged(text: str) -> None:
    raw = text.encode()
    assume(NAME.search(raw) is None)
    assert redact(raw, doubt=True) == raw
    assert not secret_parameters(raw)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0'\\"), min_size=1, max_size=40))
def test_any_password_of_a_role_is_hidden(secret: str) -> None:
    kept = redact(f"alter role x password '{secret}' valid until 'tomorrow'".encode())
    assert kept == b"alter role x password '***' valid until 'tomorrow'"


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "part",
    [
        b"'",
        b"$$",
        b"/*",
        b"passw",
        b"passw ",
        b"password %",
        b"(",
        b"''",
        b"\\",
        b"://a:",
        b"eyJ",
        b"do '",
        b"$a$ do ",
    ],
)
def test_time_does_not_grow_with_the_square(part: bytes) -> None:
    text = b"password '" + part * (60_000 // len(part))
    redact(text)
    redact(text, escapes=True)
    secret_parameters(text)


def test_a_text_too_long_to_read_gives_no_value_away() -> None:
    assert 7 in secret_parameters(b"select password" + b" " * 300_000)
