"""Who a target runs as, and which folders that user can get to.

PostgreSQL refuses to run as root and a shell must not, so where we are root a target runs as an unprivileged user.
No user is added to the machine and no folder above ours is opened to make that work. The shells' user is never the
database's, whose data it could read then. Called by ``postgres``, ``target``, ``beside`` and ``box``.
"""

import os
import pwd
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from proxy.cli.failures import USAGE, Failed

# Accounts that own nothing of value, on one system or another. PostgreSQL's own is everything in the machine's
# PostgreSQL, so no shell gets it.
FOR_SHELLS = ("nobody", "games", "bin")
FOR_DATABASE = ("postgres", "games", "bin")
# Survives a reboot, unlike the usual temporary folder; whoever passes --dir expects to find the world again.
ELSEWHERE = Path("/var/tmp")  # noqa: S108 - only ever used through mkdtemp


@dataclass(frozen=True, slots=True)
class RunAs:
    """Who a target runs as. ``uid`` None: whoever we are."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def for_shells(cls) -> Self:
        """We ourselves, or, where we are root, an unprivileged user of the machine."""
        return cls._first_of(cls._known(FOR_SHELLS))

    @classmethod
    def for_database(cls) -> Self:
        """The same, and another one than for shells: initdb wants one that has a name."""
        shells = next(cls._known(FOR_SHELLS), None)
        return cls._first_of(each for each in cls._known(FOR_DATABASE) if shells is None or each.uid != shells.uid)

    @classmethod
    def _first_of(cls, candidates: Iterator[Self]) -> Self:
        if os.geteuid() != 0:
            return cls()
        for each in candidates:
            return each
        raise Failed(
            "no target runs as root, and this machine has no two unprivileged users to run them as",
            hint="run the demo as an ordinary user",
        )

    @classmethod
    def _known(cls, names: Sequence[str]) -> Iterator[Self]:
        for name in names:
            with suppress(KeyError):
                entry = pwd.getpwnam(name)
                if entry.pw_uid != 0:
                    yield cls(entry.pw_uid, entry.pw_gid)

    def own(self, path: Path) -> None:
        """Give ``path`` to that user: a link itself, not what it points to. Its folder must be ours."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def popen(self) -> dict[str, Any]:
        """Arguments for ``subprocess`` that make the child that user, with no groups of ours."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def reachable_by(run_as: RunAs, folder: Path) -> bool:
    """Whether that user may pass through ``folder`` and everything above it (by mode bits: no list is needed)."""
    if run_as.uid is None:
        return True
    return all(_passable(run_as, path.stat()) for path in (folder, *folder.resolve().parents))


def reachable_folder(run_as: RunAs, wished: Path) -> Path:
    """``wished``, made if need be; where that user cannot get there, a link to a folder where it can.

    Opening the folders above (a home directory, say) to everyone would be the worse answer.
    """
    if wished.exists():
        return _ours(wished.resolve())
    if wished.is_symlink():  # what it pointed to has been tidied away
        wished.unlink()
    wished.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    if reachable_by(run_as, wished.parent):
        wished.mkdir()
        wished.chmod(0o755)  # whatever the umask
        return wished.resolve()
    place = Path(tempfile.mkdtemp(prefix="tidegate-demo-", dir=ELSEWHERE if ELSEWHERE.is_dir() else None))
    place.chmod(0o711)
    wished.symlink_to(place, target_is_directory=True)
    return place


def _ours(place: Path) -> Path:
    if place.stat().st_uid != os.geteuid():
        raise Failed(f"{place} belongs to somebody else", hint="choose another --dir", code=USAGE)
    return place


def _passable(run_as: RunAs, status: os.stat_result) -> bool:
    if status.st_uid == run_as.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == run_as.gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)
