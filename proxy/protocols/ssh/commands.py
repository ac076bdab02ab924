"""What a command line is, and what an account may do. Pure; called by ``engine`` before anything is passed on.

A command line is the target's shell's to read, so it is a transfer only where no shell can read it in another way:
the old scp's own server command and nothing else. All others are commands.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from proxy.core.access import Decision, Outcome
from proxy.core.actions import Action, Exec, Shell, SocketTunnel, Transfer, Tunnel
from proxy.core.targets import HostPorts, SshAllowance, UnixSocket

VARIABLES_MOST = 64
VALUE_MOST = 4096
SCP_MOST = 8192
"""Bytes of a command line of scp's: longer ones are commands like any other."""

_SCP = re.compile(
    rb"scp((?: +-[vrpdqtf]{1,8}){1,8})( +--)? +"
    # No backslash in single quotes: fish would read it. Nothing after a backslash that is not visible.
    rb"((?:[A-Za-z0-9_./~*?\[\]@%+=:,-]|\\[!-~ ]|'[ -&(-\[\]-~\x80-\xff]*')+) *"
)
_QUOTED = re.compile(rb"\\(.)|'([^']*)'")
_LIVE = re.compile(rb"[*?\[]|\A~")
_PLAIN = re.compile(rb"\\.|'[^']*'")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEVER = re.compile(
    r"(?:LD|DYLD|MALLOC|RES|SSH|NODE|_?JAVA|JDK|LUA|GIT(?!_PROTOCOL\Z))_.*|(?:BASH|TERMINFO|PYTHON|PERL|RUBY|PHP|LESS).*"
    r"|GCONV_PATH|GLIBC_TUNABLES|LOCPATH|NLSPATH|HOSTALIASES|PATH|IFS|ENV|CDPATH|SHELLOPTS|PS[0-9]|PROMPT_COMMAND"
    r"|ZDOTDIR|FPATH|HOME|USER|LOGNAME|SHELL|TERMCAP|TMPDIR|CLASSPATH|(?:.*_)?(?:PAGER|EDITOR)|MANPAGER|VISUAL|BROWSER"
)
"""What makes a loader, a shell, an interpreter or a pager run something else: not even where a pattern says so."""


class ScpCommand(NamedTuple):
    """The old scp as a server: ``upload`` (-t) or not (-f). ``path`` as the shell will give it, but for what it
    expands (``live``: it has a pattern or a tilde); ``directory`` (-d): it must be one; ``recursive`` (-r)."""

    path: bytes
    upload: bool
    directory: bool
    recursive: bool
    live: bool


def scp_command(line: bytes) -> ScpCommand | None:
    """The transfer that ``line`` is for whatever shell, else None."""
    found = _SCP.fullmatch(line) if len(line) <= SCP_MOST else None
    if found is None:
        return None
    flags = found[1].replace(b" ", b"").replace(b"-", b"")
    path = found[3]
    if flags.count(b"t") + flags.count(b"f") != 1:
        return None
    bare = _QUOTED.sub(lambda each: each[1] if each[1] is not None else each[2], path)
    if not bare or (bare[:1] == b"-" and not found[2]):
        return None
    live = _LIVE.search(_PLAIN.sub(b"_", path)) is not None
    return ScpCommand(bare, b"t" in flags, b"d" in flags, b"r" in flags, live)


def classify(line: bytes) -> Action:
    """What an ``exec`` request asks for."""
    scp = scp_command(line)
    if scp is not None:
        return Transfer(scp.path.decode(errors="replace"), scp.upload)
    return Exec(line.decode(errors="replace"))


def allowed(action: Action, allowance: SshAllowance, account: str) -> Decision:
    """Whether sessions of ``account`` may do this; the reason is for the person who asked."""
    match action:
        case Exec():
            allows, what = allowance.exec, "run commands"
        case Shell():
            allows, what = allowance.shell, "open a shell"
        case Transfer():
            allows, what = allowance.transfer, "transfer files"
        case Tunnel(host, port):
            allows = any(isinstance(each, HostPorts) and each.covers(host, port) for each in allowance.forward)
            what = f"be forwarded to {ascii(host[:255])[1:-1]}:{port}"
        case SocketTunnel(path):
            allows, what = UnixSocket(path) in allowance.forward, f"be forwarded to unix:{ascii(path[:255])[1:-1]}"
        case _:
            allows, what = False, "do this over SSH"
    if allows:
        return Decision(Outcome.ALLOW, reason=f"account {account} may {what}")
    return Decision(Outcome.DENY, reason=f"account {account} may not {what}; {_instead(action, allowance)}")


def _instead(action: Action, allowance: SshAllowance) -> str:
    """What to do about a refusal."""
    if isinstance(action, Tunnel | SocketTunnel):
        places = ", ".join(map(str, allowance.forward[:5]))
        return f"it may be forwarded to {places}" if places else "it may not be forwarded anywhere"
    ways = (
        (allowance.shell, "open a shell"),
        (allowance.exec, "run commands"),
        (allowance.transfer, "transfer files"),
    )
    words = [what for allows, what in ways if allows]
    if not words:
        return "ask for another account"
    return f"it may {' and '.join(words)}: ask for another account for the rest"


def environment_refused(name: str, value: str, patterns: Sequence[str], passed: int) -> str:
    """Why a variable is not passed on to the target, "" where it is. ``passed``: how many of the channel were."""
    if not _NAME.fullmatch(name) or len(name) > 256:
        return "a name that is no variable's"
    if _NEVER.fullmatch(name):
        return "a variable that changes what programs do"
    if not any(fnmatchcase(name, each) for each in patterns):
        return "not among the variables that the account passes on"
    if len(value.encode(errors="replace")) > VALUE_MOST:
        return f"a value of more than {VALUE_MOST} bytes"
    if not value.isprintable():
        return "a value that is not printable"
    if passed >= VARIABLES_MOST:
        return f"more than {VARIABLES_MOST} variables"
    return ""
