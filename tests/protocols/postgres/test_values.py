"""Recorded values, decoded when somebody reads them."""

import datetime
import decimal
import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocols.postgres.binary import DECODERS, ELEMENTS
from proxy.protocols.postgres.values import PostgresRows, columns_of
from tests.protocols.postgres.ladder import description, row

ROWS = PostgresRows()


def array(oid: int, sizes: list[int], elements: list[bytes | None]) -> bytes:
    head = struct.pack("!iiI", len(sizes), 1, oid) + b"".join(struct.pack("!ii", size, 1) for size in sizes)
    return head + b"".join(
        struct.pack("!i", -1) if each is None else struct.pack("!i", len(each)) + each for each in elements
    )


@pytest.mark.parametrize(
    ("oid", "value", "expected"),
    [
        (16, b"\1", True),
        (16, b"\0", False),
        (17, b"\0\xff", "\\x00ff"),
        (20, struct.pack("!q", -5), -5),
        (21, struct.pack("!h", 5), 5),
        (23, struct.pack("!i", -7), -7),
        (25, "é".encode(), "é"),
        (26, struct.pack("!I", 4_000_000_000), 4_000_000_000),
        (114, b'{"a": [1]}', {"a": [1]}),
        (3802, b'\1{"a": null}', {"a": None}),
        (700, struct.pack("!f", 1.5), 1.5),
        (701, struct.pack("!d", float("inf")), "Infinity"),
        (701, struct.pack("!d", float("nan")), "NaN"),
        (1700, struct.pack("!HhHH2H", 2, 0, 0, 2, 12, 3400), "12.34"),
        (1700, struct.pack("!HhHH1H", 1, -1, 0x4000, 4, 5), "-0.0005"),
        (1700, struct.pack("!HhHH1H", 1, 2, 0, 0, 1), "100000000"),
        (1700, struct.pack("!HhHH", 0, 0, 0, 3), "0.000"),
        (1700, struct.pack("!HhHH", 0, 0, 0xC000, 0), "NaN"),
        (1700, struct.pack("!HhHH", 0, 0, 0xF000, 0), "-Infinity"),
        (1082, struct.pack("!i", 1), "2000-01-02"),
        (1082, struct.pack("!i", 0x7FFFFFFF), "infinity"),
        (1083, struct.pack("!q", 3_661_000_001), "01:01:01.000001"),
        (1083, struct.pack("!q", 86_400_000_000), "24:00:00"),
        (1266, struct.pack("!qi", 0, -7200), "00:00:00+02:00"),
        (1114, struct.pack("!q", 0), "2000-01-01T00:00:00"),
        (1184, struct.pack("!q", 1_500_000), "2000-01-01T00:00:01.500000+00:00"),
        (1184, struct.pack("!q", -(1 << 63)), "-infinity"),
        (1186, struct.pack("!qii", 3_661_500_000, 3, 14), "P1Y2M3DT1H1M1.5S"),
        (1186, struct.pack("!qii", 0, 0, 0), "PT0S"),
        (1186, struct.pack("!qii", -1_000_000, -1, 0), "P-1DT-1S"),
        (2950, uuid.UUID(int=5).bytes, str(uuid.UUID(int=5))),
        (869, b"\2\x20\0\4\x0a\0\0\1", "10.0.0.1"),
        (650, b"\2\x08\1\4\x0a\0\0\0", "10.0.0.0/8"),
        (869, b"\3\x40\0\x10" + bytes(15) + b"\1", "::1/64"),
        (829, b"\1\2\3\4\5\6", "01:02:03:04:05:06"),
        (1007, array(23, [3], [struct.pack("!i", 1), None, struct.pack("!i", 3)]), [1, None, 3]),
        (1009, array(25, [2, 2], [b"a", b"b", b"c", b"d"]), [["a", "b"], ["c", "d"]]),
        (1007, array(23, [], []), []),
    ],
)
def test_binary_values(oid: int, value: bytes, expected: object) -> None:
    assert ROWS.parameter(oid, 1, value) == expected


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        (0, b"abc"),
        (99_999, b"abc"),
        (23, b"abc"),
        (16, b"12"),
        (114, b"{"),
        (3802, b"\2{}"),
        (25, b"\xff"),
        (1083, struct.pack("!q", -1)),
        (1184, struct.pack("!q", 1 << 62)),
        (1700, b"\0\1"),
        (1700, struct.pack("!HhHH1H", 1, 0, 0, 0, 10_000)),
        (2950, b"abc"),
        (869, b"\2\x21\0\4\x0a\0\0\1"),
        (1007, array(25, [1], [b"a"])),
        (1007, array(23, [100_000_000], [])),
        (1007, array(23, [1], [b"\0\0\0\1"])[:-1]),
    ],
)
def test_what_is_not_understood_is_base64_with_its_format(oid: int, value: bytes) -> None:
    found = ROWS.parameter(oid, 1, value)
    assert isinstance(found, dict) and found["format"] == "binary" and found["base64"]


def test_text_stays_text_whatever_the_type() -> None:
    assert ROWS.parameter(23, 0, b"42") == "42" and ROWS.parameter(3802, 0, b"{}") == "{}"
    assert ROWS.parameter(25, 0, b"\xff") == {"base64": "/w==", "format": "text"}


def test_rows_by_column_name() -> None:
    shape = description(("a", 23, 0), ("b", 23, 1), ("a", 25, 0))[5:]
    body = row(b"1", struct.pack("!i", 2), None)[5:]
    assert ROWS.rows(shape, [body]) == [{"a": "1", "b": 2, "a (2)": None}]
    assert columns_of(shape)[1] == ("b", 23, 1)


def test_rows_without_a_description() -> None:
    assert ROWS.rows(b"", [row(b"x", b"\xff")[5:]]) == [{"1": "x", "2": {"base64": "/w==", "format": "text"}}]


@given(st.sampled_from([*DECODERS, *ELEMENTS, 0]), st.binary(max_size=60), st.integers(0, 1))
def test_no_value_raises(oid: int, value: bytes, form: int) -> None:
    ROWS.parameter(oid, form, value)


@given(st.binary(max_size=80), st.lists(st.binary(max_size=40), max_size=3))
def test_no_rows_raise(shape: bytes, rows: list[bytes]) -> None:
    ROWS.rows(shape, rows)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12))
def test_numerics_lose_no_digit(value: decimal.Decimal) -> None:
    digits = f"{abs(value):.8f}".replace(".", "")
    digits = digits.rjust(-(-(len(digits) - 8) // 4) * 4 + 8, "0")
    groups = [int(digits[at : at + 4]) for at in range(0, len(digits), 4)]
    sign = 0x4000 if value < 0 else 0
    raw = struct.pack(f"!HhHH{len(groups)}H", len(groups), len(groups) - 3, sign, 6, *groups)
    assert decimal.Decimal(str(ROWS.parameter(1700, 1, raw))) == value


@given(st.integers(-63_000_000_000_000_000, 252_000_000_000_000_000))
def test_timestamps_are_exact(micro: int) -> None:
    value = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=micro)
    assert ROWS.parameter(1184, 1, struct.pack("!q", micro)) == value.isoformat()
