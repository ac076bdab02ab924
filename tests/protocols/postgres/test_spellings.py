"""A name means what it means however it is spelled: quoted, with Unicode escapes, behind its schema."""

import re
from collections.abc import Iterator

import pytest

from proxy.protocols.postgres.patterns import CIPHER, NAME
from proxy.protocols.postgres.redact import redact, secret_parameters, sensitive
from proxy.protocols.postgres.tokens import Kind, meaning, tokens
from tests.protocols.postgres.ladder import Talk, query
from tests.protocols.postgres.secret_forms import CANARY, FORMS

NAMES = [
    *("crypt", "hmac", "digest", "encrypt", "decrypt", "encrypt_iv", "decrypt_iv"),
    *("pgp_sym_encrypt", "pgp_pub_decrypt_bytea"),
]


def spellings(name: str) -> Iterator[str]:
    quoted = name.lower()
    yield f'"{quoted}"'
    yield f'U&"{quoted}"'
    yield f'u&"\\{ord(quoted[0]):04x}{quoted[1:]}"'
    yield f'U&"{quoted[:-1]}\\+{ord(quoted[-1]):06X}"'
    yield 'U&"' + "".join(f"\\{ord(each):04x}" for each in quoted) + '"'
    yield f"U&\"{quoted[0]}!{ord(quoted[1]):04x}{quoted[2:]}\" UESCAPE '!'"
    yield f"U&\"{quoted[0]}\\{ord(quoted[1]):04x}{quoted[2:]}\" /* as ever */ uescape '\\'"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("before", ["", "public.", '"public".', 'shop . "own" . '])
@pytest.mark.parametrize("behind", ["", " ", "/* x */\n"])
def test_a_functions_name_by_its_meaning(name: str, before: str, behind: str) -> None:
    for spelled in (name, name.upper(), *spellings(name)):
        text = f"select 1, {before}{spelled}{behind}('{CANARY}', 's') from t where a = 'shown'"
        kept = redact(text.encode())
        assert CANARY.encode() not in kept, text
        assert b"'shown'" in kept and spelled.encode() in kept
        assert secret_parameters(f"select {before}{spelled}($1), $2".encode()) == {1}, spelled


def respelled(text: str) -> Iterator[str]:
    """``text`` with each of its names that redaction knows spelled otherwise."""
    raw = text.encode()
    role = re.match(r"(?:create|alter)\s+(?:role|user|group)\b(?!\s+mapping)", text, re.IGNORECASE)
    for token in tokens(raw):
        piece = raw[token.start : token.end]
        if token.kind is not Kind.WORD or not (NAME.search(piece) or CIPHER.match(piece)):
            continue
        if role and piece.upper() == b"PASSWORD":  # a keyword, which no quoted name is
            continue
        for spelled in spellings(piece.decode()):
            yield text[: len(raw[: token.start].decode())] + spelled + raw[token.end :].decode()


@pytest.mark.parametrize("text", FORMS)
def test_every_form_hides_its_secret_however_its_names_are_spelled(text: str) -> None:
    for each in respelled(text):
        assert sensitive(each.encode()), each
        assert CANARY.encode() not in redact(each.encode()), each


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ('"a""b"', 'a"b'),
        ("Plain", "Plain"),
        ('U&"d\\0061t\\+000061"', "data"),
        ('U&"\\\\x"', "\\x"),
        ('U&"\\zz"', "\\zz"),
        ('U&"\\D800"', "?"),
        ('U&"\\+FFFFFF"', "?"),
    ],
)
def test_what_a_name_means(word: str, name: str) -> None:
    assert meaning(word.encode()) == name.encode()


def test_an_escape_character_of_ones_own() -> None:
    assert meaning(b'U&"a!!b!0063"', b"!") == b"a!bc"


@pytest.mark.parametrize("name", ['"Login"', '"lo gin"', "login"])
def test_execute_by_any_spelling_of_what_was_prepared_with_secrets(name: str) -> None:
    called = meaning(name.encode()).decode()
    talk = Talk().client(query(f"prepare {name} (text) as select crypt($1, 'x')"))
    for spelled in (name, f'"{called}"', f'U&"\\{ord(called[0]):04x}{called[1:]}"'):
        talk.client(query(f"execute {spelled}('{CANARY}')"))
    assert CANARY not in repr(talk.records)


def test_what_is_prepared_under_a_name_that_is_not_read_hides_every_execute() -> None:
    talk = Talk().client(query("prepare U&\"l\\006fgin\" (text) as select crypt($1, 'x')"))
    talk.client(query(f"execute login('{CANARY}')"), query(f"execute U&\"l!006fgin\" uescape '!' ('{CANARY}')"))
    assert CANARY not in repr(talk.records)


@pytest.mark.parametrize(
    "text",
    ["select U&\"d\\0061ta\" from t where a = 'x'", "select U&'d\\0061ta' uescape '!', 'x'", 'select "a" from "b"'],
)
def test_other_names_hide_nothing(text: str) -> None:
    assert redact(text.encode()) == text.encode()
