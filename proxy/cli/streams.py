"""Standard input, output and error as the shell gave them: closed, full, or of another character set.

``main`` alone calls this, around every command, so that no command has to know: what cannot be written ends in
plain words and an exit code, and a reader who has gone (``| head``) ends it without a word. Standard library only.
"""

import errno
import io
import os
import sys
from typing import TextIO


class Unwritten(OSError):
    """Standard output does not take what was written: ``errno`` and ``strerror`` say why."""


class Output(io.TextIOWrapper):
    """Standard output, whose failures can be told from those of other files."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise Unwritten(error.errno, error.strerror) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise Unwritten(error.errno, error.strerror) from None


class Closed(io.TextIOBase):
    """Standard output where there is none: it says so when something is written, and not before."""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        raise Unwritten(errno.EBADF, "it is closed")


def settle() -> None:
    """Have all three streams there. A closed one's number is taken: else the next file or socket that is opened got
    it, and our words with it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _take(number)
            setattr(sys, name, Closed() if name == "stdout" else _nothing("r" if name == "stdin" else "w"))
    if type(sys.stdout) is io.TextIOWrapper:
        encoding, lines, through = sys.stdout.encoding, sys.stdout.line_buffering, sys.stdout.write_through
        # "replace": for a terminal of Latin 1, and for half a character in a name
        sys.stdout = Output(sys.stdout.detach(), encoding, "replace", None, lines, through)


def _nothing(mode: str) -> TextIO:
    return open(os.devnull, mode)  # type: ignore[return-value]  # noqa: PTH123 - for as long as we live


def _take(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)


def drop(stream: TextIO) -> None:
    """Forget what cannot be written to it: Python would try once more at its end, and complain."""
    if isinstance(stream, io.TextIOWrapper):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def settle_errors() -> None:
    """Write what waits for standard error, or forget it: there is nobody left to tell."""
    try:
        sys.stderr.flush()
    except OSError:
        drop(sys.stderr)
