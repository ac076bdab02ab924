"""Durations, sizes, addresses, networks and names, from text to value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_config.durations import duration
from gateway_config.runtime import Tokens
from gateway_config.values import (
    Address,
    host_name,
    line_of_text,
    name,
    network,
    one_or_many,
    protocol,
    size,
    target_name,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("1h30m", 5400), ("90s", 90), ("50ms", 0.05), ("2d", 172800), (7, 7), (0.05, 0.05), ("0s", 0)],
)
def test_durations(text, seconds):
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "10", "m", "1 h", "-1s", "1h 30m", "1" * 400 + "h", "\N{ARABIC-INDIC DIGIT ONE}m"),
        *(True, -1, float("inf"), float("nan"), None, 10**400),
    ],
)
def test_wrong_durations(wrong):
    with pytest.raises(ValueError, match="should be a duration"):
        duration(wrong)


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59))
def test_durations_add_up(hours, minutes, seconds):
    assert duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("64KiB", 65536),
        ("16 MiB", 1 << 24),
        ("10MB", 10**7),
        ("5B", 5),
        ("12", 12),
        (4096, 4096),
        ("1gib", 1 << 30),
    ],
)
def test_sizes(text, count):
    assert size(text) == count


@pytest.mark.parametrize("wrong", ["", "KiB", "1.5MiB", "-1", "1 XB", True, -1, 2.0, None])
def test_wrong_sizes(wrong):
    with pytest.raises(ValueError, match="should be a size"):
        size(wrong)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("db.example.com:5432", "db.example.com", 5432),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:5432", "::1", 5432),
        ("[0:0::0:1]:65535", "::1", 65535),
    ],
)
def test_addresses(text, host, port):
    assert Address.parse(text) == Address(host, port)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_address_prints_as_it_is_read(ip, port):
    written = Address(str(ip), port)
    assert Address.parse(str(written)) == written


@pytest.mark.parametrize(
    "wrong",
    ["", "db", ":5432", "db:", "db:65536", "db:x", "db:-1", "::1:5432", "[::1:5432", "[db]:5432", "a b:1", "a/b:1"],
)
def test_wrong_addresses(wrong):
    with pytest.raises(ValueError, match=r"should (have|be)"):
        Address.parse(wrong)


# The third is a digit of another script, which int() would take.
@pytest.mark.parametrize("wrong", ["db:5432\n", "-x:1", "db:\u0665", f"{'a' * 254}:1"])
def test_addresses_that_look_right(wrong):
    with pytest.raises(ValueError, match=r"should (have|be)"):
        Address.parse(wrong)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("10.0.0.1:1", False),
        ("[::]:1", False),
        ("localhost.example.com:1", False),
    ],
)
def test_loopback(text, loopback):
    assert Address.parse(text).loopback is loopback


def test_networks():
    assert network("10.20.0.0/16") == "10.20.0.0/16"
    assert network("10.1.2.3") == "10.1.2.3/32"
    assert network("2001:DB8::/32") == "2001:db8::/32"
    for wrong in ("10.20.0.1/16", "10.0.0.0/33", "example.com", ""):
        with pytest.raises(ValueError, match="should be a network"):
            network(wrong)


@pytest.mark.parametrize("good", ["a", "alice@example.com", "shop-1", "A_b.c", "9", "x" * 63])
def test_names(good):
    assert name(good) == good


@pytest.mark.parametrize("wrong", ["", "-a", ".a", "a b", "a/b", "a\n", "ä", "x" * 64, "a:b", "a*"])
def test_wrong_names(wrong):
    with pytest.raises(ValueError, match="should be a name"):
        name(wrong)


def test_a_target_may_use_names_of_its_own():
    assert target_name("App User ü") == "App User ü"
    for wrong in ("", " a", "a\x00", "a\nb", "ü" * 32):
        with pytest.raises(ValueError, match="1 to 63 bytes"):
            target_name(wrong)


def test_a_line_is_one_line():
    assert line_of_text("Orders, customers") == "Orders, customers"
    for wrong in ("a\nb", "\x1b[31m", "x" * 1001):
        with pytest.raises(ValueError, match="one line"):
            line_of_text(wrong)


def test_only_served_protocols():
    assert [protocol(each) for each in ("postgres", "ssh", "tcp")] == ["postgres", "ssh", "tcp"]
    with pytest.raises(ValueError, match=r'should be one of "postgres", "ssh", "tcp"$'):
        protocol("mysql")
    with pytest.raises(ValueError, match='did you mean "postgres"'):
        protocol("postgresql")


@pytest.mark.parametrize(
    ("text", "kept"),
    [("Gate.Example.com", "gate.example.com"), ("10.0.0.1", "10.0.0.1"), ("0:0::1", "::1"), ("gate", "gate")],
)
def test_host_names(text, kept):
    assert host_name(text) == kept


@pytest.mark.parametrize("wrong", ["", "*.example.com", "gate:22", "[::1]", "a,b", "a b"])
def test_wrong_host_names(wrong):
    with pytest.raises(ValueError, match="without a port; there are no wildcards"):
        host_name(wrong)


def test_one_text_is_a_list_of_one():
    assert one_or_many("a") == ("a",)
    assert one_or_many(["a", "b"]) == ["a", "b"]


@pytest.mark.parametrize("issuer", ["", "x" * 129, "tïdegate", "a\tb"])
def test_an_issuer_that_would_not_fit_into_a_token(issuer: str) -> None:
    with pytest.raises(ValueError, match="1 to 128 printable ASCII"):
        Tokens(issuer=issuer)
    assert Tokens(issuer="x" * 128).issuer == "x" * 128
