"""A password file of libpq (manual, 34.16) with one line, whose password is a token.

It replaces and removes nothing but what ``tidegate passfile`` has written: people keep passwords in such files. No
mark is put into it, since not every client skips comments: it is known by its line. Called by
``commands.connecting``.
"""

import os
import re
import stat
from pathlib import Path

from proxy.cli.failures import USAGE, Failed
from proxy.cli.home import write_private

TOKEN = re.compile(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+\n?", re.ASCII)
MOST = 65_536


class PassFile:
    """The file at ``path``, for what its line begins with: ``entry``, which is all but the token."""

    def __init__(self, path: Path, entry: str) -> None:
        self._path = path
        self._entry = entry
        self._written = ""

    def write(self, token: str) -> None:
        """Put ``token`` there; ``Failed``, and nothing is changed, where something else is, at first or by now."""
        found = self._read()
        if self._written and found not in ("", self._written):
            raise Failed(f"{self._path} has been changed by somebody else", hint="it is left as it is")
        if not self._written and not self._replaceable(found):
            hint = "choose another --file, or take this one away"
            raise Failed(f"{self._path} holds something else", hint=hint, code=USAGE)
        line = f"{self._entry}{token}\n"
        try:
            write_private(self._path, line)
        except OSError as error:
            raise Failed(f"{self._path} cannot be written: {error.strerror}") from None
        self._written = line

    def remove(self) -> None:
        """Take it away, if it is still what was written last."""
        try:
            found = self._read()
        except Failed:
            return
        if found and found == self._written:
            self._path.unlink(missing_ok=True)

    def _replaceable(self, found: str) -> bool:
        """Nothing is lost with an earlier token for the very same place."""
        before, _, token = found.rpartition(":")
        return not found or (f"{before}:" == self._entry and TOKEN.fullmatch(token) is not None)

    def _read(self) -> str:
        """What is in it; "" where there is no such file. A link is not followed: it would be what is replaced."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise Failed(f"{self._path} cannot be read: {error.strerror}", code=USAGE) from None
        with os.fdopen(file, "r", encoding="utf-8", errors="replace") as opened:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise Failed(f"{self._path} is not a file", code=USAGE)
            return opened.read(MOST)
