"""Binary formats of PostgreSQL's common types. Pure; called by ``values``. Any decoder may raise ``struct.error``,
``ValueError``, ``OverflowError`` or ``IndexError`` for a value that is not of its type.

Source: the server's ``*_send`` functions (src/backend/utils/adt), which the manual leaves to the code.
"""

import datetime
import ipaddress
import json
import struct
import uuid
from collections.abc import Callable, Mapping

EPOCH = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
"""PostgreSQL's: dates are days, timestamps microseconds since then."""
_FOREVER = (1 << 63) - 1
_MAX_ELEMENTS = 10_000


def _unpack(form: str) -> Callable[[bytes], object]:
    size = struct.calcsize(form)

    def unpack(value: bytes) -> object:
        if len(value) != size:
            raise ValueError("wrong size")
        return struct.unpack(form, value)[0]

    return unpack


def _boolean(value: bytes) -> bool:
    if len(value) != 1:
        raise ValueError("wrong size")
    return value != b"\0"


def _number(form: str) -> Callable[[bytes], object]:
    """Floats as JSON has them; infinities and NaN by name."""

    def unpack(value: bytes) -> object:
        (number,) = struct.unpack(form, value)
        if number != number:
            return "NaN"
        return {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(number, number)

    return unpack


def numeric(value: bytes) -> str:
    """Base-10000 digits with a weight, a sign and a display scale; as a string, so that nothing is rounded."""
    count, weight, sign, scale = struct.unpack_from("!HhHH", value)
    special = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}.get(sign)
    if special is not None:
        return special
    if len(value) != 8 + 2 * count or sign not in (0, 0x4000) or scale > 0x3FFF:
        raise ValueError("not a numeric")
    digits = struct.unpack_from(f"!{count}H", value, 8)
    if any(digit > 9999 for digit in digits):
        raise ValueError("not a numeric")
    whole = "".join(f"{_digit(digits, index):04}" for index in range(weight + 1)).lstrip("0") or "0"
    places = -(-scale // 4)
    fraction = "".join(f"{_digit(digits, index):04}" for index in range(weight + 1, weight + 1 + places))[:scale]
    return ("-" if sign else "") + whole + (f".{fraction}" if scale else "")


def _digit(digits: tuple[int, ...], index: int) -> int:
    return digits[index] if 0 <= index < len(digits) else 0


def _text(value: bytes) -> str:
    return value.decode()


def _bytea(value: bytes) -> str:
    return "\\x" + value.hex()


def _uuid(value: bytes) -> str:
    return str(uuid.UUID(bytes=value))


def _json(value: bytes) -> object:
    return json.loads(value)


def _jsonb(value: bytes) -> object:
    if value[0] != 1:
        raise ValueError("unknown jsonb version")
    return json.loads(value[1:])


def _date(value: bytes) -> str:
    (days,) = struct.unpack("!i", value)
    if days in (0x7FFFFFFF, -0x80000000):
        return "infinity" if days > 0 else "-infinity"
    return (EPOCH + datetime.timedelta(days=days)).date().isoformat()


def _clock(microseconds: int) -> str:
    seconds, micro = divmod(microseconds, 1_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{micro:06}".rstrip("0") if micro else text


def _time(value: bytes) -> str:
    (microseconds,) = struct.unpack("!q", value)
    return _clock(_of_day(microseconds))


def _timetz(value: bytes) -> str:
    microseconds, west = struct.unpack("!qi", value)
    sign, zone = ("-" if west > 0 else "+"), abs(west)
    return f"{_clock(_of_day(microseconds))}{sign}{zone // 3600:02}:{zone // 60 % 60:02}"


def _of_day(microseconds: int) -> int:
    if not 0 <= microseconds <= 86_400_000_000:
        raise ValueError("not a time of day")
    return microseconds


def _timestamp(value: bytes) -> str:
    return _instant(value).removesuffix("+00:00")


def _instant(value: bytes) -> str:
    (microseconds,) = struct.unpack("!q", value)
    if microseconds in (_FOREVER, -_FOREVER - 1):
        return "infinity" if microseconds > 0 else "-infinity"
    return (EPOCH + datetime.timedelta(microseconds=microseconds)).isoformat()


def _interval(value: bytes) -> str:
    """ISO 8601, as IntervalStyle iso_8601 would show it."""
    microseconds, days, months = struct.unpack("!qii", value)
    years, months = int(months / 12), months - 12 * int(months / 12)
    date = "".join(f"{number}{unit}" for number, unit in ((years, "Y"), (months, "M"), (days, "D")) if number)
    sign, rest = ("-" if microseconds < 0 else ""), abs(microseconds)
    seconds = f"{rest // 1_000_000 % 60}.{rest % 1_000_000:06}".rstrip("0").rstrip(".")
    parts = ((str(rest // 3_600_000_000), "H"), (str(rest // 60_000_000 % 60), "M"), (seconds, "S"))
    time = "".join(f"{sign}{number}{unit}" for number, unit in parts if number != "0")
    return "P" + date + ("T" + time if time else "") if date or time else "PT0S"


def _network(value: bytes) -> str:
    """inet and cidr: family (2, or 3 for IPv6), bits, is_cidr, length, address."""
    family, bits, cidr, length = value[0], value[1], value[2], value[3]
    address = ipaddress.ip_address(value[4:])
    if len(value) != 4 + length or family not in (2, 3) or bits > address.max_prefixlen:
        raise ValueError("not an address")
    return f"{address}/{bits}" if cidr or bits != address.max_prefixlen else str(address)


def _mac(value: bytes) -> str:
    if len(value) not in (6, 8):
        raise ValueError("wrong size")
    return ":".join(f"{byte:02x}" for byte in value)


DECODERS: Mapping[int, Callable[[bytes], object]] = {
    16: _boolean,
    17: _bytea,
    18: _text,  # "char"
    19: _text,  # name
    20: _unpack("!q"),
    21: _unpack("!h"),
    23: _unpack("!i"),
    25: _text,
    26: _unpack("!I"),  # oid
    28: _unpack("!I"),  # xid
    114: _json,
    142: _text,  # xml
    650: _network,  # cidr
    700: _number("!f"),
    701: _number("!d"),
    705: _text,  # unknown
    774: _mac,
    829: _mac,
    869: _network,  # inet
    1042: _text,  # bpchar
    1043: _text,  # varchar
    1082: _date,
    1083: _time,
    1114: _timestamp,
    1184: _instant,
    1186: _interval,
    1266: _timetz,
    1700: numeric,
    2205: _unpack("!I"),  # regclass
    2950: _uuid,
    3802: _jsonb,
}
"""Type oid (pg_type.dat) -> decoder."""

ELEMENTS: Mapping[int, int] = {
    199: 114,
    651: 650,
    1000: 16,
    1001: 17,
    1002: 18,
    1003: 19,
    1005: 21,
    1007: 23,
    1009: 25,
    1014: 1042,
    1015: 1043,
    1016: 20,
    1021: 700,
    1022: 701,
    1028: 26,
    1040: 829,
    1041: 869,
    1115: 1114,
    1182: 1082,
    1183: 1083,
    1185: 1184,
    1187: 1186,
    1231: 1700,
    1270: 1266,
    2951: 2950,
    3807: 3802,
}
"""Array type oid -> element type oid."""


def decode_array(oid: int, value: bytes) -> object:
    """Dimensions, flags, element oid, then (length, lower bound) each, then the elements row by row; as nested
    lists."""
    dimensions, _, element = struct.unpack_from("!iiI", value)
    if element != oid or not 0 <= dimensions <= 6:
        raise ValueError("not an array of that type")
    sizes = [struct.unpack_from("!ii", value, 12 + 8 * index)[0] for index in range(dimensions)]
    total = 1
    for size in sizes:
        total *= size
    if any(size < 0 for size in sizes) or total > _MAX_ELEMENTS:
        raise ValueError("too many elements")
    if not dimensions:
        return []
    flat: list[object] = []
    position = 12 + 8 * dimensions
    for _ in range(total):
        (length,) = struct.unpack_from("!i", value, position)
        position += 4
        if length < 0:
            flat.append(None)
            continue
        if position + length > len(value):
            raise ValueError("an element does not end")
        flat.append(DECODERS[oid](value[position : position + length]))
        position += length
    return _nested(flat, sizes)


def _nested(flat: list[object], sizes: list[int]) -> list[object]:
    if len(sizes) <= 1:
        return list(flat)
    step = len(flat) // sizes[0] if sizes[0] else 0
    return [_nested(flat[index * step : (index + 1) * step], sizes[1:]) for index in range(sizes[0])]
