"""A statement's text on its way into the record: from the client's encoding to UTF-8, redacted, cut into
statements, shortened. Pure; called by ``frontend`` for each statement. What would take long was found by ``search``
before.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from proxy.protocols.postgres.encoding import Encoding, Refused
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.redact import redact, redact_error, secret_parameters, sensitive
from proxy.protocols.postgres.verbs import NO_EFFECT, copies, effect, prepared_tags, tags_of

Shown = tuple[bytes, int, str]
"""Text or its prefix; its full length and SHA-256 (hex) where it is a prefix, else 0 and ""."""

REDACTED_A_STEP, BYTES_A_STEP = 4, 32
"""Bytes of a text that are redacted, and of an error that are searched, in the time of one step."""
ERROR_MOST = 2048
"""Bytes of an error's message that are kept."""
Key = tuple[bytes, tuple[bool, str], bool, int]
"""A text as the client sent it, and all else that what is found in it depends on."""


class TextSetting(NamedTuple):
    """All that how a text is read depends on: ``limits``, the ``encoding``, whether it is in ``doubt``, and the
    names of prepared statements that are ``hidden``."""

    limits: Limits
    encoding: Encoding
    doubt: bool
    hidden: tuple[bytes, ...]


class Found(NamedTuple):
    """What was found in a statement: its text as it may be ``shown`` (None: as it is), the parameters that are
    ``secrets``, whether it calls for redaction, and what ``verbs`` says of it."""

    shown: bytes | None = None
    secrets: Collection[int] = ()
    guarded: bool = False
    effect: tuple[bytes, bytes] = NO_EFFECT
    copies: bool = False
    tags: tuple[bytes, ...] = ()
    inner: tuple[bytes, ...] = ()


PLAIN = Found()


class Searched(NamedTuple):
    """What was found in a long text: why it is ``refused`` (and a hint), or its statements, each where it begins
    and ends in the text in UTF-8, or itself; and what was ``found`` in those, by number, that are not ``PLAIN``."""

    refused: tuple[str, str] | None
    pieces: tuple[tuple[int, int] | bytes, ...] = ()
    found: Mapping[int, Found] = {}


