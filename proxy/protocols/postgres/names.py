"""What names mean on the server: prepared statements and portals, also while it has not answered yet. Pure; filled
by ``frontend``, settled by ``pending``.

A client may send on without waiting, so whether a name now means the old thing or the new is sometimes not known
yet: ``Parse`` of a name in use fails and leaves the old one, and everything after an error is discarded up to the
Sync. A record that simply believed the last message could be made to show a harmless text for a harmful statement.
So each change stays *unsettled* until answered, keeps what was before it, and is withdrawn when it failed. Within
one group (up to the Sync) the newest is right: if it had failed, nothing after it would run.
Source: PostgreSQL manual, chapter "Frontend/Backend Protocol", sections "Extended Query" and "Pipelining".
"""

from collections.abc import Collection, Iterator
from typing import Generic, NamedTuple, TypeVar

from proxy.core.records import Parameter
from proxy.protocols.postgres.keeping import Share

NAME_MOST = 63
"""The server cuts names off here (NAMEDATALEN - 1): two names that differ only behind are one."""
BACK_MOST = 100
"""So many of what a name stood for before are looked at: a client may send as many without waiting, and then use
the name as often."""
ELSEWHERE = b"/* not known: prepared or declared elsewhere, for example by a function */"
"""The text of what runs under a name that nobody told us of."""


class Named:
    """Something a name stands for. ``gone``: it stands for nothing any more; ``everything``: nor does any name of
    the groups before. ``share``: of the memory that may be kept."""

    __slots__ = ("everything", "gone", "group", "previous", "settled", "share", "withdrawn")

    def __init__(self, group: int) -> None:
        self.group = group
        self.settled = False
        self.withdrawn = False
        self.gone = False
        self.everything = False
        self.previous: Named | None = None
        self.share: Share | None = None


class Usual(NamedTuple):
    """A Bind and what followed it, but for its values: ``head`` are the bytes between the statement's name and the
    values, ``kinds`` is what each value is (type oid and format), ``tail`` are the bytes behind them, of which
    ``messages`` are no longer of the Bind; ``formats``: the result formats."""

    head: bytes
    kinds: tuple[tuple[int, int], ...]
    tail: bytes
    messages: int
    formats: tuple[int, ...]


class Prepared(Named):
    """A prepared statement. ``ref`` is its StatementPrepared record; ``secrets`` the numbers of parameters never
    kept; ``effect`` is what running it does to names, see ``texts.effect``; ``tags`` how its command tag begins,
    () where nobody asked yet, and ``inner`` that of what it prepares or declares; ``text`` is only kept where those
    or decisions need it; ``usual`` is how it was bound last, where ``express`` did that: forget it with the types
    it was read by."""

    __slots__ = (
        "copies",
        "description",
        "digest",
        "effect",
        "inner",
        "length",
        "name",
        "ref",
        "secrets",
        "tags",
        "text",
        "types",
        "usual",
    )

    def __init__(self, group: int, ref: int = 0, name: bytes = b"", types: tuple[int, ...] = ()) -> None:
        super().__init__(group)
        self.ref = ref
        self.name = name
        self.types = types
        self.secrets: Collection[int] = ()
        self.effect: tuple[bytes, bytes] = (b"", b"")
        self.length = 0
        self.digest = ""
        self.copies = False
        self.tags: tuple[bytes, ...] = ()
        self.inner: tuple[bytes, ...] = ()
        self.text = b""
        self.description = b""
        self.usual: Usual | None = None


class Portal(Named):
    """A bound statement. ``prepared`` is None where it is not known for certain; ``text`` says what is known then,
    ``perhaps`` are the refs of what it may be; ``formats`` are the result format codes of its Bind as sent."""

    __slots__ = ("description", "formats", "name", "parameters", "perhaps", "prepared", "statement_name", "text")

    def __init__(self, group: int, name: bytes = b"") -> None:
        super().__init__(group)
        self.name = name
        self.prepared: Prepared | None = None
        self.statement_name = b""
        self.text = ELSEWHERE
        self.perhaps: tuple[int, ...] = ()
        self.parameters: tuple[Parameter, ...] = ()
        self.formats: tuple[int, ...] = ()
        self.description = b""


N = TypeVar("N", bound=Named)


class Names(Generic[N]):
    """The things of one kind, by name. A server's own table, as far as it can be known from outside. ``things`` is
    read by ``express`` alone, for speed, and changed by nobody else."""

    __slots__ = ("things",)

    def __init__(self) -> None:
        self.things: dict[bytes, N] = {}

    def __len__(self) -> int:
        return len(self.things)

    def __iter__(self) -> Iterator[bytes]:
        return iter(tuple(self.things))

    def get(self, name: bytes) -> N | None:
        """The newest thing of that name, settled or not; None when nothing is known."""
        thing = self.things.get(name)
        if thing is not None and thing.withdrawn:
            return self._unwind(name, thing)
        return thing

    def _unwind(self, name: bytes, thing: N) -> N | None:
        back: Named | None = thing
        while back is not None and back.withdrawn:
            back = back.previous
        if back is None:
            del self.things[name]
            return None
        self.things[name] = back  # type: ignore[assignment]
        return back  # type: ignore[return-value]

    def put(self, name: bytes, thing: N) -> None:
        """``name`` may stand for ``thing`` from here on; what it stood for is kept until that is settled."""
        thing.previous = self.get(name)
        self.things.pop(name, None)  # so that the order of the table is that of the groups
        self.things[name] = thing

    def settle(self, name: bytes, thing: N) -> None:
        """The server did it."""
        thing.settled = True
        thing.previous = None
        if thing.gone:
            if thing.everything:
                self.forget(thing.group - 1)
            elif self.things.get(name) is thing:
                del self.things[name]

    def withdraw(self, name: bytes, thing: N, ended: bool = False) -> None:
        """The server did not do it. ``ended``: what was before is gone all the same."""
        thing.withdrawn = True
        if ended:
            thing.previous = None
        self.get(name)

    def forget(self, up_to: int) -> None:
        """Everything of groups up to ``up_to`` is gone: portals at the end of a transaction, and what statements
        that close all or deallocate all find."""
        things = self.things
        while things:
            name = next(iter(things))
            if things[name].group > up_to:
                return
            del things[name]


def certain(thing: Named, group: int) -> bool:
    """Whether what runs in ``group`` under that name can only be ``thing``."""
    return thing.settled or thing.group == group


def candidates(thing: Prepared) -> list[Prepared]:
    """What a name may stand for: ``thing`` and what was before it, back to the last settled one. Where that is far
    back, the last of what is found stands for what was not looked at (``ref`` 0)."""
    found: list[Prepared] = []
    back: Named | None = thing
    for _ in range(BACK_MOST):
        if not isinstance(back, Prepared):
            return found
        if not back.withdrawn and not back.gone:
            found.append(back)
        if back.settled:
            return found
        back = back.previous
    return [*found, Prepared(thing.group)]
