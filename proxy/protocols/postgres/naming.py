"""How what a client sends changes what names mean, and what a name means when it is used. Pure; called by
``simple`` and ``extended``. See ``names`` for why an answer is waited for before a change is believed.
"""

from proxy.core.errors import PeerError
from proxy.core.records import StatementPrepared
from proxy.core.steps import Observe, Step
from proxy.protocols.postgres.entries import Change
from proxy.protocols.postgres.keeping import SECRET, TYPE
from proxy.protocols.postgres.names import Named, Names, Portal, Prepared, candidates, certain
from proxy.protocols.postgres.pending import Pending
from proxy.protocols.postgres.reading import EVERY
from proxy.protocols.postgres.verbs import NO_EFFECT


def prepare(
    pending: Pending, name: bytes, text: bytes, types: tuple[int, ...], steps: list[Step], keep: bool = False
) -> Prepared:
    """``name`` shall stand for ``text`` (UTF-8): the record, and the unsettled thing."""
    texts = pending.texts
    shown, length, digest = texts.shown(text)
    prepared = prepare_plain(pending, name, shown, types, steps)
    prepared.length, prepared.digest = length, digest
    prepared.secrets = texts.secrets(text)
    if name and prepared.secrets:
        texts.hide(name)
    prepared.effect, prepared.copies = texts.does(text)
    if name:
        prepared.tags = texts.tags(text)
    if prepared.effect[0] == b"PREPARE":
        prepared.inner = texts.inner_tags(text)
    elif prepared.effect[0] == b"DECLARE":
        prepared.inner = (b"SELECT",)
    if keep:
        prepared.text = shown
    secrets = 0 if isinstance(prepared.secrets, range) else len(prepared.secrets)
    prepared.share = pending.kept.share(TYPE * len(types) + SECRET * secrets + len(prepared.text))
    return prepared


def prepare_plain(
    pending: Pending, name: bytes, text: bytes, types: tuple[int, ...], steps: list[Step]
) -> Prepared:
    """The same for a text that is known to be short, to hide nothing and to change no names."""
    _bound(pending)
    pending.refs += 1
    prepared = Prepared(pending.group, pending.refs, name, types)
    steps.append(Observe(StatementPrepared(pending.refs, name, text, types)))
    if not name:
        prepared.text = text  # there is only one such, and a portal of it may need it
    pending.statements.put(name, prepared)
    return prepared


def _bound(pending: Pending) -> None:
    if len(pending.statements) >= pending.limits.max_names or len(pending.portals) >= pending.limits.max_names:
        raise PeerError("too many prepared statements or portals", code="limit")


def resolve(pending: Pending, name: bytes) -> tuple[Prepared | None, tuple[int, ...]]:
    """What ``name`` stands for when it is used now; None where that is not known, and the refs of what it may
    be."""
    prepared = pending.statements.get(name)
    if prepared is None:
        return None, ()
    if certain(prepared, pending.group):
        return (None, ()) if prepared.gone else (prepared, ())
    possible = candidates(prepared)
    if len(possible) == 1 and possible[0].ref:
        return possible[0], ()
    return None, tuple(each.ref for each in possible)


def drop(pending: Pending, name: bytes) -> Change:
    """``name`` shall stand for nothing."""
    gone = Prepared(pending.group, name=name)
    gone.gone = True
    pending.statements.put(name, gone)
    return pending.statements, name, gone


def changes_of(
    pending: Pending, what: tuple[bytes, bytes], text: bytes, steps: list[Step], known: Prepared | None = None
) -> tuple[Change, ...]:
    """What a statement does to names if it succeeds; ``what`` as ``texts.effect`` gives it. ``known``: the
    statement itself, where it was prepared and its text is recorded; ``text`` is not looked at then."""
    verb, name = what
    if verb == b"PREPARE":
        if known is None:
            prepared = prepare(pending, name, text, (), steps)
            # what runs under its name is what stands behind the AS: that prepares nothing
            prepared.effect, prepared.tags = NO_EFFECT, prepared.inner
        else:
            prepared = _same(pending, known, name)
            pending.statements.put(name, prepared)
        return ((pending.statements, name, prepared),)
    if verb == b"DECLARE":
        return (_declare(pending, name, text, steps, known),)
    if verb == b"DISCARD":
        if known.secrets if known is not None else pending.texts.secrets(text):
            pending.texts.hide(EVERY)  # it prepares a statement under a name that is not read here
        return _everything(pending, pending.statements), _everything(pending, pending.portals)
    if verb == b"DEALLOCATE":
        return (drop(pending, name) if name else _everything(pending, pending.statements),)
    return (drop_portal(pending, name) if name else _everything(pending, pending.portals),)


def _same(pending: Pending, known: Prepared, name: bytes) -> Prepared:
    """What stands for the same text under another name."""
    _bound(pending)
    same = Prepared(pending.group, known.ref, name)
    same.secrets, same.length, same.digest, same.text = known.secrets, known.length, known.digest, known.text
    same.tags = known.inner
    same.share = known.share
    return same


def drop_portal(pending: Pending, name: bytes) -> Change:
    """The same of a portal."""
    gone = Portal(pending.group, name)
    gone.gone = True
    pending.portals.put(name, gone)
    return pending.portals, name, gone


def _declare(pending: Pending, name: bytes, text: bytes, steps: list[Step], known: Prepared | None) -> Change:
    """A cursor is a portal, which an Execute may run: its text is kept as that of a prepared statement is."""
    if known is None:
        _bound(pending)
        pending.refs += 1
        known = Prepared(pending.group, pending.refs, name)
        shown, known.length, known.digest = pending.texts.shown(text)
        known.inner = (b"SELECT",)
        steps.append(Observe(StatementPrepared(pending.refs, name, shown, ())))
    portal = Portal(pending.group, name)
    portal.prepared = _same(pending, known, name)
    pending.portals.put(name, portal)
    return pending.portals, name, portal


def _everything(pending: Pending, names: Names[Prepared] | Names[Portal]) -> Change:
    """All of one kind shall be gone."""
    gone = Named(pending.group)
    gone.gone = gone.everything = True
    return names, b"", gone