class Texts:
    """How this conversation's texts are to be read, and what of them may be shown. ``in_doubt`` says whether
    something is unanswered that may change the ``encoding``. ``brief``: a text of so many bytes is never much work;
    ``hidden``: names of prepared statements that are given secrets; ``guarded``: a text with a secret came, which
    an error may quote from now on, at once or when a statement, a portal or a setting made of it is used."""

    __slots__ = (
        "_at_hand",
        "_effort",
        "_searched",
        "brief",
        "encoding",
        "guarded",
        "hidden",
        "in_doubt",
        "limits",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.brief = min(limits.brief_text, limits.max_text)
        self.encoding = Encoding()
        self.in_doubt: Callable[[], bool] = _certain
        self.hidden: dict[bytes, None] = {}
        self.guarded = False
        self._searched: tuple[Key, Searched] | None = None
        self._at_hand: Found | None = None
        self._effort = 0

    def statements(self, text: bytes) -> Iterator[bytes]:
        """The statements of a query string, in UTF-8, not redacted yet; each is the one at hand until the next is
        asked for. ``Refused`` when there are more than can be told apart, or one that cannot be recorded."""
        searched = self._known(text)
        if searched is None:
            self.encoding.check(text, self.in_doubt())
            yield from self.encoding.cut(text, self.limits.max_statements)
            return
        for number, piece in enumerate(searched.pieces):
            self._at_hand = searched.found.get(number, PLAIN)
            yield piece if isinstance(piece, bytes) else text[piece[0] : piece[1]]
        self._at_hand = None

    def statement(self, text: bytes) -> bytes:
        """The text of a Parse, likewise."""
        searched = self._known(text)
        if searched is None:
            self.encoding.check(text, self.in_doubt())
        else:
            self._at_hand = searched.found.get(0, PLAIN)
        return self.encoding.utf8(text)

    # -- long texts ----------------------------------------------------------------------------------------------

    def heavy(self, text: bytes, whole: bool) -> bool:
        """Whether looking at a query string (``whole``) or a Parse's text may take so long that it has to be done
        elsewhere first, and is not done: it has many statements, or may hold secrets, or is very long."""
        size = len(text)
        if size <= self.brief or self._known(text) is not None:
            return False
        if size > self.limits.think_text:
            return True
        return (whole and text.find(b";", 0, -1) >= 0) or sensitive(text, self.hidden)

    def setting(self) -> TextSetting:
        """How a text is to be read now, for a search elsewhere."""
        return TextSetting(self.limits, self.encoding.same(), self.in_doubt(), tuple(self.hidden))

    def learner(self, text: bytes) -> Callable[[Any], None]:
        """Takes what a search of ``text`` found, which is known from then on until ``forget``."""
        key = self._key(text)

        def learn(searched: Searched) -> None:
            self._searched = key, searched

        return learn

    def _key(self, text: bytes) -> Key:
        return text, self.encoding.key(), self.in_doubt(), len(self.hidden)

    def _known(self, text: bytes) -> Searched | None:
        """What was found in ``text``. ``Refused`` where that was that it must not pass."""
        if self._searched is None or self._searched[0] != self._key(text):
            return None
        searched = self._searched[1]
        if searched.refused is not None:
            raise Refused(*searched.refused)
        return searched

    def effort(self) -> int:
        """How many steps' work has been done on secrets since this was asked last."""
        effort, self._effort = self._effort, 0
        return effort

    def forget(self) -> None:
        """The long text that was searched is through."""
        self._searched = self._at_hand = None

    # -- records -------------------------------------------------------------------------------------------------

    def secrets(self, statement: bytes) -> Collection[int]:
        """The numbers of the parameters whose values are not to be kept."""
        found = self._at_hand
        return secret_parameters(statement, self.encoding.escapes, self.hidden) if found is None else found.secrets

    def shown(self, statement: bytes) -> Shown:
        """What a record holds of the text (already UTF-8) of a statement that runs: all of it, redacted."""
        found = self._at_hand
        if found is not None:
            self.guarded = self.guarded or found.guarded
            return statement if found.shown is None else found.shown, 0, ""
        guarded = sensitive(statement, self.hidden)
        self.guarded = self.guarded or guarded
        if guarded:
            self._effort += len(statement) // REDACTED_A_STEP
            statement = redact(statement, self.encoding.escapes, self.hidden, self.in_doubt())
        return statement, 0, ""

    def does(self, statement: bytes) -> tuple[tuple[bytes, bytes], bool]:
        """What it does to names (``verbs.effect``), and whether it copies from or to the client."""
        found = self._at_hand
        return (effect(statement), copies(statement)) if found is None else (found.effect, found.copies)

    def tags(self, statement: bytes) -> tuple[bytes, ...]:
        """See ``verbs.tags_of``."""
        return tags_of(statement) if self._at_hand is None else self._at_hand.tags

    def inner_tags(self, statement: bytes) -> tuple[bytes, ...]:
        """See ``verbs.prepared_tags``."""
        return prepared_tags(statement) if self._at_hand is None else self._at_hand.inner

    def beginning(self, text: bytes, size: int = 0) -> Shown:
        """What a record holds of a text that does not run: as much as takes no time; without a digest, from which a
        short secret could be guessed. ``size``: of all of it, where this is only how it begins."""
        size = size or len(text)
        most = min(self.limits.max_text, self.limits.brief_text)
        kept = redact(text[:most], self.encoding.escapes, self.hidden, self.in_doubt())[:most]
        return kept, size if size > most else 0, ""

    def hide(self, name: bytes) -> None:
        """The prepared statement of that name is given secrets, by Bind or by EXECUTE."""
        self.hidden[name] = None
        if len(self.hidden) > self.limits.max_names:
            del self.hidden[next(iter(self.hidden))]

    def error(self, state: bytes, message: bytes) -> bytes:
        """What a record may hold of an error's message."""
        message = message[:ERROR_MOST]
        self._effort += len(message) // BYTES_A_STEP
        return redact_error(state, self.encoding.utf8(message), self.guarded)


def _certain() -> bool:
    """What ``in_doubt`` says where nobody asks."""
    return False
