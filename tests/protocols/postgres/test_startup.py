"""What a client may open a connection with, and what of it the target is told."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import PeerError
from proxy.protocols.postgres import messages as m
from proxy.protocols.postgres.startup import (
    BadStartup,
    Cancel,
    GssRequest,
    SslRequest,
    Startup,
    encode,
    length_of,
    parse,
    upstream_packet,
)
from proxy.protocols.postgres.switches import switches, words


def asked(version: int = m.PROTOCOL_3_0, **parameters: str) -> Startup:
    packet = parse(m.startup_packet({"user": "readonly", "database": "shop", **parameters}, version)[4:])
    assert isinstance(packet, Startup)
    return packet


def refused(packet: bytes) -> BadStartup:
    with pytest.raises(BadStartup) as caught:
        parse(packet)
    return caught.value


def test_requests_before_the_startup_packet() -> None:
    for request in (SslRequest(), GssRequest(), Cancel(7, b"1234"), Cancel(1, b"k" * 256)):
        packet = encode(request)
        assert length_of(packet[:4]) == len(packet)
        assert parse(packet[4:]) == request


@pytest.mark.parametrize("length", [0, 7, 10_005, 0xFFFFFFFF, 0x80000000])
def test_lengths_are_bounded(length: int) -> None:
    with pytest.raises(BadStartup):
        length_of(struct.pack("!I", length))


@pytest.mark.parametrize("key", [b"", b"k" * 257])
def test_cancel_keys_are_bounded(key: bytes) -> None:
    refused(m.cancel_request(1, key)[4:])


def test_an_encryption_request_has_no_more_bytes() -> None:
    refused(m.SSL_REQUEST[4:] + b"x")


def test_names_and_defaults() -> None:
    packet = asked(application_name="psql", TimeZone="UTC")
    assert (packet.user, packet.database, packet.application_name) == ("readonly", "shop", "psql")
    assert packet.parameters == (("application_name", "psql"), ("TimeZone", "UTC"))
    assert packet.version == m.PROTOCOL_3_0 and packet.key_length == 4 and packet.negotiation == b""
    no_database = parse(m.startup_packet({"user": "readonly"})[4:])
    assert isinstance(no_database, Startup) and no_database.database == "readonly"


@pytest.mark.parametrize(
    ("version", "agreed", "key_length", "negotiates"),
    [(0, 0, 4, False), (1, 0, 4, True), (2, 2, 32, False), (3, 2, 32, True), (9999, 2, 32, True)],
)
def test_versions(version: int, agreed: int, key_length: int, negotiates: bool) -> None:
    packet = asked(3 << 16 | version)
    assert packet.version == 3 << 16 | agreed and packet.key_length == key_length
    expected = b"v\0\0\0\x0c\0\3\0" + bytes((agreed,)) + b"\0\0\0\0" if negotiates else b""
    assert packet.negotiation == expected


def test_unknown_protocol_options_are_named_exactly() -> None:
    packet = asked(3 << 16 | 9999, **{"_pq_.test_protocol_negotiation": "", "_pq_.x": "1"})
    names = b"_pq_.test_protocol_negotiation\0_pq_.x\0"
    assert packet.negotiation == m.frame(b"v", struct.pack("!II", 3 << 16 | 2, 2) + names)
    assert packet.parameters == ()
    assert asked(m.PROTOCOL_3_0, **{"_pq_.x": ""}).negotiation == m.frame(
        b"v", struct.pack("!II", 3 << 16, 1) + b"_pq_.x\0"
    )


@pytest.mark.parametrize("version", [2 << 16, 4 << 16, 0, 1234 << 16 | 1])
def test_other_protocols_are_refused(version: int) -> None:
    assert refused(m.startup_packet({"user": "a"}, version)[4:]).sqlstate == "0A000"


@pytest.mark.parametrize(
    "body",
    [
        b"user\0a\0",
        b"user\0a\0\0\0",
        b"user\0a\0\0x",
        b"user\0a",
        b"user",
        b"",
        b"user\0a\0database\0\0options\0",
    ],
)
def test_exactly_one_terminator_ends_the_packet(body: bytes) -> None:
    assert refused(struct.pack("!I", m.PROTOCOL_3_0) + body).sqlstate == "08P01"


@pytest.mark.parametrize(
    "pairs",
    [
        [("user", "a"), ("user", "b")],
        [("user", "a"), ("TimeZone", "x"), ("timezone", "y")],
        [("user", "a"), ("timezone", "x"), ("TimeZone", "y")],
    ],
)
def test_duplicates_are_refused_in_any_spelling(pairs: list[tuple[str, str]]) -> None:
    assert "twice" in refused(m.startup_packet(pairs)[4:]).public


def test_no_user_and_names_the_server_would_cut() -> None:
    assert refused(m.startup_packet({"database": "x"})[4:]).sqlstate == "28000"
    for name in ("user", "database"):
        refused(m.startup_packet({"user": "a", name: "é" * 32})[4:])
    assert asked(user="é" * 31).user == "é" * 31


@pytest.mark.parametrize(
    "value", ["true", "TRUE", "t", "on", "yes", "y", "1", "database", "DATABASE", "maybe", "", "o"]
)
def test_replication_is_refused_unless_clearly_off(value: str) -> None:
    error = refused(m.startup_packet({"user": "a", "replication": value})[4:])
    assert error.sqlstate == "42501" and error.hint


@pytest.mark.parametrize("value", ["false", "F", "off", "of", "no", "N", "0"])
def test_replication_off_is_dropped(value: str) -> None:
    assert asked(replication=value).parameters == ()


def test_application_names_are_kept_as_they_are_and_shown_as_printable_ascii() -> None:
    packet = asked(application_name="caf\u00e9\n")
    assert packet.application_name == packet.recorded()["application_name"] == "caf???"
    assert packet.given_name == "caf\u00e9\n".encode()


def test_an_application_name_may_be_any_bytes() -> None:
    body = struct.pack("!I", m.PROTOCOL_3_0) + b"user\0ro\0Application_Name\0\xff\xe9x\0\0"
    packet = parse(body)
    assert isinstance(packet, Startup)
    assert (packet.given_name, packet.application_name) == (b"\xff\xe9x", "??x")
    assert json.loads(json.dumps(packet.recorded()))["application_name"] == "??x"
    assert b"application_name\0\xff\xe9x\0" in upstream_packet(packet, account="ro", application_name=None)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, b""),
        ({"application_name": ""}, b""),
        ({"options": "-c application_name=a"}, b"a"),
        ({"options": "-c Application_Name=a --application-name=b\\ c"}, b"b c"),
        ({"options": "-c application_name=a", "application_name": "p"}, b"p"),
    ],
)
def test_what_a_client_calls_itself(settings: dict[str, str], name: bytes) -> None:
    assert asked(**settings).given_name == name


def test_a_text_that_is_not_utf8_is_refused() -> None:
    assert refused(struct.pack("!I", m.PROTOCOL_3_0) + b"user\0\xff\0\0").sqlstate == "22021"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("-c a=b", [("a", "b")]),
        ("-ca=b  --search-path=x,y", [("a", "b"), ("search_path", "x,y")]),
        (r"-c application_name=a\ b\\c", [("application_name", r"a b\c")]),
        ("-c a=", [("a", "")]),
        ("", []),
        ("  ", []),
    ],
)
def test_options_are_settings(text: str, found: list[tuple[str, str]]) -> None:
    assert switches(text) == found
    assert asked(options=text).parameters == (("options", text),)


@pytest.mark.parametrize("text", ["-d 5", "-c", "-c a", "--", "--a", "-B 9", "x", "-c =b", "-P", "-c a=b -O"])
def test_other_switches_are_refused(text: str) -> None:
    assert refused(m.startup_packet({"user": "a", "options": text})[4:]).hint


def test_a_backslash_at_the_end_and_empty_words() -> None:
    assert words("a\\") == ["a"] and words(r"\  a") == [" ", "a"]


def test_the_target_is_told_our_account_and_our_name() -> None:
    packet = asked(m.PROTOCOL_3_2, Application_Name="me", options="-c application_name=x", role="r")
    sent = parse(
        upstream_packet(packet, account="ro", application_name=b"tidegate:alice\xc3\xa9", version="client")[4:]
    )
    assert isinstance(sent, Startup) and sent.version == m.PROTOCOL_3_2
    assert (sent.user, sent.database) == ("ro", "shop")
    assert sent.parameters == (
        ("options", "-c application_name=x"),
        ("role", "r"),
        ("application_name", "tidegate:alice\u00e9"),
    )
    old = parse(upstream_packet(packet, account="ro", application_name=b"x", version="3.0")[4:])
    assert isinstance(old, Startup) and old.version == m.PROTOCOL_3_0


def test_what_looks_like_a_secret_is_not_recorded() -> None:
    packet = asked(options="-c app.password=hunter2", TimeZone="UTC")
    assert packet.recorded() == {"options": "***", "TimeZone": "UTC"}


@given(st.binary(max_size=300))
def test_any_bytes_are_a_packet_or_a_peers_error(raw: bytes) -> None:
    for packet in (
        raw,
        struct.pack("!I", m.PROTOCOL_3_0) + raw,
        struct.pack("!I", m.PROTOCOL_3_2) + b"user\0a\0" + raw,
    ):
        try:
            parse(packet)
        except PeerError as error:
            assert isinstance(error, BadStartup) and len(error.sqlstate) == 5


@given(
    st.dictionaries(
        st.text("abcdefgh_", min_size=1, max_size=20).filter(lambda name: name not in ("user", "database")),
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20),
        max_size=5,
    )
)
def test_settings_reach_the_target_as_they_came(settings: dict[str, str]) -> None:
    packet = asked(**settings)
    sent = parse(upstream_packet(packet, account="a", application_name=b"n")[4:])
    assert isinstance(sent, Startup) and dict(sent.parameters) == {**settings, "application_name": "n"}
