"""Locks that hold nobody: of an id that no person of the configuration has. Pure; asked at every reload.

A lock is on an id, so it goes with somebody whose name changes and ``id`` stays. Where a name was changed without
writing the old one as ``id``, or an id was changed, the lock is left behind; nothing but this would say so.
"""

from collections.abc import Iterable, Iterator

from proxy.core.feed import Scope
from proxy.core.identity import Catalog
from proxy.core.ports import Lock


def stray_locks(catalog: Catalog, locks: Iterable[Lock]) -> Iterator[str]:
    """Yield a line for each lock of a person whose id nobody has."""
    for lock in locks:
        if lock.scope is not Scope.IDENTITY or lock.key in catalog.identities:
            continue
        called = f" ({lock.name})" if lock.name not in ("", lock.key) else ""
        line = f"the lock of user {lock.key}{called} holds nobody: nobody has the id {lock.key}"
        namesake = catalog.named(lock.name or lock.key)
        if namesake is not None:
            line += f", and {namesake.name} of now has the id {namesake.id}: lock them anew if they are meant"
        else:
            line += "; whoever was renamed needs it as their `id`"
        yield line
