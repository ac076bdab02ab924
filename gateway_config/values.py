"""The kinds of plain values a configuration is written in: durations, sizes, addresses, networks, names.

Each is a pydantic annotation around one pure function from what TOML gives to what the program uses.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from gateway_config.durations import duration
from gateway_config.suggestions import suggestion

_SIZES: Mapping[str, int] = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_SIZE = re.compile(r"(\d+) ?([A-Za-z]*)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")

PROTOCOLS = ("postgres", "ssh", "tcp")
"""The protocols this version serves: the one list that listeners and resources are checked against."""


def size(value: object) -> int:
    """Bytes, from a whole number or text such as ``64KiB``, ``16 MiB``, ``10MB``."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match and match[2].lower() in _SIZES:
        return int(match[1]) * _SIZES[match[2].lower()]
    raise ValueError('should be a size, such as "64KiB", "16MiB", or a number of bytes')


def network(value: str) -> str:
    """A CIDR block in its canonical form; one address is the block of that address alone."""
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f'should be a network, such as "10.20.0.0/16" or "2001:db8::/32": {error}') from None


def name(value: str) -> str:
    """A name that is safe in URLs, file names and logs."""
    if not _NAME.fullmatch(value):
        raise ValueError(
            "should be a name: 1 to 63 letters, digits, '.', '_', '@' or '-', beginning with a letter or digit"
        )
    return value


def target_name(value: str) -> str:
    """A name the target chose (a role, a database): printable, at most 63 bytes (PostgreSQL's NAMEDATALEN - 1)."""
    if not value or len(value.encode()) > 63 or not value.isprintable() or value != value.strip():
        raise ValueError("should be 1 to 63 bytes of printable text without blanks around it")
    return value


def line_of_text(value: str) -> str:
    """One line of text for people."""
    if len(value) > 1000 or not (value == "" or value.isprintable()):
        raise ValueError("should be one line of at most 1000 printable characters")
    return value


def file_pattern(value: str) -> str:
    """A path, or a pattern of paths (``*``, ``?``, ``[…]``)."""
    if not value or not value.isprintable():
        raise ValueError('should be a path or a pattern of paths, such as "policies/*.toml"')
    return value


def protocol(value: str) -> str:
    """The name of a protocol this version serves."""
    if value in PROTOCOLS:
        return value
    served = ", ".join(f'"{each}"' for each in PROTOCOLS)
    raise ValueError(f"should be one of {served}{suggestion(value, PROTOCOLS)}")


def host_name(value: str) -> str:
    """A host's name or IP address, without brackets, in lower case."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        if not _HOST.fullmatch(value):
            raise ValueError(
                "should be a host's name or IP address, without a port; there are no wildcards"
            ) from None
        return value.lower()


def one_or_many(value: object) -> object:
    """A single text as a list of one: ``address = "a:1"`` and ``address = ["a:1", "b:1"]`` are both natural."""
    return (value,) if isinstance(value, str) else value


class TextValue:
    """A value that is written as text in the file, is an object in the program, and prints as it was written."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validated, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string"}

    @classmethod
    def _validated(cls, value: object) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError("should be a text in quotes")
        return cls.parse(value)

    @classmethod
    def parse(cls, text: str) -> Any:
        """The object that ``text`` means; ValueError with advice where it means none."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Address(TextValue):
    """``host:port``, with an IPv6 host in brackets: ``[::1]:5432``. Port 0 is any free one, for listening."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        host, colon, port = text.rpartition(":")
        if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
            raise ValueError('should be "host:port", such as "db1.internal:5432" or "[::1]:5432"')
        return cls(_host(host), int(port))

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it. Names count only as ``localhost``: others may change."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def wildcard(self) -> bool:
        """Whether it means every interface."""
        return self.host in ("0.0.0.0", "::")


def _host(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            raise ValueError("should have an IPv6 address between the brackets") from None
    if not _HOST.fullmatch(text):
        raise ValueError("should have a host name or IP address before the port (IPv6 in brackets)")
    return text


Duration = Annotated[float, BeforeValidator(duration, json_schema_input_type=str | float)]
Size = Annotated[int, BeforeValidator(size, json_schema_input_type=str | int)]
Count = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Name = Annotated[str, AfterValidator(name)]
TargetName = Annotated[str, AfterValidator(target_name)]
Network = Annotated[str, AfterValidator(network)]
HostName = Annotated[str, AfterValidator(host_name)]
ProtocolName = Annotated[str, AfterValidator(protocol), WithJsonSchema({"type": "string", "enum": list(PROTOCOLS)})]
Line = Annotated[str, AfterValidator(line_of_text)]
Texts = Annotated[tuple[str, ...], BeforeValidator(one_or_many, json_schema_input_type=str | tuple[str, ...])]
FilePatterns = Annotated[
    tuple[Annotated[str, AfterValidator(file_pattern)], ...],
    BeforeValidator(one_or_many, json_schema_input_type=str | tuple[str, ...]),
]
Addresses = Annotated[
    tuple[Address, ...], BeforeValidator(one_or_many, json_schema_input_type=str | tuple[str, ...])
]
