"""Secrets: the file holds only references to them, and what they resolve to never prints.

``SecretReference`` is what a model keeps; ``resolve`` is called by whoever builds the object that needs the secret,
as late as possible; ``Secret`` carries the result.
"""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from gateway_config.values import TextValue

MAX_SECRET = 64 * 1024
"""Bytes: a password or a key in PEM; more is a wrong file."""

_ADVICE = (
    'should be a reference, never the secret itself: write "env:NAME" (a variable of the gateway\'s environment) '
    'or "file:PATH" (a file that not everyone may read; relative to the folder of this file)'
)


class Unresolved(Exception):
    """A reference that leads to no usable secret. The message names the reference, never a value."""


class Secret:
    """A secret's text. Only ``reveal`` gives it; it prints as ``***`` and cannot be pickled.

    ``proxy.core`` has its own twin of it, since neither side may import the other."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be written anywhere")


@dataclass(frozen=True, slots=True)
class SecretReference(TextValue):
    """Where a secret is: ``env:NAME`` or ``file:PATH``."""

    kind: Literal["env", "file"]
    target: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.target}"

    @classmethod
    def parse(cls, text: str) -> "SecretReference":
        kind, colon, target = text.partition(":")
        if not colon or kind not in ("env", "file") or not target or not target.isprintable():
            raise ValueError(_ADVICE)
        if kind == "env" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", target):
            raise ValueError("should name an environment variable after env: (letters, digits and _)")
        return cls(cast("Literal['env', 'file']", kind), target)


def resolve(reference: SecretReference, base: Path, environ: Mapping[str, str] | None = None) -> Secret:
    """The secret, read now. ``base`` is the folder that ``file:`` paths are relative to (``Config.base``);
    ``environ`` is the process's own unless given. ``Unresolved`` when it is missing, empty or open to everyone."""
    if reference.kind == "env":
        text = (os.environ if environ is None else environ).get(reference.target, "")
        if not text:
            raise Unresolved(f"{reference}: the environment variable is not set, or empty")
        return Secret(text)
    return Secret(_text_of_file(reference, base / reference.target))


def _text_of_file(reference: SecretReference, path: Path) -> str:
    try:
        with path.open("rb") as file:
            _check_guarded(reference, os.fstat(file.fileno()))
            data = file.read(MAX_SECRET + 1)
    except OSError as error:
        raise Unresolved(f"{reference}: {error.strerror or 'cannot be read'}") from None
    if len(data) > MAX_SECRET:
        raise Unresolved(f"{reference}: is larger than {MAX_SECRET} bytes")
    try:
        # One line end at the end of the file is the editor's, not the password's.
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise Unresolved(f"{reference}: is not UTF-8 text") from None
    if not text:
        raise Unresolved(f"{reference}: the file is empty")
    return text


def _check_guarded(reference: SecretReference, status: os.stat_result) -> None:
    """Checked on the open file, so that the file that was checked is the one that is read."""
    if not stat.S_ISREG(status.st_mode):
        raise Unresolved(f"{reference}: is not a regular file")
    if open_to_everyone(status):
        raise Unresolved(f"{reference}: everyone on this machine may read or change it; chmod o-rwx it")


def open_to_everyone(status: os.stat_result) -> bool:
    """Whether users other than the owner and the group may read or write the file."""
    return bool(status.st_mode & (stat.S_IROTH | stat.S_IWOTH))
