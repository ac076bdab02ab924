"""The client's install without pip: a folder of links to the packages that it would bring, and nothing else.

What it brings is read from the installed package's own requirements, so what ``pyproject.toml`` says is tested.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
START = (
    "import sys; sys.path += sys.argv[1:3]; del sys.argv[1:3]\nfrom proxy.cli.main import main; sys.exit(main())"
)


@dataclass(frozen=True)
class ClientInstall:
    """``packages`` holds the links; ``environment`` is what its commands are run with."""

    packages: Path
    environment: Mapping[str, str]

    def command(self, *words: str) -> list[str]:
        """``tidegate`` by an interpreter that sees the standard library, the project and ``packages`` alone."""
        return [sys.executable, "-I", "-S", "-c", START, str(ROOT), str(self.packages), *words]

    def run(self, *words: str, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **self.environment, **variables},
        )


def link_client(folder: Path) -> list[str]:
    """Fill ``folder``; the names of what is in it."""
    names = sorted(closure("tidegate"))
    for name in names:
        for part in _parts(name):
            (folder / part.name).symlink_to(part)
    return names


def closure(name: str, extras: Iterable[str] = ()) -> set[str]:
    """A distribution and all that it requires, by their canonical names."""
    found: set[str] = set()
    waiting = [(name, frozenset(extras))]
    while waiting:
        name, asked = waiting.pop()
        if canonicalize_name(name) in found and not asked:
            continue
        found.add(canonicalize_name(name))
        waiting += [(each.name, frozenset(each.extras)) for each in _required(name, asked)]
    return found


def _required(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    for line in distribution(name).requires or ():
        each = Requirement(line)
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield each


def _parts(name: str) -> set[Path]:
    """The files and folders of a distribution right under site-packages."""
    found = distribution(name)
    tops = {each.parts[0] for each in found.files or () if each.parts[0] != ".."}
    return {Path(str(found.locate_file(top))) for top in tops if not top.endswith(".pth")}
