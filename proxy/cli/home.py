"""Where a person's log-in is kept: ``TIDEGATE_HOME/login.json`` (default ``~/.config/tidegate``), mode 0600.

Standard library only: ``tidegate token`` starts through here. The token is sent only to the API it came from.
"""

import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from proxy.cli.failures import DENIED, Failed


@dataclass(frozen=True, slots=True)
class SavedLogin:
    """Who is logged in where. ``ca`` is an absolute path, or "" for the system's authorities."""

    api: str
    user: str
    token: str = field(repr=False)
    expires: str = ""
    ca: str = ""


class Home:
    """The folder and the file in it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        named = environment.get("TIDEGATE_HOME")
        self.folder = Path(named).expanduser() if named else Path("~/.config/tidegate").expanduser()
        self.file = self.folder / "login.json"

    def load(self) -> SavedLogin | None:
        """The log-in kept here, or None. One that others may read is refused: it may be known already."""
        try:
            with self.file.open(encoding="utf-8") as opened:
                mode = os.fstat(opened.fileno()).st_mode
                text = opened.read(65536)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Failed(f"{self.file} cannot be read: {error.strerror}") from None
        if stat.S_IMODE(mode) & 0o077:
            from shlex import quote

            raise Failed(
                f"{self.file} can be read by others, so its log-in may be known to them",
                hint="tidegate logout, then tidegate login; or, if you are sure: chmod 600 "
                + quote(str(self.file)),
            )
        return self._parsed(text)

    def save(self, login: SavedLogin) -> None:
        """Keep ``login``: written whole or not at all."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.file, json.dumps(asdict(login), indent=1) + "\n")

    def forget(self) -> None:
        self.file.unlink(missing_ok=True)

    def _parsed(self, text: str) -> SavedLogin:
        names = [each.name for each in fields(SavedLogin)]
        try:
            found = json.loads(text)
            return SavedLogin(**{name: str(found[name]) for name in names})
        except (ValueError, KeyError, TypeError):
            hint = "log in again: tidegate login"
            raise Failed(f"{self.file} is not a log-in", hint=hint, code=DENIED) from None


def write_private(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` with mode 0600 from its first byte on, replacing the file at once."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(text)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
