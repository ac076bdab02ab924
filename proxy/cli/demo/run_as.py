"""Who a target runs as, and which folders that user can get to.

PostgreSQL refuses to run as root and a shell must not, so where we are root a target runs as an unprivileged user.
No user is added to the machine and no folder above ours is opened to make that work. Called by ``builds``,
``postgres``, ``beside`` and ``box``.
"""

import os
import pwd
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

USERS = ("postgres", "nobody")
# Survives a reboot, unlike the usual temporary folder; whoever passes --dir expects to find the world again.
ELSEWHERE = Path("/var/tmp")  # noqa: S108 - only ever used through mkdtemp


@dataclass(frozen=True, slots=True)
class RunAs:
    """Who a target runs as. ``uid`` None: whoever we are."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def unprivileged(cls, users: Sequence[str] = USERS) -> Self:
        """We ourselves, or, where we are root, the first of ``users`` that the machine has."""
        if os.geteuid() != 0:
            return cls()
        for name in users:
            with suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid)
        raise RuntimeError("a target does not run as root, and there is no user `nobody` to run it as")

    def own(self, path: Path) -> None:
        """Give ``path`` to that user."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

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
        return wished.resolve()
    wished.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    if reachable_by(run_as, wished.parent):
        wished.mkdir(mode=0o755)
        return wished.resolve()
    place = Path(tempfile.mkdtemp(prefix="tidegate-demo-", dir=ELSEWHERE if ELSEWHERE.is_dir() else None))
    place.chmod(0o711)
    wished.symlink_to(place, target_is_directory=True)
    return place


def _passable(run_as: RunAs, status: os.stat_result) -> bool:
    if status.st_uid == run_as.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == run_as.gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)
