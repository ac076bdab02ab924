"""The wire words of the local side: exact bytes, and nothing odd gets through."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.connect import wire
from proxy.cli.connect.wire import Broken, Startup, parse_startup

NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
VALUE = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@given(st.dictionaries(NAME, VALUE, max_size=8), st.sampled_from([0x30000, 0x30002, 0x3270F]))
def test_a_startup_packet_survives_the_round_trip(parameters: dict[str, str], version: int) -> None:
    packed = Startup(version, parameters).packed()
    length, sent = struct.unpack("!II", packed[:8])
    assert (length, sent) == (len(packed), version)
    assert parse_startup(version, packed[8:]) == Startup(version, parameters)


@given(st.binary(max_size=60))
def test_any_other_bytes_are_refused_or_mean_the_same_again(body: bytes) -> None:
    try:
        found = parse_startup(0x30000, body)
    except Broken:
        return
    assert found.packed()[8:] == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0",
        b"user\0",
        b"user\0a\0",
        b"user\0a\0database\0\0",
        b"user\0a\0user\0b\0\0",
        b"\0a\0\0",
        b"user\0a\0\0\0",
        b"\xff\0a\0\0",
    ],
)
def test_what_is_no_startup_packet(body: bytes) -> None:
    with pytest.raises(Broken):
        parse_startup(0x30000, body)


def test_an_older_protocol_is_refused() -> None:
    with pytest.raises(Broken):
        parse_startup(0x20000, b"user\0a\0\0")


def test_an_error_has_its_fields_and_ends() -> None:
    packed = wire.fatal("28000", "no\nnews", "ask")
    assert packed[:1] == b"E"
    assert struct.unpack("!I", packed[1:5])[0] == len(packed) - 1
    assert packed[5:] == b"SFATAL\0VFATAL\0C28000\0Mno news\0Hask\0\0"


def test_a_password_and_the_question_for_it() -> None:
    assert wire.password("abc") == b"p\0\0\0\x08abc\0"
    assert wire.CLEARTEXT == b"R\0\0\0\x08\0\0\0\x03"
