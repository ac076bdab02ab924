"""Where things lie in the recordings' folder. Names only, and the folders' modes; called by everything here.

    2026/11/24/sess-01jd….tgr          a sealed recording, or the sealed part of a live one (``key`` is this, bare)
    live/<owner>/sess-01jd….j000002    a window of a live session's journal
    live/<owner>/lock                  held (flock(2)) as long as the process that owns the folder lives
    live/sealing                       held while somebody seals what dead processes left

Folders are 0700, files 0600.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from proxy.recording.container import SUFFIX

LIVE = "live"
LOCK = "lock"
SEALING = "sealing"
_SESSION = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_KEY = re.compile(r"\d{4}/\d\d/\d\d/([a-z0-9][a-z0-9-]{0,127})")
_WINDOW = re.compile(r"([a-z0-9][a-z0-9-]{0,127})\.j(\d{6,9})")


def key_of(session: str, now: float) -> str:
    """The key of a session that begins at ``now`` (epoch seconds): its UTC day, then its id."""
    if not _SESSION.fullmatch(session):
        raise ValueError(f"not a session's id: {session!r}")
    return f"{datetime.fromtimestamp(now, UTC):%Y/%m/%d}/{session}"


def session_of(key: str) -> str:
    """The session's id. ``FileNotFoundError`` for what is no key, and so might lead out of the folder."""
    found = _KEY.fullmatch(key)
    if not found:
        raise FileNotFoundError(key)
    return found[1]


def container(root: Path, key: str) -> Path:
    """The file of a key."""
    session_of(key)
    return root / f"{key}{SUFFIX}"


def window_name(session: str, number: int) -> str:
    """The name of a session's window, numbered from 1."""
    return f"{session}.j{number:06}"


def owners(root: Path) -> list[Path]:
    """The folders of live and of dead processes."""
    live = root / LIVE
    return sorted(each for each in live.iterdir() if each.is_dir()) if live.is_dir() else []


def windows(root: Path, session: str) -> list[Path]:
    """The windows of a session, in order."""
    found = [each for owner in owners(root) for each in windows_in(owner).get(session, ())]
    return sorted(found, key=lambda path: path.suffix)


def windows_in(owner: Path) -> dict[str, list[Path]]:
    """Session -> its windows in one process's folder, in order. Empty when the folder is gone."""
    found: dict[str, list[Path]] = {}
    for path in sorted(_files(owner)):
        matched = _WINDOW.fullmatch(path.name)
        if matched:
            found.setdefault(matched[1], []).append(path)
    return found


def _files(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except FileNotFoundError:
        return
