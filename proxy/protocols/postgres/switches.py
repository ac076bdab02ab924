"""The startup parameter ``options``: a server's command line in one string. Pure; called by ``startup``.

Source: PostgreSQL manual, section "Start-up" of the protocol chapter ("separate individual arguments with
whitespace; a backslash escapes"), the server's ``pg_split_opts`` and ``ParseLongOption``.
"""

WHITESPACE = frozenset(" \t\n\r\v\f")


def words(text: str) -> list[str]:
    """Split at whitespace; a backslash takes the next character as it is. A lone backslash at the end is one."""
    found: list[str] = []
    word: list[str] | None = None
    escaped = False
    for each in text:
        if not escaped and each in WHITESPACE:
            if word is not None:
                found.append("".join(word))
            word = None
            continue
        word = [] if word is None else word
        if not escaped and each == "\\":
            escaped = True
            continue
        escaped = False
        word.append(each)
    if word is not None:
        found.append("".join(word))
    return found


def switches(text: str) -> list[tuple[str, str]]:
    """The settings in ``text``: (name, value) pairs in order. ``ValueError`` for every other switch or argument."""
    found: list[tuple[str, str]] = []
    rest = iter(words(text))
    for word in rest:
        if word.startswith("--") and len(word) > 2:
            setting = word[2:]
        elif word == "-c":
            setting = next(rest, "")
        elif word.startswith("-c"):
            setting = word[2:]
        else:
            raise ValueError("not a setting")
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise ValueError("a setting without a value")
        found.append((name.replace("-", "_"), value))
    return found
