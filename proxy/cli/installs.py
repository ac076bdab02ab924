"""Which install this is: ``tidegate`` is the client, ``tidegate[server]`` runs a gateway, ``tidegate[demo]`` more.

What belongs to which is said once, in ``pyproject.toml``, and read here from the installed package itself. Called
by the commands that are not the client's, before they import anything of theirs. Standard library only.
"""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution, requires

from proxy.cli.failures import Failed

PACKAGE = "tidegate"
NAMED = 3
"""Missing packages that are named, at most."""
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?")
_EXTRA = re.compile(r"""\bextra\s*==\s*['"]([^'"]+)['"]""")


def needs(extra: str, command: str) -> None:
    """Return where everything of ``extra`` is installed; else ``Failed``: what is missing, and how to get it."""
    missing = [each for each in required(extra) if not _installed(each)]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        raise Failed(
            f"`tidegate {command}` needs what is not installed here: {', '.join(missing[:NAMED])}{more}",
            hint=f"pip install '{PACKAGE}[{extra}]', or in Tidegate's folder: pip install '.[{extra}]'",
        )


def required(extra: str) -> Iterator[str]:
    """The names of the packages that ``extra`` adds, those of other extras that it names among them."""
    try:
        lines = requires(PACKAGE) or ()
    except PackageNotFoundError:  # run from its folder: what is missing shows itself
        return
    yield from _of(extra, list(lines))


def _of(extra: str, lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        wanted, named = _EXTRA.search(line), _REQUIREMENT.match(line)
        if not (wanted and named and wanted[1] == extra):
            continue
        if named[1] != PACKAGE:
            yield named[1]
            continue
        for other in (named[2] or "").split(","):
            if other.strip() != extra:
                yield from _of(other.strip(), lines)


def _installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
