"""The terminal one sits at, while something else is shown in it. Knows no recording.

What is shown ends its lines itself, so the terminal adds nothing; and what is typed meanwhile is not echoed, and
thrown away at the end: a terminal that answers a question types, too.
"""

import contextlib
import sys
import termios
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from proxy.cli.replaying import Frame
from proxy.recording.terminal import Screened

SHOWN_AT_MOST = 0.2
"""Seconds after which what was written is seen, when no pause comes first."""


def play(frames: Iterable[Frame]) -> None:
    """Write what is said when it is said. Ctrl-C ends it."""
    flushed = time.monotonic()
    for wait, words in frames:
        if wait > 0 or time.monotonic() - flushed > SHOWN_AT_MOST:
            sys.stdout.flush()
            time.sleep(max(wait, 0.0))
            flushed = time.monotonic()
        say(words)
    sys.stdout.flush()


def say(words: str) -> None:
    """Write, whatever the terminal's character set is."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(words.encode(encoding, "replace").decode(encoding))


@contextmanager
def shown_raw(screened: Screened) -> Iterator[None]:
    """Standard output prints what it gets and echoes nothing, where it is a terminal. However this is left, the
    terminal is as it was, and paints as usual, whatever of ``screened`` was written."""
    try:
        descriptor = sys.stdout.fileno()
        before = termios.tcgetattr(descriptor)
    except (OSError, termios.error):  # no terminal
        yield
        return
    raw = termios.tcgetattr(descriptor)
    raw[1] &= ~termios.OPOST
    raw[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(descriptor, termios.TCSADRAIN, raw)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.write(screened.leave())
            sys.stdout.flush()
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
