"""What stands behind the settings: whether a secret, certificate or key is another one than it was.

A setting names a file or variable; a reload reads that again, and says for which settings it was another. Nothing
of a content is kept but a digest under a key of this process, so that nothing can be guessed from it.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from gateway_config.difference import Change, named
from gateway_config.references import SecretReference
from gateway_config.schema import Config
from gateway_config.settings import Reload, Section, reload_of

MOST = 8 * 1024 * 1024
"""Bytes of a file that are looked at; what changes after them is not noticed."""
_KEY = secrets.token_bytes(32)


class FileContent(NamedTuple):
    """What a setting led to, and when a change of it takes effect."""

    digest: bytes
    reload: Reload


def contents(config: Config, environ: Mapping[str, str] | None = None) -> dict[str, FileContent]:
    """By the path of each setting that leads to a file or variable, as ``difference`` has it. A folder has no
    content, and what cannot be read is as if it were empty. ``environ`` is the process's own unless given."""
    variables = os.environ if environ is None else environ
    found = {}
    for path, value, reload in _leading(config, "", "restart"):
        read = _read(config, value, variables)
        if read is not None:
            found[path] = FileContent(hashlib.blake2b(read, key=_KEY).digest(), reload)
    return found


def renewed(old: Mapping[str, FileContent], new: Mapping[str, FileContent]) -> list[Change]:
    """The settings that lead to something else than before."""
    return [Change(path, each.reload) for path, each in new.items() if path in old and old[path] != each]


def _leading(value: object, path: str, reload: Reload) -> Iterator[tuple[str, SecretReference | Path, Reload]]:
    """Every setting in ``value`` that leads elsewhere."""
    if isinstance(value, SecretReference | Path):
        yield path, value, reload
    elif isinstance(value, Section):
        for name, field in type(value).model_fields.items():
            yield from _leading(getattr(value, name), f"{path}.{name}" if path else name, reload_of(field))
    else:
        for name, section in (named(value) or {}).items():
            yield from _leading(section, f"{path}[{name}]", reload)


def _read(config: Config, value: SecretReference | Path, environ: Mapping[str, str]) -> bytes | None:
    if isinstance(value, SecretReference) and value.kind == "env":
        return environ.get(value.target, "").encode(errors="surrogateescape")
    file = config.base / value.target if isinstance(value, SecretReference) else config.locate(value)
    if file.exists() and not file.is_file():
        return None
    try:
        with file.open("rb") as opened:
            return opened.read(MOST)
    except OSError:
        return b""
