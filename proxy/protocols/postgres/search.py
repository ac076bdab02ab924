"""What a long text comes to: its statements, the secrets in them, what they do to names. Pure; called in another
process (``core.steps.Think``), where it may take its time; ``texts`` keeps what was found for as long as the
message is handled.
"""

import contextlib

from proxy.protocols.postgres.encoding import Refused
from proxy.protocols.postgres.redact import redact, secret_parameters, sensitive
from proxy.protocols.postgres.texts import PLAIN, Found, Searched, TextSetting
from proxy.protocols.postgres.verbs import (
    NO_EFFECT,
    WATCHED,
    Unclear,
    copies,
    effect,
    first_words,
    prepared_tags,
    tags_of,
)

LONGEST_NAME = 4096


def search(setting: TextSetting, whole: bool, text: bytes) -> Searched:
    """What is found in the text of a Query (``whole``) or a Parse, in the client's encoding."""
    encoding = setting.encoding
    try:
        encoding.check(text, setting.doubt)
        statements = encoding.cut(text, setting.limits.max_statements) if whole else [encoding.utf8(text)]
        for each in statements:
            _check_names(each)
        suspect = _suspect(statements, setting)
    except Refused as error:
        return Searched((str(error), error.hint))
    kinds = {each: _found(each, each in suspect, whole, setting) for each in set(statements)}
    found = {number: kinds[each] for number, each in enumerate(statements) if kinds[each] is not PLAIN}
    return Searched(
        None, _places(encoding.utf8(text), statements) if encoding.utf8(text) is text else tuple(statements), found
    )


def _places(text: bytes, statements: list[bytes]) -> tuple[tuple[int, int], ...]:
    """Where each of the statements begins and ends."""
    places: list[tuple[int, int]] = []
    end = 0
    for each in statements:
        begin = text.index(each, end)
        end = begin + len(each)
        places.append((begin, end))
    return tuple(places)


def _suspect(statements: list[bytes], setting: TextSetting) -> set[bytes]:
    """Those that may hold secrets. ``Refused`` where they are more than can be searched: kept as they are they
    could give a secret away, kept in part they could hide what ran."""
    suspect = {each for each in set(statements) if sensitive(each, setting.hidden)}
    size, most = sum(len(each) for each in statements if each in suspect), setting.limits.max_text
    if size > most:
        raise Refused(
            f"statements of {size} bytes that may hold a secret are not passed on, since they are too long to "
            f"be recorded without it: {most} bytes at most",
            "send their values as parameters, or with COPY",
        )
    return suspect


def _found(statement: bytes, suspect: bool, whole: bool, setting: TextSetting) -> Found:
    """Of one statement. Its command tag is asked for where it gets a name."""
    shown, secrets = None, PLAIN.secrets
    if suspect:
        shown = redact(statement, setting.encoding.escapes, setting.hidden, setting.doubt)
        secrets = secret_parameters(statement, setting.encoding.escapes, setting.hidden)
        shown = None if shown is statement else shown
    does = effect(statement)
    tags = tags_of(statement) if does != NO_EFFECT or not whole else ()
    inner = prepared_tags(statement) if does[0] == b"PREPARE" else ()
    found = Found(shown, secrets, suspect, does, copies(statement), tags, inner)
    return PLAIN if found == PLAIN else found


def _check_names(statement: bytes) -> None:
    """``Refused`` for a name that would take long to be read, again and again; the server keeps 63 bytes of it."""
    if len(statement) > LONGEST_NAME and statement[0] in WATCHED:
        with contextlib.suppress(Unclear):
            if any(len(word) > LONGEST_NAME for word in first_words(statement, 4)):
                raise Refused(f"a name of more than {LONGEST_NAME} bytes", "63 bytes of a name are kept")
