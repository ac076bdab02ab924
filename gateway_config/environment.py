"""Which environment variables may be passed on to a host: none by which a client could run code of its own there.

Pure; called by ``ssh``.
"""

import re

_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")

FORBIDDEN = (
    # what the loader and libc read
    *(
        "LD_*",
        "DYLD_*",
        "_RLD*",
        "LIBPATH",
        "SHLIB_PATH",
        "GLIBC_*",
        "MALLOC_*",
        "GCONV_PATH",
        "LOCPATH",
        "NLSPATH",
    ),
    *("HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS", "TERMINFO*", "TERMCAP", "TERMPATH", "TMPDIR"),
    # what shells read
    *("PATH", "BASH_*", "BASHOPTS", "SHELLOPTS", "ENV", "IFS", "PS4", "PROMPT_COMMAND", "CDPATH", "FPATH"),
    *("ZDOTDIR", "HOME", "SHELL", "USER", "LOGNAME", "MAIL", "XDG_*", "SSH_*", "FCEDIT", "HISTFILE"),
    # what interpreters read
    *("PYTHON*", "PERL*", "RUBY*", "GEM_*", "NODE_*", "NPM_*", "LUA_*", "PHP*", "CLASSPATH", "GUILE_*", "TCL*"),
    *("JAVA_*", "_JAVA_*", "JDK_*"),
    # programs that other programs run, and the settings of some
    *("GIT_*", "RSYNC_*", "EDITOR", "VISUAL", "PAGER", "MANPAGER", "SYSTEMD_*", "SUDO_*", "LESS*", "BROWSER"),
    *("OPENSSL_*", "SSL_*", "KRB5*", "ANSIBLE_*", "CURL_*", "VIMINIT", "EXINIT"),
)
"""Names, and beginnings of names with ``*`` behind. In lower case they are meant too: not every system tells them
apart."""


def variables(value: str) -> str:
    """A variable's name, or the beginning of one with ``*`` behind, that matches none of ``FORBIDDEN``."""
    if value == "*":
        raise ValueError(
            'should name variables: "*" would pass on those that make a host run what the client likes'
        )
    if not _PATTERN.fullmatch(value):
        raise ValueError(
            "should be a variable's name (letters, digits and _), or its beginning with one '*' behind"
        )
    found = next((each for each in FORBIDDEN if _meet(value.upper(), each)), None)
    if found:
        raise ValueError(f"would pass on {found}, by which a client can make programs on the host run its own code")
    return value


def _meet(one: str, other: str) -> bool:
    """Whether there is a name that both match."""
    if one.endswith("*") and other.endswith("*"):
        return one[:-1].startswith(other[:-1]) or other[:-1].startswith(one[:-1])
    if one.endswith("*"):
        return other.startswith(one[:-1])
    return one.startswith(other[:-1]) if other.endswith("*") else one == other
